"""Runs as they lie on disk, read without the program that wrote them: summary.json, .hydra/, metrics.csv.

A run whose summary is missing is one that was killed or still works: listed, never averaged.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from commands import run_py
from errors import RequestError
from folders import job_number
from runs.curves import curves
from runs.files import is_run, read_json, read_yaml, typed_words

# tasks that make nothing to compare: a report lies well beside the runs it is about
NOT_COMPARED = ("report", "inspect", "check", "export", "generate", "chat", "prepare", "crawl")
NOT_A_FACTOR = ("run_dir", "resume", "rerun", "hydra", "logger", "callbacks", "task", "fail_fast", "seed")


NAMES = ("task", "model", "objective", "data", "tokenizer")
# what summary.json may hold, as far as it is read here; null is allowed everywhere
SUMMARY: dict[str, tuple[type, ...]] = {
    **dict.fromkeys(("status", "error", "command", *NAMES), (str,)),
    **dict.fromkeys(("metrics", "parameters", "best", "versions", "held_out"), (dict,)),
    **dict.fromkeys(("step", "tokens_seen", "wall_seconds", "tokens_per_second", "seed"), (int, float)),
    "overrides": (list,),
}


@dataclass(frozen=True)
class Run:
    """One run folder. `factors`: what distinguishes it from those it is compared with, except the seed."""

    path: Path
    summary: dict[str, Any]
    config: dict[str, Any]
    choices: dict[str, Any]
    factors: dict[str, str] = field(default_factory=dict)

    @property
    def status(self) -> str:
        return str(self.summary.get("status") or "unfinished")

    @property
    def is_compared(self) -> bool:
        return str(self.choices.get("task")) not in NOT_COMPARED

    @property
    def seed(self) -> int | None:
        return self.summary.get("seed", self.config.get("seed"))

    @property
    def metrics(self) -> dict[str, float]:
        """summary.json holds null for what was not finite: NaN here, so that the run still shares the metric."""
        found = {k: math.nan if v is None else v for k, v in (self.summary.get("metrics") or {}).items()}
        return {name: value for name, value in found.items() if isinstance(value, int | float)}

    @property
    def label(self) -> str:
        return ", ".join(f"{key}={value}" for key, value in self.factors.items()) or self.path.name

    @cached_property
    def overrides(self) -> dict[str, str]:
        words = self.summary.get("overrides") or typed_words(self.path)
        pairs = (str(word).lstrip("+~").split("=", 1) for word in words)
        return {pair[0]: pair[1] for pair in pairs if len(pair) == 2}

    def setting(self, key: str) -> str:
        """Value of a key of the config, or the option chosen of a group, as text."""
        if key in self.choices:
            return str(self.choices[key])
        value: Any = self.config
        for part in key.split("."):
            value = value.get(part) if isinstance(value, dict) else None
        return self.overrides.get(key, "") if value is None else _short(value)

    def curve(self, name: str) -> dict[str, np.ndarray]:
        """{"step", "tokens", "seconds", "value"}, each (n,), of one column of metrics.csv; empty where there is none.

        Seconds are those of training, see runs.curves.
        """
        curve = curves(self.path).get(name)
        columns = np.array([] if curve is None else list(curve.values()), dtype=np.float64).reshape(4, -1)
        return dict(zip(("step", "tokens", "seconds", "value"), columns, strict=True))


def find_runs(wanted: str | Sequence[str]) -> list[Run]:
    """The runs in a sweep's folder, in any folder of runs, or named one by one; in the order of job numbers.

    Of a folder of runs, those of tasks that measure nothing (reports, views, exports) are left out.

    Raises:
        RequestError: a folder is missing or holds no run.
    """
    found: dict[Path, Run] = {}
    for text in [wanted] if isinstance(wanted, str) else wanted:
        path = Path(text).expanduser()
        if not path.is_dir():
            raise RequestError(
                f"runs={text}: there is no such folder.\nType runs=<a sweep's folder>, see outputs/sweeps."
            )
        below = [] if is_run(path) else sorted((f for f in _below(path) if is_run(f)), key=_by_number)
        whole = [run for run in map(_whole, [path] if is_run(path) else below) if run is not None]
        runs = whole if is_run(path) else [run for run in whole if run.is_compared]
        if not runs and (damaged := passed_over(text)):
            raise RequestError("\n".join([f"runs={text}: no run in it can be read.", *damaged]))
        if not runs:
            raise RequestError(
                f"runs={text}: no run is in it; a run's folder holds summary.json or .hydra/config.yaml.\n"
                "Type runs=<a sweep's folder>, or a list: runs=[RUN1,RUN2]."
            )
        found |= {run.path.resolve(): run for run in runs}
    return with_factors(list(found.values()))


def _whole(folder: Path) -> Run | None:
    try:
        return _read(folder)
    except _Damaged:
        return None


def passed_over(wanted: str | Sequence[str]) -> list[str]:
    """A line for each run folder that cannot be read, with the reason."""
    lines = []
    for text in [wanted] if isinstance(wanted, str) else wanted:
        path = Path(text).expanduser()
        for folder in [path] if is_run(path) else sorted((f for f in _below(path) if is_run(f)), key=_by_number):
            try:
                _read(folder)
            except _Damaged as error:
                lines.append(f"{folder.name} is damaged, and passed over: {error}")
    return lines


def not_started(wanted: str | Sequence[str]) -> list[str]:
    """A line for each sweep among the folders that has jobs which never began: they have no folder to be found by."""
    lines = []
    for text in [wanted] if isinstance(wanted, str) else wanted:
        path = Path(text).expanduser()
        try:
            jobs = read_json(path / "sweep.json").get("jobs")
        except (OSError, ValueError):
            lines.append(f"sweep.json of {text} cannot be read: whether all of its jobs have begun is not known.")
            continue
        begun = len([folder for folder in path.glob("*") if job_number(folder.name) is not None and is_run(folder)])
        if isinstance(jobs, int) and begun < jobs:
            lines.append(
                f"{jobs - begun} of the {jobs} jobs of {text} have not begun. To go on with them: "
                f"{run_py(f'resume={text}')}"
            )
    return lines


def with_factors(runs: list[Run]) -> list[Run]:
    """The runs with what distinguishes them: options and keys that were typed for any, where the values differ."""
    typed = dict.fromkeys(key for run in runs for key in run.overrides if key.split(".")[0] not in NOT_A_FACTOR)
    groups = dict.fromkeys(key for run in runs for key in run.choices if _is_group(key))
    varied = [key for key in (*typed, *(key for key in groups if key not in typed)) if _differs(key, runs)]
    if "sweeps" in varied:
        varied.remove("sweeps")
    return [
        Run(run.path, run.summary, run.config, run.choices, {key: run.setting(key) for key in varied}) for run in runs
    ]


def _differs(key: str, runs: Iterable[Run]) -> bool:
    return len({run.setting(key) for run in runs}) > 1


def _is_group(key: str) -> bool:
    return not key.startswith("hydra/") and key.split("/")[0] not in NOT_A_FACTOR


def _below(path: Path, depth: int = 3) -> list[Path]:
    return [folder for level in range(1, depth + 1) for folder in path.glob("/".join("*" * level)) if folder.is_dir()]


def _by_number(folder: Path) -> tuple[str, int, str]:
    return str(folder.parent), job_number(folder.name) or 0, folder.name


class _Damaged(Exception):  # noqa: N818 - what the folder is
    """A run folder whose files are not what a run writes."""


def _read(folder: Path) -> Run:
    """Raises _Damaged, so that one folder never spoils the report about the others."""
    try:
        summary = read_json(folder / "summary.json")
        config = read_yaml(folder / ".hydra/config.yaml")
        choices = read_yaml(folder / ".hydra/hydra.yaml")
    except (OSError, ValueError) as error:
        raise _Damaged((str(error) or type(error).__name__).splitlines()[0][:200]) from None
    for key in ("hydra", "runtime", "choices"):
        choices = choices.get(key) or {}
        if not isinstance(choices, dict):
            raise _Damaged(f".hydra/hydra.yaml: {key} holds no keys")
    for key, kinds in SUMMARY.items():
        if not isinstance(summary.get(key), (*kinds, type(None))):
            raise _Damaged(f"summary.json: {key} is {str(summary[key])[:40]!r}")
    return Run(folder, summary, config, choices or {key: summary[key] for key in NAMES if key in summary})


def _short(value: Any) -> str:
    return {True: "true", False: "false"}.get(value, str(value)) if isinstance(value, bool) else str(value)
