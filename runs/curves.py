"""metrics.csv as curves: each metric against steps, tokens and seconds of training; plain lists."""

from pathlib import Path
from typing import TypedDict

from runs.files import read_rows

NO_CURVE = ("step", "tokens_seen")


class Curve(TypedDict):
    """Four lists of one length. Seconds are those of training: tokens divided by the throughput on the way."""

    step: list[float]
    tokens: list[float]
    seconds: list[float]
    value: list[float]


def curves(folder: str | Path) -> dict[str, Curve]:
    """{metric: its curve} of a run, as far as it has come; empty where there is no metrics.csv."""
    seconds, tokens = 0.0, 0.0
    found: dict[str, Curve] = {}
    for row in read_rows(Path(folder) / "metrics.csv"):
        now = row.get("tokens_seen", tokens)
        if speed := row.get("train/tokens_per_second"):
            seconds, tokens = seconds + (now - tokens) / speed, now
        for name, value in row.items():
            if name not in NO_CURVE:
                curve = found.setdefault(name, Curve(step=[], tokens=[], seconds=[], value=[]))
                for axis, number in (("step", row["step"]), ("tokens", now), ("seconds", seconds), ("value", value)):
                    curve[axis].append(number)  # type: ignore[literal-required]
    return found
