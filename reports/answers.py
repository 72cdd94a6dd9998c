"""Answers of benchmark runs that could not be read: they count as wrong, so how many there are must be seen."""

from collections.abc import Iterator
from typing import Any

from reports.collect import Run
from reports.comparison import Comparison
from reports.tables import Row, count
from strict_json import object_in

SHOWN = 200  # characters of a question or an answer


def judged(comparison: Comparison) -> list[Row]:
    """A line for each run that read answers: of how many questions, about how many sources, how many were unread."""
    return [
        {"setting": setting, "seed": str(run.seed), "benchmark": str(found.get("benchmark", ""))}
        | {"questions": count(found.get("n")), "sources": count(found.get("sources")), "unread": str(found["unread"])}
        for setting, run, found in _runs(comparison)
    ]


def unread(comparison: Comparison) -> list[Row]:
    """Ten answers of each such run that could not be read, with what was asked and expected."""
    return [
        {"setting": setting, "seed": str(run.seed)} | {key: _clipped(str(value)) for key, value in answer.items()}
        for setting, run, found in _runs(comparison)
        for answer in found.get("unread_answers") or []
    ]


def _runs(comparison: Comparison) -> Iterator[tuple[str, Run, dict[str, Any]]]:
    """Setting, run and its evaluation.json, where answers were read."""
    for arm in comparison.arms:
        for run in arm.finished:
            try:
                found = object_in(run.path / "evaluation.json")
            except (OSError, ValueError):
                continue
            if isinstance(found.get("unread"), int):
                yield arm.label, run, found


def _clipped(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= SHOWN else text[: SHOWN - 1] + "…"
