"""predictions.jsonl, read: one line a question, with what was answered and whether that is right."""

from pathlib import Path
from typing import Any

from commands import word
from errors import RequestError
from evaluation.mistakes import class_of
from strict_json import value_of

PREDICTIONS = "predictions.jsonl"
Prediction = dict[str, Any]


def predictions_file(given: str | Path, *, key: str) -> Path:
    """The file itself, or the one in a run folder. `key`: of the config, that named it.

    Raises:
        RequestError: there is none.
    """
    path = Path(given).expanduser()
    file = path / PREDICTIONS if path.is_dir() else path
    if not file.is_file():
        raise RequestError(
            f"{word(f'{key}={given}')}: there is no file {file}. It is written by\n"
            "python run.py task=evaluate init_from=RUN benchmark=NAME, into the folder of that run."
        )
    return file


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
