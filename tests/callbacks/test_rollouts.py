"""rollouts.jsonl over a stop and a resume."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from callbacks.rollouts import FILE, RolloutTable
from errors import RequestError
from tasks.views.rollouts import before_training, read_rows

ROW = {"prompt": "2+3?", "score": 1.0, "parts": {"answer": 1.0}, "advantage": 0.5, "cut_off": False}


def test_N9_rows_that_are_done_again_go_and_others_stay_whatever_ends_lines_in_them(tmp_path: Path) -> None:
    rows = [ROW | {"step": step, "answer": "5\u2028or\x85 6\x1c"} for step in (1, 2, 3)]
    lines = [json.dumps(row, ensure_ascii=False) for row in rows]
    (tmp_path / FILE).write_text("\n".join([*lines, lines[0][:40] + "}}"]), encoding="utf-8")  # the last one torn
    trainer = SimpleNamespace(default_root_dir=str(tmp_path), is_global_zero=True, global_step=3)
    RolloutTable(every=1).on_train_start(trainer, None)  # type: ignore[arg-type]
    assert read_rows(tmp_path / FILE) == rows[:2]


DAMAGED = [
    *(b"3", b"[]", b"\xff\xfe", b"{}", b"[" * 100_000, b'{"step": "x"}'),
    *(json.dumps(ROW | {"step": 1, "answer": "5"} | wrong).encode() for wrong in (
        {"step": "1"}, {"step": 1.5}, {"answer": None}, {"prompt": 3}, {"score": "1"}, {"parts": [1]}, {"kl": "x"},
        {"parts": {"answer": "1"}}, {"expected": {}}, {"advantage": None},
    )),
]  # fmt: skip


@pytest.mark.parametrize("line", DAMAGED, ids=range(len(DAMAGED)))
def test_F23_a_damaged_line_is_told_by_the_page_and_dropped_by_a_resume(line: bytes, tmp_path: Path) -> None:
    good = [json.dumps(ROW | {"step": step, "answer": "5"}).encode() for step in (1, 2)]
    (tmp_path / FILE).write_bytes(b"\n".join([good[0], line, good[1]]) + b"\n")
    with pytest.raises(RequestError, match=r"line 2: not a line|cannot be read"):
        read_rows(tmp_path / FILE)
    trainer = SimpleNamespace(default_root_dir=str(tmp_path), is_global_zero=True, global_step=3)
    RolloutTable(every=1).on_train_start(trainer, None)  # type: ignore[arg-type]
    kept = (tmp_path / FILE).read_bytes().split(b"\n")
    assert (kept[0], kept[-2:]) == (good[0], [good[1], b""])


def test_F23_numbers_at_step_0_that_are_none_are_left_out(tmp_path: Path) -> None:
    for before in ([1], {"reward": "x"}, {"reward": None}, 3):
        (tmp_path / "summary.json").write_text(json.dumps({"held_out": {"before": before}}))
        assert before_training(tmp_path, {"val/reward": [(1.0, 2.0)]}) == {"val/reward": [(1.0, 2.0)]}
