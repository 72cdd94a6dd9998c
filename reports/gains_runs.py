"""Run folders of task=evaluate -> ways to answer, for the table of gains."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from errors import RequestError
from evaluation.predictions import read_predictions
from folders import PREDICTIONS, job_number, predictions_file
from reports.collect import Run, find_runs
from reports.gains import Way, ways_of
from runs.files import read_json

ASKED = "asked"  # in the folder of a pipeline: its evaluations


def ways_in(folder: Path, name: str) -> list[Way]:
    """The ways in one run of task=evaluate, with what it cost.

    Raises:
        RequestError: it has no predictions, or they cannot be read.
    """
    predictions = read_predictions(predictions_file(folder, key="runs"))
    seconds, read = (
        _number(folder / "summary.json", "processor_seconds"),
        _number(folder / "evaluation.json", "judge_tokens"),
    )
    ways = [replace(way, asked_s=seconds) for way in ways_of(name, predictions)]
    # of samples the vote needs no judge; single answers that were retried do
    judged = len(ways) - 1
    return [replace(way, read=read / len(predictions)) if read and i == judged else way for i, way in enumerate(ways)]


def found_ways(wanted: str | Sequence[str]) -> tuple[list[Way], list[str]]:
    """The ways of all runs named, each under what distinguishes it, and a line about those without predictions.

    Raises:
        RequestError: no folder, no run, or none with predictions.
    """
    texts = [wanted] if isinstance(wanted, str) else list(wanted)
    runs = find_runs([str(_evaluations(text)) for text in texts])
    asked = [run for run in runs if (run.path / PREDICTIONS).is_file()]
    if not asked:
        raise RequestError(
            f"runs={', '.join(texts)}: no run in it has a {PREDICTIONS}.\n"
            "report.style=gains holds runs of task=evaluate benchmark=NAME against each other."
        )
    names = unique([label(run) for run in asked], [run.path for run in asked])
    left = len(runs) - len(asked)
    notes = [f"{left} run(s) without {PREDICTIONS} are passed over."] if left else []
    return [way for run, name in zip(asked, names, strict=True) for way in ways_in(run.path, name)], notes


def label(run: Run) -> str:
    """What sets a job of a sweep apart, paths by their last part; the folder's name of any other run."""
    if job_number(run.path.name) is None or not run.factors:
        return run.path.name
    return ", ".join(f"{key}={Path(value).name if '/' in value else value}" for key, value in run.factors.items())


def unique(names: Sequence[str], paths: Sequence[Path]) -> list[str]:
    """Names that several have, with the folder that each lies in."""
    return [
        name if names.count(name) == 1 else f"{path.parent.name}/{name}"
        for name, path in zip(names, paths, strict=True)
    ]


def _evaluations(text: str) -> Path:
    """Of a pipeline's folder, where its evaluations lie."""
    path = Path(text).expanduser()
    return path / ASKED if (path / ASKED).is_dir() else path


def _number(file: Path, key: str) -> float | None:
    try:
        value: Any = read_json(file).get(key)
    except (OSError, ValueError, RecursionError):
        return None
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
