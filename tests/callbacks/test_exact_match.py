"""Exact match in the loop where there is nothing to ask."""

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from callbacks.exact_match import ExactMatch
from datamodules.kinds.conversations import Question
from errors import RequestError
from launcher.config.compose import compose
from launcher.lab import Lab
from models.generation import Completion
from runs.direction import best_mode
from tasks.evaluate import answers_scored
from tests.small import RandomTokens, make_module, make_trainer
from tokenization.byte import ByteTokenizer

LAB = Lab(Path(__file__).parents[2])
NOTHING = SimpleNamespace(questions=lambda limit: [], answers=None)


def test_without_questions_it_is_left_out_with_one_line(tmp_path, capsys):
    """All prompts may be longer than the context: once max() of nothing, then a division by zero."""
    callback = ExactMatch(data=NOTHING, tokenizer=None, questions=8, shown=2, max_new_tokens=None, batch_size=4)
    module = make_module()
    make_trainer(tmp_path, max_steps=2, callbacks=[callback]).fit(module, RandomTokens())
    assert "val/exact_match is left out" in capsys.readouterr().out
    assert "val/exact_match" not in module.measured.val
    assert not (tmp_path / "answers.json").exists()


def test_evaluation_without_questions_measures_the_rest():
    assert answers_scored(None, NOTHING, SimpleNamespace(limit=8)) == ({}, [])


class Asked:
    """Eight questions about two things, answered with one letter; six about the first."""

    end, answers = 0, "text"
    template = SimpleNamespace(answer=lambda ids: {"role": "assistant", "content": Letters().decode(ids)})

    def questions(self, limit: int) -> list[Question]:
        return [Question(np.array([i + 1]), f"q{i}", "x", "often" if i < 6 else "seldom") for i in range(8)][:limit]


class Letters:
    def encode(self, text: str) -> list[int]:
        return [1] * len(text)

    def decode(self, ids: list[int], **_: object) -> str:
        return "x" if ids and ids[0] % 2 else "y"


def trained(tmp_path: Path, data: object, monkeypatch: pytest.MonkeyPatch) -> tuple[ExactMatch, dict[str, float]]:
    """Answers are given: right to the six questions about the first thing, wrong to the two about the other."""

    def answers(model: object, prompts: list[list[int]], **_: object) -> list[list[Completion]]:
        return [[Completion([1 if prompt[0] <= 6 else 2], [0.0], False)] for prompt in prompts]

    monkeypatch.setattr("callbacks.exact_match.generate", answers)
    callback = ExactMatch(data=data, tokenizer=Letters(), questions=8, shown=2, max_new_tokens=None, batch_size=4)
    module = make_module()
    make_trainer(tmp_path, max_steps=1, callbacks=[callback]).fit(module, RandomTokens())
    return callback, module.measured.val


def test_F48_a_thing_that_is_asked_often_counts_once_beside_the_mean(tmp_path, monkeypatch, capsys):
    _, metrics = trained(tmp_path, Asked(), monkeypatch)
    assert (metrics["val/exact_match"], metrics["val/exact_match_per_source"]) == (6 / 8, 1 / 2)
    after = json.loads((tmp_path / "answers.json").read_text())["after"]
    assert after["low"] < 0.5 < 0.75 < after["high"], "two sources say little"
    assert "50.0% where each source counts once" in capsys.readouterr().out


def test_F39_where_there_is_no_answer_to_match_answers_are_shown_and_not_scored(tmp_path, monkeypatch, capsys):
    data = Asked()
    data.answers = None
    callback, metrics = trained(tmp_path, data, monkeypatch)
    assert not {name for name in metrics if "exact" in name or "unparsed" in name}
    told = capsys.readouterr().out
    assert "exact match" not in told.replace("there is no exact match to log", "")
    assert "expected:" in told
    assert callback.example(0).count("right") == 0
    written = json.loads((tmp_path / "answers.json").read_text())
    assert set(written) == {"examples"}
    assert len(written["examples"]) == 2


def test_summaries_are_scored_by_rouge_beside_their_length(tmp_path, monkeypatch, capsys):
    pytest.importorskip("rouge_score")
    data = Asked()
    data.answers = "summary"
    callback, metrics = trained(tmp_path, data, monkeypatch)
    scores = {name: metrics[f"val/{name}"] for name in ("rouge1", "rouge2", "rougeL", "rougeLsum", "answer_tokens")}
    assert scores == {"rouge1": 0.75, "rouge2": 0.0, "rougeL": 0.75, "rougeLsum": 0.75, "answer_tokens": 1.0}
    assert "val/exact_match" not in metrics
    assert "ROUGE-1/2/L/Lsum 75.0/0.0/75.0/75.0, 1.0 tokens an answer" in capsys.readouterr().out
    after = json.loads((tmp_path / "answers.json").read_text())["after"]
    assert (after["n"], after["rougeL"]) == (8, 0.75)
    fresh = ExactMatch(data=data, tokenizer=None, questions=8, shown=2, max_new_tokens=None, batch_size=4)
    fresh.load_state_dict(callback.state_dict())
    assert fresh.before == callback.before
    assert best_mode("val/rougeLsum", None) == "max"


def test_without_the_package_summaries_are_refused_before_anything_is_learned(tmp_path, monkeypatch):
    monkeypatch.setattr("callbacks.exact_match.find_spec", lambda name: None)
    data = Asked()
    data.answers = "summary"
    with pytest.raises(RequestError, match="pip install 'rouge-score"):
        trained(tmp_path, data, monkeypatch)


KINDS = {"chat": None, "smoltalk": None, "samsum": "summary", "alpaca": None, "gsm8k": "number", "scienceqa": "letter"}


@pytest.mark.parametrize(("name", "kind"), [*KINDS.items(), ("sst2", "text")])
def test_F39_which_data_has_answers_to_match(name: str, kind: str | None):
    assert compose([f"data={name}", "objective=sft", "data.path=x.jsonl"], LAB).cfg.data.answers == kind


def test_tools_write_in_the_answers_of_a_validation(tmp_path, monkeypatch):
    guides = []

    def answers(model: object, prompts: list[list[int]], *, guide: object, **_: object) -> list[list[Completion]]:
        guides.append(guide)
        return [[Completion([1], [0.0], False)] for _ in prompts]

    monkeypatch.setattr("callbacks.exact_match.generate", answers)
    settings = {"data": Asked(), "tokenizer": ByteTokenizer(), "questions": 8, "shown": 0, "max_new_tokens": 4}
    for tools in (["calculator"], []):
        callback = ExactMatch(**settings, batch_size=4, tools=tools)
        make_trainer(tmp_path / str(len(tools)), max_steps=1, callbacks=[callback]).fit(make_module(), RandomTokens())
    tokens = ByteTokenizer().encode("<<12+7=").tolist()
    assert ByteTokenizer().decode(guides[0]([]).forced(tokens)) == "19>>"
    assert guides[-1] is None
    with pytest.raises(RequestError, match="there is no tool abacus"):
        ExactMatch(**settings, batch_size=4, tools=["abacus"])
