"""rollouts.jsonl: what the policy wrote, with its scores; the same as a table in TensorBoard at each validation."""

import json
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, Trainer
from lightning.pytorch.loggers import TensorBoardLogger

from bounds import PositiveInt
from strict_json import value_of
from tokenization.base import write_whole

FILE = "rollouts.jsonl"


class RolloutTable(Callback):
    """Keeps the best and the worst answer of some groups. Args: every: updates between rollouts that are kept."""

    def __init__(self, *, every: PositiveInt):
        self.every, self.kept_step = every, -1

    def on_train_start(self, trainer: Trainer, pl_module: Any) -> None:
        """Rows of updates that a stopped run had done but not saved are done again: they must not stand twice."""
        file = Path(trainer.default_root_dir) / FILE
        if not trainer.is_global_zero or not file.is_file():
            return
        lines = file.read_bytes().split(b"\n")  # an answer may hold other ends of lines
        kept = [line for line in lines if _step(line) < trainer.global_step]
        write_whole(file, b"".join(line + b"\n" for line in kept))  # a kill in between must not take what was kept

    def on_train_batch_end(self, trainer: Trainer, pl_module: Any, *_: Any) -> None:
        rows = pl_module.shown
        due = (
            rows
            and rows[0]["step"] != self.kept_step
            and (rows[0]["step"] // pl_module.updates_per_item) % self.every == 0
        )
        if not trainer.is_global_zero or not due:
            return
        self.kept_step = rows[0]["step"]
        with open(Path(trainer.default_root_dir) / FILE, "a", encoding="utf-8") as file:
            file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)

    def on_validation_end(self, trainer: Trainer, pl_module: Any) -> None:
        if not trainer.is_global_zero or not pl_module.shown:
            return
        for logger in trainer.loggers:
            if isinstance(logger, TensorBoardLogger):
                logger.experiment.add_text("rollouts", as_table(pl_module.shown), trainer.global_step)


def _step(line: bytes) -> float:
    """Of a row; infinite where a kill has torn it, or it is no row."""
    try:
        step = value_of(line)["step"]
    except (ValueError, TypeError, KeyError, RecursionError):
        return float("inf")
    return step if isinstance(step, int) else float("inf")


def as_table(rows: list[dict[str, Any]]) -> str:
    """Markdown, as TensorBoard shows it."""
    head = "| question | answer | score | parts | advantage | KL | |\n|---|---|---|---|---|---|---|\n"
    return head + "".join(_line(row) for row in rows)


def _line(row: dict[str, Any]) -> str:
    parts = ", ".join(f"{name} {value:.2f}" for name, value in row["parts"].items())
    texts = [_cell(row[name]) for name in ("prompt", "answer")]
    kl = f"{row['kl']:.2f}" if "kl" in row else ""
    cut = "cut off" if row["cut_off"] else ""
    return f"| {' | '.join(texts)} | {row['score']:.2f} | {parts} | {row['advantage']:.2f} | {kl} | {cut} |\n"


def _cell(text: str) -> str:
    return " / ".join(text.replace("|", "\\|").splitlines())
