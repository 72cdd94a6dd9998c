"""rollouts.jsonl over a stop and a resume."""

import json
from pathlib import Path
from types import SimpleNamespace

from callbacks.rollouts import FILE, RolloutTable
from tasks.views.rollouts import read_rows

ROW = {"prompt": "2+3?", "score": 1.0, "parts": {"answer": 1.0}, "advantage": 0.5, "cut_off": False}


def test_N9_rows_that_are_done_again_go_and_others_stay_whatever_ends_lines_in_them(tmp_path: Path) -> None:
    rows = [ROW | {"step": step, "answer": "5\u2028or\x85 6\x1c"} for step in (1, 2, 3)]
    lines = [json.dumps(row, ensure_ascii=False) for row in rows]
    (tmp_path / FILE).write_text("\n".join([*lines, lines[0][:40] + "}}"]), encoding="utf-8")  # the last one torn
    trainer = SimpleNamespace(default_root_dir=str(tmp_path), is_global_zero=True, global_step=3)
    RolloutTable(every=1).on_train_start(trainer, None)  # type: ignore[arg-type]
    assert read_rows(tmp_path / FILE) == rows[:2]
