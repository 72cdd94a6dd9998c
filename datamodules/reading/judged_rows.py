"""Answers of models to questions, each right or wrong: predictions.jsonl of task=evaluate, of one run or several."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from datamodules.reading.records import Asked, read_rows
from errors import RequestError
from folders import PREDICTIONS, predictions_file

Line = tuple[dict[str, Any], str]  # and where it stands


@dataclass
class Judged:
    """A question with its answers; `source`: what other questions may be about as well."""

    question: str
    source: str
    texts: list[str] = field(default_factory=list)
    labels: list[bool] = field(default_factory=list)


def lines_of(path: str) -> Iterator[Line]:
    """(line, where it stands) of a predictions.jsonl, or of the one in a run folder."""
    file = predictions_file(path, key="data.path", more=("evaluate.samples=16",))
    asked = Asked("data.path", "answers that are right or wrong")
    return read_rows(str(file), name=None, split="train", revision=None, columns=None, asked=asked)


def merged(rows: Iterable[Line]) -> dict[str, Judged]:
    """By question, in the order in which they come.

    Raises:
        RequestError: a line without labels; one text that is said to be right and wrong; a question about two things.
    """
    found: dict[str, Judged] = {}
    for row, where in rows:
        question, texts, labels = row.get("question"), row.get("texts") or [], row.get("labels") or []
        if not isinstance(question, str) or not _fit(texts, labels):
            raise RequestError(
                f"{where}: expected a line of {PREDICTIONS} with 'question', 'texts' and as many 'labels', true or "
                f"false; there are {', '.join(map(repr, row))}.\nEvaluations before 2026-11-25, and those of summaries,"
                " have no labels: run task=evaluate benchmark=... evaluate.samples=16 again."
            )
        source = str(row.get("source") or question)
        judged = found.setdefault(question, Judged(question, source))
        if judged.source != source:
            raise RequestError(
                f"{where}: {question[:100]!r} has the source {source[:60]!r}, and {judged.source[:60]!r} in an earlier "
                "line: it would stand on both sides.\nGive runs of one benchmark only."
            )
        said = dict(zip(judged.texts, judged.labels, strict=True))
        for text, label in zip(texts, labels, strict=True):
            if said.get(text, label) != label:
                raise RequestError(f"{where}: {text[:100]!r} is right here and wrong in an earlier line.")
        judged.texts += texts
        judged.labels += labels
    return found


def _fit(texts: Any, labels: Any) -> bool:
    if not isinstance(texts, list) or not isinstance(labels, list) or not 0 < len(texts) == len(labels):
        return False
    return all(isinstance(t, str) for t in texts) and all(isinstance(label, bool) for label in labels)


def ended(lines: Iterable[Line], dropped: Counter[str]) -> Iterator[Line]:
    """Lines without the answers that were cut off when their tokens were used up; what is left out is counted."""
    for row, where in lines:
        stopped, texts = row.get("stopped"), row.get("texts")
        if not isinstance(stopped, list) or not isinstance(texts, list) or len(stopped) != len(texts):
            yield row, where  # not said, or no line of ours
            continue
        dropped["answers that were cut off"] += stopped.count(False)
        if kept := [i for i, whole in enumerate(stopped) if whole]:
            labels = row.get("labels") or []
            yield (
                row | {"texts": [texts[i] for i in kept], "labels": [labels[i] for i in kept if i < len(labels)]},
                where,
            )
