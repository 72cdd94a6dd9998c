"""nanolab from Python: train, list and compare runs, and use their models; what the tasks of run.py do, as functions.

    import nanolab
    run = nanolab.train("model=moe", "trainer.max_steps=100")
    run.generate("The ", n=2)

docs/python.md shows it all. torch is imported by the first call that needs it.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cores
from errors import RequestError, RunError
from nanolab.loaded import LAB, Run
from runs.choosing import chosen, ordered
from runs.differences import Value
from runs.differences import compare as differing
from runs.listing import OUTPUTS, list_runs
from runs.naming import expand, run_named

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["RequestError", "Run", "compare", "load", "runs", "task", "train"]

cores.share()


def train(*words: str) -> Run:
    """Trains, with the words of the command line: train("model=moe", "objective=sft"). Returns the run.

    Raises:
        RequestError: the words are wrong, in the words that run.py would print.
        RunError: it began and failed; summary.json and run.log in its folder say more.
        KeyboardInterrupt: it was stopped, after saving; train("resume=last") goes on.
    """
    return task("fit", *words)


def task(name: str, *words: str) -> Run:
    """Does what `python run.py task=NAME ...` does: task("evaluate", "init_from=last"). Raises as `train`."""
    from launcher.config.compose import compose
    from launcher.jobs.job import Job, run_job

    typed = expand([*([] if name == "fit" else [f"task={name}"]), *words])
    plan = compose(typed, LAB)
    if plan.is_multirun or plan.choices.get("task") != name:
        raise RequestError(f"{' '.join(words)}: from Python one job of task={name} is run; for others use run.py.")
    for line in plan.passed_over:
        print(line, file=sys.stderr)
    ending, run = run_job(Job(plan, LAB, typed))
    if ending.status == "interrupted":
        raise KeyboardInterrupt(ending.words)
    if ending.code:
        raise (RequestError if ending.code == 2 else RunError)(ending.words or ending.status)
    return Run(run.path)


def load(run: str | Path, *words: str) -> Run:
    """A run by its folder, or as "last" or "last-2". Further words as for task=generate: load("last", "hardware=cpu").

    Raises:
        RequestError: there is no such run.
    """
    return Run(run_named(str(run)), *words)


def runs(root: str | Path = OUTPUTS, *, where: str | None = None, sort: str = "-time") -> pd.DataFrame:
    """The runs under a folder, newest first, a row each; `where` and `sort` are those of task=runs.

    Raises:
        RequestError: a name in `where` or `sort` means nothing.
    """
    import pandas as pd

    rows = [run.as_dict() for run in ordered(chosen(list_runs(root), where), sort)]
    for row in rows:
        row |= row.pop("metrics")
        row["time"] = pd.Timestamp.fromtimestamp(row["time"])
    return pd.DataFrame(rows).set_index("path") if rows else pd.DataFrame()


def compare(*named: str | Path | Run, root: str | Path = OUTPUTS) -> pd.DataFrame:
    """What differs between runs, a column each: keys of the config, versions, data; and all metrics.

    Raises:
        RequestError: there is no such run.
    """
    import pandas as pd

    folders = [run.path if isinstance(run, Run) else run_named(str(run), root) for run in named]
    found = differing(folders, among=root if Path(root).is_dir() else None)
    parts: dict[str, dict[str, list[Any]]] = {"config": found.config, "around": found.surroundings}
    parts["metrics"] = {name: [value and _plain(value) for value in row] for name, row in found.metrics.items()}
    rows = {(part, name): cells for part, table in parts.items() for name, cells in table.items()}
    frame = pd.DataFrame.from_dict(rows, orient="index", columns=[str(folder) for folder in folders])
    frame.index = pd.MultiIndex.from_tuples(list(rows), names=["part", "name"])
    return frame


def _plain(value: Value) -> float | tuple[float, float, float]:
    return value.value if value.low is None or value.high is None else (value.value, value.low, value.high)
