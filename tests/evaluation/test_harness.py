"""EleutherAI's harness on our model: the same accuracy and the same log-probabilities as ours on the same questions."""

import json
import math
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf

from errors import RequestError
from evaluation.answering import by_choices, choice_metrics
from evaluation.benchmarks.base import Question
from evaluation.prompts import Prompter
from models.gpt import GPT
from tasks.evaluating.lm_eval import run_lm_eval
from tokenization.byte import ByteTokenizer

pytest.importorskip("lm_eval", reason="pip install lm_eval")

ROOT = Path(__file__).parents[2]
TASK = """
task: {name}
dataset_path: json
dataset_kwargs: {{data_files: {{test: {file}}}}}
test_split: test
{rest}
"""
CHOICES = """
output_type: multiple_choice
doc_to_text: "{{ask}}\\nAnswer:"
doc_to_target: "{{answer}}"
doc_to_choice: "{{choices}}"
metric_list: [{metric: acc}, {metric: acc_norm}]
"""
ROLLING = """
output_type: loglikelihood_rolling
doc_to_text: ""
doc_to_target: "{{text}}"
metric_list: [{metric: bits_per_byte, higher_is_better: false}]
"""


@pytest.fixture
def model() -> GPT:
    torch.manual_seed(0)
    return GPT(vocab_size=257, seq_len=64, n_layer=2, n_head=2, n_embd=32)


def written(model: GPT, *settings: dict, seed: int = 0) -> list[str]:
    from evaluation.harness import LabLM

    lm = LabLM(model, ByteTokenizer(), batch_size=4, seed=seed)
    shared = {"until": ["\n\n"], "max_gen_toks": 12}
    return lm.generate_until([SimpleNamespace(args=("Hello", shared | given)) for given in settings])


def test_each_repeat_of_a_request_is_drawn_anew_and_by_the_runs_seed(model: GPT) -> None:
    one = {"do_sample": True, "temperature": 1.0}
    first = written(model, one, one, one, one)
    assert len(set(first)) == 4
    assert written(model, one, one, one, one) == first
    assert not set(first) & set(written(model, one, one, one, one, seed=1))


def test_texts_are_drawn_as_the_harnesss_own_models_draw_them(model: GPT) -> None:
    (greedy,) = written(model, {})
    assert written(model, {"temperature": 1.0})[0] != greedy  # do_sample is True where a temperature is given
    assert written(model, {"temperature": 1.0, "do_sample": False}) == [greedy]
    for likeliest in ({"top_k": 1}, {"top_p": 1e-6}, {"min_p": 1.0}):
        assert written(model, {"do_sample": True, "temperature": 1.0} | likeliest) == [greedy]
    assert written(model, {"temperature": 1.0, "top_k": 0}) == written(model, {"temperature": 1.0})
    assert written(model, {"num_beams": 1, "max_gen_toks": None, "max_new_tokens": 3}) == [greedy[:3].strip()]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"num_beams": 4}, "say num_beams: 4, which is not known here"),
        ({"do_sample": True}, "do_sample: true without a temperature above 0"),
        ({"temperature": 1.0, "top_p": 2.0}, "top_p=2.0: expected above 0"),
    ],
)
def test_settings_that_are_not_used_are_refused_before_a_text_is_written(model: GPT, given, words) -> None:
    with pytest.raises(RequestError, match=words):
        written(model, {}, given)


@pytest.mark.parametrize("shots", [None, 0, 2])
def test_a_tasks_own_number_of_shots_stands_where_none_is_typed(model: GPT, tmp_path: Path, monkeypatch, shots) -> None:
    evaluate = OmegaConf.load(ROOT / "conf/task/evaluate.yaml").evaluate
    typed = {"harness": "lm_eval", "tasks": ["a"]} | ({} if shots is None else {"shots": shots})
    cfg = OmegaConf.create({"seed": 0, "evaluate": {**evaluate, **typed}})
    asked = {}
    monkeypatch.setattr("evaluation.harness.simple_evaluate", lambda **how: asked.update(how) or {"results": {}})
    monkeypatch.setattr("evaluation.harness.TaskManager", lambda **how: None)
    run_lm_eval(cfg, SimpleNamespace(path=tmp_path, results={}), model, ByteTokenizer())
    assert asked["num_fewshot"] == shots


@pytest.mark.slow
def test_multiple_choice_equals_ours(model: GPT, tmp_path: Path) -> None:
    from evaluation.harness import run_harness

    rng = np.random.default_rng(0)
    words = ["red", "a green tree", "no", "perhaps so", "42"]
    rows = []
    for i in range(40):
        choices = rng.permutation(words)[:3].tolist()
        rows.append({"ask": f"Question {i}?", "choices": choices, "answer": int(rng.integers(3))})
    (tmp_path / "q.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (tmp_path / "mc.yaml").write_text(TASK.format(name="ours_mc", file=tmp_path / "q.jsonl", rest=CHOICES))
    theirs = run_harness(
        model, ByteTokenizer(), tasks=["ours_mc"], shots=0, limit=None, batch_size=8, seed=0, include_path=tmp_path
    )["ours_mc"]
    questions = [Question(r["ask"], r["choices"][r["answer"]], tuple(r["choices"])) for r in rows]
    prompter = Prompter(ByteTokenizer(), style="plain", context=64)
    prompts = [prompter.prompt(q, [], words="", room=0) for q in questions]
    ours = choice_metrics(by_choices(model, prompts, questions, batch_size=5), seed=0)
    assert theirs["acc,none"] == ours["accuracy"].value
    assert 0 < theirs["acc,none"] < 1


@pytest.mark.slow
def test_bits_per_byte_of_a_text_equals_brute_force(model: GPT, tmp_path: Path) -> None:
    from evaluation.harness import run_harness

    text = "The quick brown fox jumps over the lazy dog. " * 5  # four windows
    (tmp_path / "t.jsonl").write_text(json.dumps({"text": text}))
    (tmp_path / "ppl.yaml").write_text(TASK.format(name="ours_ppl", file=tmp_path / "t.jsonl", rest=ROLLING))
    theirs = run_harness(
        model, ByteTokenizer(), tasks=["ours_ppl"], shots=0, limit=None, batch_size=8, seed=0, include_path=tmp_path
    )["ours_ppl"]["bits_per_byte,none"]
    tokenizer = ByteTokenizer()
    ids, total, window = [tokenizer.eot, *tokenizer.encode(text).tolist()], 0.0, 64
    for start in range(0, len(ids) - 1, window):
        part = ids[start : start + window + 1]
        logprobs = model(torch.tensor([part[:-1]]), logits="all").logits[0].log_softmax(-1)
        total += -sum(logprobs[i, token].item() for i, token in enumerate(part[1:]))
    # the harness's last window reaches back for context, so its last tokens are predicted no worse informed
    assert theirs == pytest.approx(total / math.log(2) / len(text.encode()), rel=5e-3)
