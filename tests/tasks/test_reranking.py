"""evaluate.rerank, evaluate.retry and generate.verify: from the command line, and their invariants."""

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from errors import RequestError
from evaluation import answering
from evaluation.benchmarks.base import Question
from evaluation.picking import at_tokens
from evaluation.prompts import Prompter
from evaluation.rerank import Answer, Calculator, Judge, Likelihood
from evaluation.retry import kept_ids
from launcher.cli import main
from models.gpt import GPT
from tasks.evaluating import asking, reranking, retrying
from tasks.evaluating.asking import Asked
from tasks.evaluating.judges import judge_named, refuse_trained
from tasks.evaluating.retrying import best_of_first_and, retries
from tests.evaluation.test_checking import GOOD, SLIP
from tokenization.byte import ByteTokenizer

ROOT = Path(__file__).parents[2]
SMALL = ["model.n_layer=1", "model.n_embd=16", "model.n_head=2", "model.seq_len=160", "logger=none"]
ASK = ["task=evaluate", "benchmark=arithmetic", "benchmark.max_steps=1", "benchmark.n=6", "evaluate.max_new_tokens=6"]


class ByHash(Judge):
    """Any score in [0, 1) that depends on the text alone."""

    name, accept = "by hash", 0.5

    def scores(self, answers):
        return np.array([sum(map(ord, answer.text)) % 17 / 17 for answer in answers])


def asked(**settings) -> Asked:
    torch.manual_seed(0)
    model = GPT(vocab_size=257, seq_len=96, n_layer=1, n_head=2, n_embd=16)
    prompter = Prompter(ByteTokenizer(), style="plain", context=96)
    questions = [Question(f"{i}+1?", str(i % 3)) for i in range(7)]
    prompts = [prompter.prompt(q, [], words="", room=8) for q in questions]
    shared = {"retry": 3, "accept": 2.0, "retry_from": "start", "temperature": 1.0, "batch_size": 4, "samples": 3}
    shared |= {"beams": 1, "length_penalty": 1.0, "tools": []}
    return Asked(model, prompter, prompts, questions, 8, 5, SimpleNamespace(**(shared | settings)))


@pytest.fixture(autouse=True)
def _no_figure(monkeypatch):
    monkeypatch.setattr(asking, "draw", lambda *args, **how: None)


def test_retries_that_accept_nothing_are_best_of_the_same_draws(tmp_path) -> None:
    given = asked()
    predictions, metrics, facts = retries(given, ByHash(), "text", SimpleNamespace(path=tmp_path))
    drawn = asking.written(given, samples=3, sampling=given.sampling)
    for prediction, more in zip(predictions, drawn, strict=True):
        assert prediction["texts"][1:] == [answer.text for answer in more]
        assert prediction["chosen"] == int(np.argmax(prediction["scores"]))
    assert metrics["exact_match"].value == pytest.approx(metrics["best_of@4"].value)
    assert metrics["retries"].value == 3
    assert "best of 4 anew" in facts.sentences[0]


def test_what_is_accepted_is_greedy(tmp_path) -> None:
    predictions, metrics, _ = retries(asked(accept=0.0), ByHash(), "text", SimpleNamespace(path=tmp_path))
    assert metrics["retries"].value == 0
    assert all(len(p["texts"]) == 1 for p in predictions)
    assert metrics["exact_match"] == metrics["best_of@1"]
    assert metrics["gain_over_greedy"].value == 0


def test_the_best_of_the_first_and_some_others_by_hand() -> None:
    scores, labels = [0.5, 0.9, 0.1, 0.9], [True, False, True, True]
    # with one other: .9 wrong, .1 loses to the first, .9 right; with two: (1, 2) wrong, (1, 3) shared, (2, 3) right
    assert [best_of_first_and(scores, labels, k) for k in (1, 2, 3)] == pytest.approx([1, 2 / 3, 1.5 / 3])
    assert best_of_first_and([0.5, 0.5], [True, False], 2) == 1.0, "of equals the first"
    points = [{"way": "best of", "tokens": t, "exact_match": e} for t, e in ((28, 0.4), (84, 0.5))]
    assert at_tokens(points, "best of", 56) == pytest.approx(0.45)
    assert at_tokens(points, "best of", 100) is None


def test_good_lines_are_kept_as_the_ids_that_they_are() -> None:
    tokenizer = ByteTokenizer()
    ids = tokenizer.encode(SLIP).tolist()
    kept = kept_ids(Answer("q", SLIP, [], ids), tokenizer.decode)
    assert tokenizer.decode(kept) == "12+7=<<12+7=19>>19\n"
    assert kept == ids[: len(kept)]
    assert kept_ids(Answer("q", "no", [], tokenizer.encode("no").tolist()), tokenizer.decode) == []


def test_a_retry_from_the_line_goes_on_from_what_is_kept(tmp_path, monkeypatch) -> None:
    """The first answer slips in its second line; the prompts of the next turn end in the first line."""
    tokenizer, seen = ByteTokenizer(), []

    def generate(model, prompts, **how):
        seen.append([tokenizer.decode(list(p)[-20:]) for p in prompts])
        text = SLIP if len(seen) == 1 else GOOD.partition("\n")[2]
        ids = tokenizer.encode(text).tolist()
        return [[SimpleNamespace(ids=ids, logprobs=[], stopped=True)] for _ in prompts]

    monkeypatch.setattr(retrying, "generate", generate)
    monkeypatch.setattr(retrying, "_best_of", lambda *a: ({1: (None, [0.0] * 7), 2: (None, [0.0] * 7)}, []))
    monkeypatch.setattr(retrying, "at_equal_tokens", lambda *a: "")
    given = asked(retry_from=None, accept=None)._replace(room=200)
    predictions, metrics, _ = retries(given, Calculator(), "number", SimpleNamespace(path=tmp_path))
    assert seen[1][0].endswith("19>>19\n")
    assert [p["texts"] for p in predictions] == [[SLIP, GOOD]] * 7
    assert [p["chosen"] for p in predictions] == [1] * 7
    first, again = len(SLIP) - 1, len(GOOD) - 1 - len("12+7=<<12+7=19>>19\n")
    assert predictions[0]["lengths"] == [first, again], "what is kept is not written again"
    assert metrics["kept_lines"].value == 1


def test_the_calculator_has_nothing_to_say_of_prose() -> None:
    prose = [Answer("q", "It is 5.", [1], [2])]
    with pytest.raises(RequestError, match="none of the answers holds a mark"):
        Calculator().scores(prose)
    assert Calculator(lenient=True).scores(prose).tolist() == [0.0]
    judge = Calculator()
    assert judge.scores([Answer("q", GOOD, [1], [2]), *prose]).tolist() == [1.0, 0.0]
    assert judge.scores(prose).tolist() == [0.0], "others had marks"


def test_the_least_likely_token_is_the_score() -> None:
    given = asked()
    prompt, ids = given.prompts[0].ids, [5, 9, 200]
    whole = torch.tensor([[*prompt.tolist(), *ids]])
    logprobs = given.model.eval()(whole, logits="all").logits.log_softmax(-1)[0].detach()
    expected = min(logprobs[len(prompt) - 1 + i, id].item() for i, id in enumerate(ids))
    judge = Likelihood(given.model, name="likelihood", batch_size=2)
    found = judge.scores([Answer("q", "", prompt.tolist(), ids)] * 3)
    assert found == pytest.approx([expected] * 3, abs=1e-5)
    assert judge.weights(found) == pytest.approx(np.exp(found))
    with pytest.raises(RequestError, match="take more tokens with their questions"):
        judge.scores([Answer("q", "", prompt.tolist(), list(range(97)))])


def test_choices_are_scored_as_well() -> None:
    questions = [Question("2+2?", "4", ("4", "5"), lead="It is"), Question("1+1?", "2", ("2", "3"))]
    given = asked()
    prompts = [given.prompter.prompt(q, [], words="", room=0) for q in questions]
    given = given._replace(questions=questions, prompts=prompts)
    predictions, metrics, facts = reranking.choices(given, ByHash())
    assert predictions[0]["texts"] == ["It is 4", "It is 5"]
    assert [p["labels"] for p in predictions] == [[True, False]] * 2
    picked = [p["labels"][p["best"]] for p in predictions]
    assert metrics["rerank_accuracy"].value == np.mean(picked)
    assert metrics["rerank_gain"].value == pytest.approx(np.mean(picked) - metrics["accuracy"].value)
    assert {"auc_within", "judge_accuracy"} <= metrics.keys()
    assert facts.json["errors"]


WRONG = [
    ({"rerank": "likelihood"}, "nothing to pick from.*evaluate.samples=8, or evaluate.retry=4"),
    ({"retry": 2}, "who rejects an answer"),
    ({"retry": 2, "rerank": "likelihood", "samples": 4}, "do not go together"),
    ({"retry": 2, "rerank": "likelihood", "retry_from": "line"}, "does not say which line"),
    ({"retry": 2, "rerank": "likelihood", "temperature": 0.0}, "each retry would say the same"),
    ({"retry": 2, "rerank": "likelihood", "beams": 4}, "a retry is drawn, beams are not"),
    ({"accept": 0.5}, "is of evaluate.retry"),
]


class Settings(SimpleNamespace):
    """The section, read by attribute and by key."""

    def __init__(self, values: dict):
        super().__init__(**values)

    def __getitem__(self, name: str):
        return getattr(self, name)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A small SFT run; samples of it with labels; a verifier from both."""
    root = tmp_path_factory.mktemp("verify")
    sft = ["objective=sft", "data=arithmetic", "data.max_steps=1", "trainer.max_steps=2", "callbacks=minimal"]
    assert main([*sft, *SMALL, "data.val_examples=16", f"run_dir={root}/sft"], ROOT) == 0
    return root


def asked_of(run: Path) -> list[str]:
    return [json.loads(line)["question"] for line in (run / "predictions.jsonl").read_text().splitlines()]


@pytest.mark.slow
def test_from_samples_to_a_verifier_to_a_pick(folder, monkeypatch) -> None:
    def labelled(question, texts, kind):
        return {"1"}, [str(len(text) % 2) for text in texts]

    monkeypatch.setattr(answering, "read_answers", labelled)  # an untrained model is never right
    judged = ["evaluate.samples=4", "benchmark.split=train", "benchmark.shots_split=val", "benchmark.n=24"]
    assert main([*ASK, *judged, f"init_from={folder}/sft", f"run_dir={folder}/judged"], ROOT) == 0
    line = json.loads((folder / "judged" / "predictions.jsonl").read_text().splitlines()[0])
    assert line["kind"] == "number"
    assert len(line["labels"]) == len(line["lengths"]) == len(line["texts"]) == 4
    learn = ["objective=verifier", "trainer.max_steps=2", "data.val_fraction=0.4", "logger=none"]
    assert (
        main([*learn, f"data.path={folder}/judged", f"init_from={folder}/sft", f"run_dir={folder}/verifier"], ROOT) == 0
    )
    assert main(["task=evaluate", f"init_from={folder}/verifier", f"run_dir={folder}/of_verifier"], ROOT) == 0
    assert "auc" in json.loads((folder / "of_verifier" / "evaluation.json").read_text())
    pick = ["evaluate.samples=2", f"evaluate.rerank={folder}/verifier", f"init_from={folder}/sft"]
    with pytest.raises(RequestError, match="of 24 questions are among those that it was trained on"):
        refuse_trained(f"{folder}/verifier", [Question(q, "") for q in asked_of(folder / "judged")])
    assert main([*ASK, *pick, f"run_dir={folder}/picked"], ROOT) == 0
    found = json.loads((folder / "picked" / "evaluation.json").read_text())
    assert {"verifier@2", "majority@2", "weighted@2", "pass@2", "rerank_gain@2", "auc"} <= found.keys()
    assert found["verifier@1"]["value"] == pytest.approx(found["pass@1"]["value"])
    assert found["judge_tokens"] > 0
    written = ["task=generate", "prompt=2+2?", f"init_from={folder}/sft", "max_new_tokens=4", "n=2"]
    gate = [f"generate.verify={folder}/verifier", "generate.retry=1", "generate.accept=2"]
    assert main([*written, *gate, f"run_dir={folder}/gated"], ROOT) == 0
    rows = [json.loads(row) for row in (folder / "gated" / "samples.jsonl").read_text().splitlines()]
    assert [(row["accepted"], row["attempts"]) for row in rows] == [(False, 2)] * 2


@pytest.mark.parametrize(("typed", "message"), WRONG)
def test_what_does_not_go_together_is_refused(typed, message) -> None:
    unset = {"rerank": None, "retry": 0, "accept": None, "retry_from": None, "samples": 1, "temperature": 0.7}
    unset |= {"beams": 1}
    with pytest.raises(RequestError, match=f"(?s){message}"):
        reranking.check(Settings(unset | typed), "generate", summary=False)  # type: ignore[arg-type]


def test_no_such_judge() -> None:
    with pytest.raises(RequestError, match=r"no such judge\. Expected calculator, likelihood"):
        judge_named("nobody", None, None, batch_size=2)  # type: ignore[arg-type]
