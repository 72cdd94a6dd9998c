"""F19: what a checkpoint was made with, and what is said where it is something else."""

import pytest

from errors import RequestError
from models.weights.identity import KEY, compare, differences

THEN = {"data": "a" * 64, "tokenizer": "b" * 64, "model": {"n_layer": 2, "rope": {"theta": 1e4}, "layers": [1, 2]}}


def test_F19_equal_is_equal():
    assert differences(THEN, THEN) == []
    assert differences(THEN, {**THEN, "data": None}) == [], "not known here: not compared"


def test_F19_each_difference_is_named():
    now = {"data": "c" * 64, "tokenizer": "d" * 64, "model": {**THEN["model"], "rope": {"theta": 5e5}}}
    assert differences(THEN, now) == [
        "data: aaaaaaaaaaaa when the checkpoint was written, cccccccccccc now",
        "tokenizer: bbbbbbbbbbbb when the checkpoint was written, dddddddddddd now",
        "model.rope.theta: 10000.0 then, 500000.0 now",
    ]


def test_F19_refused_unless_allowed(capsys):
    checkpoint, now = {KEY: THEN}, {**THEN, "data": "c" * 64}
    with pytest.raises(
        RequestError, match=r"run/last.ckpt was made with something else[\s\S]*data: a[\s\S]*allow_mism"
    ):
        compare(checkpoint, now, where="run/last.ckpt", allow=False)
    assert len(compare(checkpoint, now, where="run/last.ckpt", allow=True)) == 1
    assert "warning" in capsys.readouterr().out


def test_F19_an_older_checkpoint_goes_on_with_a_word(capsys):
    assert compare({"state_dict": {}}, THEN, where="old.ckpt", allow=False) == []
    assert "old.ckpt says nothing of its data" in capsys.readouterr().out
