"""Rows of training batches, ready to be shown: padding cut off, each with what is known about it in its title."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeGuard

from batch import IGNORE
from datamodules.kinds.steps import StepDataModule
from datamodules.kinds.tokens import TokenDataModule
from inspection.page import Tokens


def batch_rows(data: StepDataModule, steps: list[list[dict[str, Any]]]) -> Iterator[Tokens]:
    """Every row of every micro-batch; of pairs the chosen and the rejected answer one after the other."""
    pairs = "pairs" in data.provides
    for step, micros in enumerate(steps):
        starts = iter(window_starts(data, step))
        for number, micro in enumerate(micros):
            B = len(micro["ids"])
            order = [i for b in range(B // 2) for i in (b, b + B // 2)] if pairs else range(B)
            for b in order:
                n = real_length(micro, b)
                start = next(starts, None)
                name = (
                    f"pair {b % (B // 2) + 1}, {'rejected' if b >= B // 2 else 'chosen'}" if pairs else f"row {b + 1}"
                )
                padding = len(micro["ids"][b]) - n
                yield Tokens(
                    title=f"step {step + 1}, micro-batch {number + 1}, {name}{place(data, start)}"
                    + (f", {padding:,} of padding left out" if padding else ""),
                    ids=micro["ids"][b][:n].tolist(),
                    targets=micro["targets"][b][:n].tolist() if "targets" in micro else None,
                    weights=micro["weights"][b][:n].tolist() if "weights" in micro else None,
                    documents=micro["documents"][b][:n].tolist() if "documents" in micro else None,
                    again=overlap(data, start),
                )


def real_length(micro: dict[str, Any], b: int) -> int:
    """Tokens of a row without its padding."""
    if "lengths" in micro:
        return int(micro["lengths"][b])
    if "padding" in micro:  # True where there is none
        return int(micro["padding"][b].sum())
    return len(micro["ids"][b])


def place(data: StepDataModule, start: int | None) -> str:
    """Where a window lies: in which source of a mixture, and from which token on."""
    if start is None:
        return ""
    source = f", {data.source_at(start)}" if hasattr(data, "source_at") else ""
    return f"{source}, tokens {start:,} to {start + data.seq_len:,}"


def has_windows(data: StepDataModule) -> TypeGuard[TokenDataModule]:
    """Whether rows are windows of one long sequence."""
    return isinstance(data, TokenDataModule) and not data.streaming and data.packing == "concat"


def window_starts(data: StepDataModule, step: int) -> list[int]:
    if not has_windows(data):
        return []
    return data.order().starts(step, data.accumulate * data.world_size * data.batch_size).tolist()


def overlap(data: StepDataModule, start: int | None) -> int:
    """Tokens at the start of a window that the window before it has, too."""
    if not start or not has_windows(data) or data.sampling == "random":
        return 0
    return max(0, data.seq_len - data.stride)


def supervised_share(rows: list[Tokens]) -> float:
    targets = [target for row in rows for target in row.targets or []]
    return sum(target != IGNORE for target in targets) / max(1, len(targets))
