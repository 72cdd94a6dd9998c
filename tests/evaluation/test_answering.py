"""Questions put to small models: log-probabilities against brute force, batched against one by one, prompts by rule."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from datamodules.reading.formats import to_messages
from errors import RequestError
from evaluation.answering import by_choices, by_generation, choice_metrics, generation_metrics, read_answers, unread
from evaluation.benchmarks.base import Question, draw_shots
from evaluation.benchmarks.scienceqa import ScienceQA
from evaluation.benchmarks.squad import SQuAD
from evaluation.benchmarks.sst2 import SST2
from evaluation.likelihood import continuation_logprobs
from evaluation.prompts import Prompter
from launcher.cli import main
from models.gpt import GPT
from models.sampling import Sampling
from tokenization.byte import ByteTokenizer
from tokenization.chat import ASSISTANT_START, chat_template

ROOT = Path(__file__).parents[2]
SMALL = ["model.n_layer=1", "model.n_embd=16", "model.n_head=2", "model.seq_len=64", "data.batch_size=2"]
QUESTIONS = [
    Question("2 + 2?", "4", ("4", "five", "thirty-one")),
    Question("A longer question, of more words than the first?", "yes", ("yes", "no", "perhaps so")),
    Question("x", "no", ("yes", "no", "\u00e4\u00f6\u00fc")),
]


@pytest.fixture
def model() -> GPT:
    torch.manual_seed(0)
    return GPT(vocab_size=257, seq_len=96, n_layer=2, n_head=2, n_embd=32)


@pytest.fixture
def prompter() -> Prompter:
    return Prompter(ByteTokenizer(), style="plain", context=96)


def test_S39_log_likelihood_equals_brute_force_in_any_batch(model: GPT, prompter: Prompter) -> None:
    prompts = [prompter.prompt(q, [], words="", room=0) for q in QUESTIONS]
    pairs = [(p.ids, choice) for p in prompts for choice in p.choices]
    expected = []
    for prompt, answer in pairs:
        ids = torch.from_numpy(np.concatenate([prompt, answer]))[None]
        logprobs = model(ids, logits="all").logits.log_softmax(-1)[0].detach().double()
        expected.append(sum(logprobs[i - 1, ids[0, i]].item() for i in range(len(prompt), ids.shape[1])))
    for batch_size in (1, 4, 9):
        found = continuation_logprobs(model, pairs, batch_size=batch_size)
        assert found == pytest.approx(expected, abs=1e-4), "double BOS or an index off by one shows here"


def test_choices_are_ranked_by_likelihood_and_by_likelihood_per_byte(model: GPT, prompter: Prompter) -> None:
    prompts = [prompter.prompt(q, [], words="", room=0) for q in QUESTIONS]
    predictions = by_choices(model, prompts, QUESTIONS, batch_size=2)
    for prediction, question in zip(predictions, QUESTIONS, strict=True):
        best = int(np.argmax(prediction["logprobs"]))
        assert prediction["answer"] == question.choices[best]
        assert prediction["right"] == (question.choices[best] == question.answer)
        for name, lengths in (
            ("right_per_character", [len(choice) for choice in question.choices]),
            ("right_per_byte", [len(choice.encode()) for choice in question.choices]),
        ):
            picked = np.argmax(np.array(prediction["logprobs"]) / lengths)
            assert prediction[name] == (question.choices[picked] == question.answer)
        odds = np.exp(prediction["logprobs"])
        assert prediction["confidence"] == pytest.approx(odds.max() / odds.sum())
    metrics = choice_metrics(predictions, seed=0)
    assert metrics["accuracy"].value == np.mean([p["right"] for p in predictions])
    assert metrics["acc_norm"].value == np.mean([p["right_per_character"] for p in predictions])
    assert metrics["acc_bytes"].value == np.mean([p["right_per_byte"] for p in predictions])
    assert "macro_f1" not in metrics, "choices that differ from question to question are no classes"


def test_free_answers_are_read_and_what_cannot_be_read_is_counted_apart(model: GPT, prompter: Prompter) -> None:
    prompts = [prompter.prompt(q, [], words="", room=8) for q in QUESTIONS]
    settings = {"kind": "number", "max_new_tokens": 8, "seed": 0, "stop": None}
    greedy = by_generation(
        model, prompter, prompts, QUESTIONS, sampling=Sampling(temperature=0.0), samples=1, batch_size=3, **settings
    )
    single = by_generation(
        model, prompter, prompts, QUESTIONS, sampling=Sampling(temperature=0.0), samples=1, batch_size=1, **settings
    )
    assert [p["texts"] for p in greedy] == [p["texts"] for p in single]
    assert generation_metrics(greedy, seed=0, summary=False)["unparsed"].value == 1.0
    several = by_generation(
        model, prompter, prompts, QUESTIONS, sampling=Sampling(), samples=4, batch_size=12, **settings
    )
    assert all(len(p["texts"]) == 4 for p in several)
    assert {"pass@1", "pass@4", "self_consistency"} <= generation_metrics(several, seed=0, summary=False).keys()


def test_metrics_of_free_answers_worked_by_hand() -> None:
    def made(read: list[str | None], wanted: str) -> dict:
        rights = sum(r == wanted for r in read)
        labels = {"labels": [r == wanted for r in read], "lengths": [3, 4, 5, 6]}
        return (
            {"read": read, "right": read[0] == wanted, "rights": rights, "choices": [], "answer": None}
            | labels
            | {"right_by_majority": max(set(filter(None, read)), key=read.count) == wanted}
        )

    rows = [made(["1", "2", "1", None], "1"), made([None, "3", "3", "4"], "3")]
    metrics = {name: found.value for name, found in generation_metrics(rows, seed=0, summary=False).items()}
    assert (metrics["exact_match"], metrics["unparsed"], metrics["self_consistency"]) == (0.5, 0.5, 1.0)
    assert metrics["pass@1"] == 0.5
    assert metrics["pass@2"] == pytest.approx(1 - (2 * 1) / (4 * 3))
    # of "1", "2", "1", nothing: 1 and 2 tie in two of six pairs, 1 alone is read in three, 2 alone in one
    assert metrics["majority@2"] == pytest.approx(4 / 6)
    assert (metrics["majority@4"], metrics["tokens_per_question"]) == (1.0, 18.0)


def prediction(right: bool, source: str, read: str | None = "1") -> dict:
    asked = {"question": source, "expected": "1", "texts": [read or "hm"], "choices": [], "answer": read}
    return asked | {"read": [read], "right": right, "source": source}


class Writes:
    """A tool that begins each answer with "#### 4"."""

    def forced(self, ids):
        return list(b"#### 4") if not ids else []

    def allowed(self, ids):
        return None


def test_what_a_tool_writes_is_part_of_the_answer_and_counted_apart(model: GPT, prompter: Prompter) -> None:
    prompts = [prompter.prompt(q, [], words="", room=16) for q in QUESTIONS[:1]]
    how = {"kind": "number", "max_new_tokens": 6, "sampling": Sampling(), "samples": 2, "seed": 0, "batch_size": 8}
    found = by_generation(model, prompter, prompts, QUESTIONS[:1], **how, stop=None, guide=lambda prompt: Writes())
    assert (found[0]["texts"], found[0]["rights"]) == (["#### 4"] * 2, 2)
    assert (found[0]["forced"], found[0]["lengths"]) == ([6, 6], [6, 6])
    found[0] |= {"forced": [1, 2], "lengths": [4, 8]}
    assert generation_metrics(found, seed=0, summary=False)["forced"].value == pytest.approx(3 / 12)
    plain = by_generation(model, prompter, prompts, QUESTIONS[:1], **how, stop=None)
    assert "forced" not in plain[0]


def test_F48_a_chain_that_is_asked_often_counts_once_beside_the_mean() -> None:
    rows = [prediction(True, "12+7")] * 95 + [prediction(False, f"{i}+1") for i in range(30)]
    found = generation_metrics(rows, seed=0, summary=False)
    assert found["exact_match"].value == 95 / 125
    assert found["exact_match_per_source"].value == pytest.approx(1 / 31)
    assert found["exact_match"].low < 1 / 31 < found["exact_match"].high, "one chain of 31 says little about others"
    apart = generation_metrics([prediction(True, str(i)) for i in range(9)], seed=0, summary=False)
    assert "exact_match_per_source" not in apart


def test_the_unread_are_counted_and_ten_of_them_told() -> None:
    rows = [prediction(False, str(i), read=None) for i in range(12)] + [prediction(True, "x")]
    found = unread(rows)
    assert found["unread"] == 12
    assert [row["question"] for row in found["unread_answers"]] == [str(i) for i in range(10)]
    assert found["unread_answers"][0] == {"question": "0", "expected": "1", "answer": "hm"}
    assert unread([{"right": True}]) == {}, "choices are not read"


def test_F12_spans_are_scored_as_squad_does(model: GPT, prompter: Prompter) -> None:
    row = {"context": "Paris is in France.", "question": "Where?", "answers": {"text": ["in France", "France"]}}
    (question,) = SQuAD(path="x").questions([(row | {"answers": row["answers"] | {"answer_start": [9, 12]}}, "row 1")])
    assert (question.ask, question.source) == ("Paris is in France.\n\nWhere?", "Paris is in France.")
    wanted, read = read_answers(question, ["The France!", "in Italy", "the"], "span")
    assert [r in wanted for r in read] == [True, False, False]
    assert read[2] is None
    settings = {"kind": "span", "max_new_tokens": 4, "seed": 0, "stop": None, "sampling": Sampling(temperature=0.0)}
    prompts = [prompter.prompt(question, [], words="", room=4)]
    made = by_generation(model, prompter, prompts, [question], samples=1, batch_size=1, **settings)
    assert 0 <= generation_metrics(made, seed=0, summary=False)["f1"].value <= 1


def test_plain_prompts(prompter: Prompter) -> None:
    shot = Question("1 + 1?", "2")
    made = prompter.prompt(QUESTIONS[0], [shot], words="Answer.", room=10)
    assert made.text == "Answer.\n\n1 + 1?\nAnswer: 2\n\n2 + 2?\nAnswer:"
    assert made.ids.tolist() == list(made.text.encode())
    assert bytes(made.choices[1].tolist()) == b" five"
    long = prompter.prompt(Question("x" * 200, "y", ("y",)), [], words="", room=0)
    assert (len(long.ids), long.cut) == (94, 208 - 94)
    assert bytes(long.ids.tolist()).endswith(b"\nAnswer:")


def test_chat_prompts_are_those_of_training() -> None:
    template, tokenizer = chat_template(ByteTokenizer())
    made = Prompter(tokenizer, style="auto", context=200).prompt(
        QUESTIONS[0], [Question("1 + 1?", "2")], words="", room=0
    )
    messages = [("user", "1 + 1?"), ("assistant", "2"), ("user", "2 + 2?"), ("assistant", "4")]
    whole = template.render([{"role": role, "content": text} for role, text in messages]).ids
    assert made.ids.tolist() == whole[: len(made.ids)].tolist()
    assert made.ids[-1] == tokenizer.specials[ASSISTANT_START]
    assert bytes(made.choices[0].tolist()) == b"4"


def test_N15_scienceqa_is_asked_in_the_words_that_it_was_trained_with() -> None:
    row = {"question": "Q", "choices": ["x", "y"], "answer": 1, "hint": "H"}
    template, tokenizer = chat_template(ByteTokenizer())
    (question,) = ScienceQA(path="x").questions([(row, "row 1")])
    made = Prompter(tokenizer, style="auto", context=400).prompt(question, [], words=ScienceQA.words, room=0)
    whole = template.render(to_messages(row, "scienceqa", "row 1")).ids
    assert [*made.ids, *made.choices[1], template.end] == whole.tolist()
    free = Prompter(tokenizer, style="auto", context=400).prompt(question, [], words=ScienceQA.words, room=9)
    assert free.ids.tolist() == whole[: len(free.ids)].tolist()
    assert free.ids[-1] == tokenizer.specials[ASSISTANT_START]


@pytest.mark.parametrize("trained", ["plain", "alpaca"])
def test_N15_single_questions_are_asked_as_they_were_trained(trained) -> None:
    template, tokenizer = chat_template(ByteTokenizer(), trained)
    prompter = Prompter(tokenizer, style="auto", context=400, trained=trained)
    made = prompter.prompt(QUESTIONS[0], [], words="", room=0)
    messages = [
        {"role": "user", "content": QUESTIONS[0].ask},
        {"role": "assistant", "content": QUESTIONS[0].choices[0]},
    ]
    assert [*made.ids, *made.choices[0], template.end] == template.render(messages).ids.tolist()
    assert prompter.stop_ids == [tokenizer.eot, tokenizer.eot]
    with pytest.raises(RequestError, match="trained on single questions"):
        prompter.prompt(QUESTIONS[0], [Question("1 + 1?", "2")], words="", room=0)


def test_a_chat_template_of_the_tokenizers_own_is_used() -> None:
    tokenizer = ByteTokenizer()
    tokenizer.chat_template = (
        "{% for m in messages %}[{{ m.role }}]{{ m.content }};{% endfor %}"
        "{% if add_generation_prompt %}[assistant]{% endif %}"
    )
    prompter = Prompter(tokenizer, style="auto", context=200)
    assert prompter.style == "chat"
    made = prompter.prompt(QUESTIONS[0], [], words="", room=0)
    assert bytes(made.ids.tolist()).decode() == f"[user]{QUESTIONS[0].ask};[assistant]"


def test_chat_without_a_template_is_refused() -> None:
    """Ids of new specials lie beyond the model's embedding."""
    with pytest.raises(RequestError, match=r"evaluate\.template=plain"):
        Prompter(ByteTokenizer(), style="chat", context=200)
    assert Prompter(ByteTokenizer(), style="auto", context=200).style == "plain"


def test_shots_never_ask_the_same_and_follow_the_seed() -> None:
    pool = [Question(f"q{i}", "a") for i in range(6)]
    first = draw_shots(pool, 5, seed=1, asked=pool[2], number=7)
    assert len({shot.ask for shot in first} - {"q2"}) == 5
    assert first == draw_shots(pool, 5, seed=1, asked=pool[2], number=7)
    assert first != draw_shots(pool, 5, seed=2, asked=pool[2], number=7)
    with pytest.raises(RequestError, match="only 5"):
        draw_shots(pool, 6, seed=1, asked=pool[2], number=7)


def test_a_row_that_lacks_a_column_is_named() -> None:
    with pytest.raises(RequestError, match=r"(?s)x, row 3: 'label'.*benchmark\.columns=\[sentence,label\]"):
        SST2(path="x.tsv").questions([({"sentence": "good"}, "x, row 3")])


def test_task_evaluate_with_a_benchmark(tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    Path("text.txt").write_text("The quick brown fox jumps over the lazy dog.\n" * 60)
    Path("dev.tsv").write_text("a fine film\t1\ndull\t0\nvery good\t1\n")
    train = ["data=text", "data.path=text.txt", "trainer.max_steps=1", "hardware=cpu", "run_dir=run", *SMALL]
    assert main(train, ROOT) == 0
    ask = ["task=evaluate", "init_from=run", "benchmark=sst2", "benchmark.path=dev.tsv", "hardware=cpu"]
    columns = "benchmark.columns=[sentence,label]"
    assert main([*ask, columns, "run_dir=out"], ROOT) == 0
    rows = [json.loads(line) for line in Path("out/predictions.jsonl").read_text().splitlines()]
    assert [row["expected"] for row in rows] == ["positive", "negative", "positive"]
    summary = json.loads(Path("out/summary.json").read_text())
    assert summary["metrics"]["test/sst2/accuracy"] == np.mean([row["right"] for row in rows])
    for words, says in {
        (): "benchmark.columns=[sentence,label]",
        (columns, "evaluate.shots=9"): "evaluate.shots=9",
        (columns, "evaluate.samples=2"): "evaluate.mode=generate",
        (columns, "evaluate.mode=choices", "benchmark.path=nowhere.tsv"): "nowhere.tsv",
    }.items():
        assert main([*ask, *words], ROOT) == 2, words
        assert says in capsys.readouterr().err
