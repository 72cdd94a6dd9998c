"""A key of `evaluate` that a kind of measuring does not read is refused, with what reads it."""

from pathlib import Path

import pytest
from omegaconf import OmegaConf

from errors import RequestError
from tasks.evaluating.used_keys import UNSET, check_answers, check_drawn, check_keys_are_used, check_texts

FILE = OmegaConf.load(Path(__file__).parents[2] / "conf/task/evaluate.yaml").evaluate


def request(*, benchmark: bool = False, **keys: object) -> OmegaConf:
    return OmegaConf.create({"benchmark": {"n": 1} if benchmark else None, "evaluate": {**FILE, **keys}})


def test_the_table_has_the_defaults_of_the_file() -> None:
    assert {name: value for name, value in OmegaConf.to_container(FILE).items() if name in UNSET} == UNSET


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"samples": 8}, "evaluate.samples=8 is of benchmark, and .*\\nLeave it out, or type benchmark=arithmetic\\."),
        ({"shots": 2}, "evaluate.shots=2 is of benchmark"),
        ({"rerank": "calculator"}, "evaluate.rerank=calculator is of benchmark"),
        ({"tasks": ["arc_easy"], "benchmark": True}, "evaluate.tasks=.'arc_easy'.* is of evaluate.harness"),
        ({"tasks_path": "x"}, "evaluate.tasks_path=x is of evaluate.harness"),
        ({"beside": ["x"]}, "evaluate.beside=.'x'.* is of evaluate.past_context"),
        (
            {"past_context": 64, "benchmark": True},
            "changes nothing of benchmark\\.\\n.*past_context=1024 and leave benchm",
        ),
        ({"past_context": 64, "limit": 3}, "evaluate.limit=3 is of benchmark"),
        ({"harness": "lm_eval", "samples": 2}, "evaluate.samples=2 is of benchmark"),
        ({"harness": "lm_eval", "beams": 2}, "evaluate.beams=2 is of benchmark"),
        ({"harness": "lm_eval", "temperature": 0.2}, "evaluate.temperature=0.2 is of benchmark"),
        ({"harness": "lm_eval", "benchmark": True}, r"nothing of benchmark=\.\.\. Leave one of them out"),
        ({"past_context": 64, "batch_size": 2}, "evaluate.batch_size=2 is of benchmark"),
        ({"past_context": 64, "length_penalty": 2.0}, "evaluate.length_penalty=2.0 is of benchmark"),
        ({"temperature": 0.2}, "evaluate.temperature=0.2 is of benchmark"),
    ],
    ids=str,
)
def test_what_is_not_read_is_refused(given: dict, told: str) -> None:
    with pytest.raises(RequestError, match=told):
        check_keys_are_used(request(**given))


@pytest.mark.parametrize(
    "given",
    [
        {}, {"limit": 3}, {"past_context": 64, "beside": ["x"]}, {"harness": "lm_eval", "tasks": ["a"], "shots": 1},
        {"benchmark": True, "samples": 4, "rerank": "x", "limit": 3, "max_new_tokens": 5},
        {"batch_size": 2, "beams": 2}, {"harness": "lm_eval", "tasks": ["a"], "batch_size": 2},
    ],
    ids=str,
)  # fmt: skip
def test_what_is_read_is_taken(given: dict) -> None:
    check_keys_are_used(request(**given))


def test_a_temperature_is_of_what_is_drawn(capsys: pytest.CaptureFixture[str]) -> None:
    check_drawn(request(samples=2, temperature=0.2).evaluate)
    check_drawn(request(retry=2, temperature=0.2).evaluate)
    assert not capsys.readouterr().out
    check_drawn(request(temperature=0.2).evaluate)
    assert "evaluate.temperature=0.2 changes nothing: it is of several samples" in capsys.readouterr().out


def test_no_shots_are_what_runs_of_before_say() -> None:
    check_keys_are_used(request(benchmark=None, shots=0))
    check_texts(request(shots=0).evaluate)
    with pytest.raises(RequestError, match=r"evaluate\.shots=2"):
        check_keys_are_used(request(benchmark=None, shots=2))


@pytest.mark.parametrize(
    "keys",
    [{"rerank": "x"}, {"retry": 2}, {"max_new_tokens": 3}, {"template": "plain"}, {"beams": 2}, {"mode": "choices"}],
)
def test_a_benchmark_of_texts_asks_nothing(keys: dict) -> None:
    check_texts(request(limit=3, batch_size=2).evaluate)
    with pytest.raises(RequestError, match=f"has texts, no questions: leave evaluate.{next(iter(keys))} out"):
        check_texts(request(**keys).evaluate)


@pytest.mark.parametrize("keys", [{"limit": 3}, {"batch_size": 2}, {"beams": 2}])
def test_where_no_question_is_answered_nothing_says_how(keys: dict, capsys: pytest.CaptureFixture[str]) -> None:
    check_answers(request().evaluate, why_none="this is plain text")
    assert not capsys.readouterr().out
    check_answers(request(**keys).evaluate, why_none="this is plain text")
    [(key, value)] = keys.items()
    assert capsys.readouterr().out == f"evaluate.{key}={value} changes nothing: this is plain text.\n"
