"""Several jobs from one line: `-m seed=1,2` or `sweeps=NAME`, by Hydra's sweeper and launcher.

Every job of a grid is composed and checked before the first one starts. The sweep has one folder, and each job
a folder in it.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig

from errors import RequestError
from launcher import joining, ranks
from launcher.compose import Files, Plan, check_groups, compose, hydra_of
from launcher.endings import FINISHED
from launcher.job import Job, run_job
from launcher.lab import Lab
from launcher.overrides import Override, is_group, parse
from launcher.run_folder import USED_BY_A_RUN, cannot_write, job_name, slug, sweep_folder


def run_sweep(words: Sequence[str], frame: Plan, lab: Lab, command: list[str]) -> int:
    """Runs all jobs and returns the worst exit status; a job that fails does not stop the others.

    Raises:
        RequestError: anything about any job of a grid is wrong; nothing has been started then.
    """
    overrides = parse(words, lab, multirun=True)
    _check_can_sweep(overrides)
    params = dict(frame.hydra.sweeper.get("params") or {})
    jobs = check_jobs(overrides, params, frame, lab)
    swept = [*params, *(o.key for o in overrides if o.is_sweep)]
    folder = _claim(overrides, frame, swept)
    print(f"{f'{len(jobs)} jobs' if jobs is not None else 'A sweep'} -> {folder}", flush=True)
    task = SweepJob(lab, command, folder, tuple(swept), total=len(jobs) if jobs is not None else None)
    with hydra_of(lab) as hydra:
        hydra.multirun("config", task, _for_hydra(overrides, folder, lab), with_log_configuration=False)
    return report(folder)


@dataclass(frozen=True)
class SweepJob:
    """What Hydra's launcher calls for each job; it can be pickled, for launchers that use other processes."""

    lab: Lab
    command: list[str]
    folder: Path
    swept: tuple[str, ...]
    total: int | None

    def __call__(self, cfg: DictConfig) -> float | None:
        """Runs the job; returns val/loss, for sweepers that search."""
        hydra = HydraConfig.get()
        words = [word for word in hydra.overrides.task if not word.lstrip("+").startswith("run_dir=")]
        plan = compose(words, self.lab)
        values = {word.lstrip("+").split("=", 1)[0]: word.lstrip("+") for word in words}
        shown = ",".join(values[key] for key in self.swept if key in values)
        number = int(hydra.job.num)
        print(f"\njob {number}{f' of {self.total}' if self.total else ''}: {shown}", flush=True)
        job = Job(plan, self.lab, self.command, folder=self.folder / job_name(number, shown))
        _, run = run_job(job)
        loss = _read_summary(job.folder).get("metrics", {}).get("val/loss") if job.folder else None
        del run
        return float(loss) if isinstance(loss, int | float) else None


def check_jobs(overrides: Sequence[Override], params: dict[str, Any], frame: Plan, lab: Lab) -> list[Plan] | None:
    """Composes every job of a grid; None for a sweeper that chooses its jobs as it goes."""
    if frame.hydra.sweeper._target_ != f"{BasicSweeper.__module__}.{BasicSweeper.__name__}":
        return None
    typed = {o.key for o in overrides}
    grid = parse([f"{key}={value}" for key, value in params.items() if key not in typed], lab, multirun=True)
    check_groups(grid, lab, multirun=True)
    everything = [o for o in [*grid, *overrides] if not o.is_hydra and o.key != "run_dir"]
    parser = OverridesParser.create()
    batches = BasicSweeper.split_arguments([parser.parse_override(o.text) for o in everything], None)
    cache: Files = {}
    return [_check_job(number, words, lab, cache) for number, words in enumerate(batches[0])]


def report(folder: Path) -> int:
    """Prints how the jobs ended, best validation loss first, and returns the worst exit status."""
    summaries = {file.parent: _read_summary(file.parent) for file in sorted(folder.glob("*/summary.json"))}
    loss = {path: s.get("metrics", {}).get("val/loss") for path, s in summaries.items()}
    print(f"\n{len(summaries)} jobs in {folder}")
    for path in sorted(summaries, key=lambda p: (loss[p] is None, loss[p] if loss[p] is not None else 0.0)):
        shown = "" if loss[path] is None else f"val/loss {loss[path]:.4f}"
        print(f"  {summaries[path].get('status', '?'):<12}{shown:<18}{path.name}")
    return max((int(s.get("exit_status", 1)) for s in summaries.values()), default=FINISHED)


def _check_job(number: int, words: list[str], lab: Lab, cache: Files) -> Plan:
    try:
        plan = compose(words, lab, cache=cache)
        ranks.wanted(plan.cfg)
        return plan
    except RequestError as error:
        raise RequestError(f"job {number} of the sweep ({' '.join(words)}):\n{error}") from None


def _check_can_sweep(overrides: Sequence[Override]) -> None:
    if joining.inside():
        raise RequestError("a sweep cannot be started by torchrun or srun: its jobs start their own processes.")
    for o in overrides:
        if o.key == "resume" and o.value is not None:
            raise RequestError(f"{o.typed}: a sweep starts new runs. Resume its jobs one by one, without -m.")
        if o.key == "run_dir" and o.is_sweep:
            raise RequestError(f"{o.typed}: run_dir= names the folder of the whole sweep; each job gets one in it.")


def _claim(overrides: Sequence[Override], frame: Plan, swept: Sequence[str]) -> Path:
    named = next((o.raw if not isinstance(o.value, str) else o.value for o in overrides if o.key == "run_dir"), None)
    if named is None:
        return sweep_folder(str(frame.choices.get("sweeps") or slug("-".join(swept)) or "sweep"))
    folder = Path(named).expanduser()
    if any((folder / name).exists() for name in (*USED_BY_A_RUN, "multirun.yaml")):
        raise RequestError(f"run_dir={folder} has been used already. Give another folder, or none.")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise cannot_write(folder, error) from None
    return folder


def _for_hydra(overrides: Sequence[Override], folder: Path, lab: Lab) -> list[str]:
    """The words for Hydra's sweeper. `++`: our checks know the keys; Hydra would refuse those with defaults in code."""
    parser = OverridesParser.create()
    quoted = str(folder.absolute()).replace("\\", "\\\\").replace("'", "\\'")
    words = [
        o.text if is_group(o.key, lab) or o.is_hydra or o.deletes else f"++{o.text}"
        for o in overrides
        if o.key != "run_dir"
    ]
    words += [f"hydra.sweep.dir='{quoted}'", "hydra.sweep.subdir=.", "hydra.output_subdir=null", "hydra.mode=MULTIRUN"]
    for word in words:
        parser.parse_override(word)
    return words


def _read_summary(folder: Path) -> dict[str, Any]:
    try:
        return dict(json.loads((folder / "summary.json").read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return {}
