"""predictions.jsonl, read: one line a question, with what was answered and whether that is right."""

from pathlib import Path
from typing import Any

from errors import RequestError
from evaluation.mistakes import class_of
from folders import PREDICTIONS
from strict_json import value_of

Prediction = dict[str, Any]


def read_predictions(file: Path) -> list[Prediction]:
    """Raises RequestError for a file that holds something else, naming the line; summaries have no wrong answers."""
    found = []
    for number, line in enumerate(file.read_text(encoding="utf-8").rstrip("\n").split("\n"), start=1):
        try:
            row = value_of(line)
            class_of(row)
        except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
            raise RequestError(
                f"{file}, line {number}: not a line of {PREDICTIONS} ({type(error).__name__}: {error})."
            ) from None
        found.append(row)
    if not found:
        raise RequestError(f"{file} is empty.")
    if not any("right" in row for row in found):
        raise RequestError(f"{file}: these answers are neither right nor wrong.")
    return found
