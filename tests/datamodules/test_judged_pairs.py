"""data=judged_pairs: a right and a wrong answer to one question, by seed; what has no pair is counted."""

import pytest

from datamodules.judged_pairs import JudgedPairsDataModule, drawn_pairs
from datamodules.reading.judged_rows import Judged
from errors import RequestError
from tests.datamodules.test_judged import line, written
from tokenization.byte import ByteTokenizer


def module(path, **settings) -> JudgedPairsDataModule:
    shared = {"seq_len": 64, "batch_size": 4, "val_fraction": 0.3, "seed": 0} | settings
    return JudgedPairsDataModule(path=path, tokenizer=ByteTokenizer(), **shared)


def test_pairs_are_right_before_wrong_and_a_question_is_on_one_side(tmp_path) -> None:
    lines = [line(i, [f"r{i}", f"w{i}", f"v{i}"], [True, False, False], kind="number") for i in range(40)]
    lines += [line(i, ["x", "y"], [True, True], kind="number") for i in range(40, 44)]
    data = module(written(tmp_path / "run", lines))
    data.prepare()
    pairs = {side: list(data._read(side, data.counts[side])) for side in ("train", "val")}
    for pair in [*pairs["train"], *pairs["val"]]:
        number = pair.prompt[0]["content"][1:]
        assert pair.chosen == f"r{number}"
        assert pair.rejected in (f"w{number}", f"v{number}")
    sources = [{data._source(pair) for pair in pairs[side]} for side in pairs]
    assert sources[0]
    assert sources[1]
    assert not sources[0] & sources[1], "what is about the same is on one side"
    assert len(pairs["train"]) + len(pairs["val"]) == 80, "two of each question"
    assert data.answers == "number"
    assert sum(data.counts[side]["questions without a right or without a wrong answer"] for side in pairs) == 2 * 4
    assert data.describe()["train"]["pairs"] == len(pairs["train"])
    assert data.questions(3)[0].expected.startswith("r")


def test_answers_that_were_cut_off_are_left_out(tmp_path) -> None:
    whole = [line(i, ["r", "w"], [True, False], stopped=[True, True]) for i in range(20)]
    cut = [line(i, ["r", "w"], [True, False], stopped=[True, False]) for i in range(20, 30)]
    data = module(written(tmp_path / "run", [*whole, *cut]))
    data.prepare()
    asked = {pair.prompt[0]["content"] for side in ("train", "val") for pair in data._read(side, data.counts[side])}
    assert asked == {f"q{i}" for i in range(20)}
    assert data.answers is None, "these lines do not say how answers are compared"


def test_no_answer_is_in_two_pairs_before_all_are_in_one() -> None:
    judged = Judged("q", "q", ["a", "b", "a", "x", "y", "z", " "], [True, True, True, False, False, False, False])
    pairs = drawn_pairs(judged, 9, seed=0)
    assert len(pairs) == len(set(pairs)) == 6, "each text once, and none that is empty"
    first = drawn_pairs(judged, 2, seed=0)
    assert first == pairs[:2]
    assert len({right for right, _ in first}) == len({wrong for _, wrong in first}) == 2
    assert any(drawn_pairs(judged, 2, seed=seed) != first for seed in range(1, 5))


def test_what_cannot_be_is_refused(tmp_path) -> None:
    with pytest.raises(RequestError, match="expected the folder of a run"):
        module([])
    with pytest.raises(RequestError, match="there is no"):
        module(str(tmp_path / "nothing")).prepare()
    unlabelled = written(tmp_path / "run", [{"question": "q", "texts": ["a"]}])
    with pytest.raises(RequestError, match="'labels'"):
        module(unlabelled).prepare()
    right = written(tmp_path / "right", [line(i, ["r"], [True]) for i in range(20)])
    with pytest.raises(RequestError, match="no pair is left for training"):
        module(right).prepare()
