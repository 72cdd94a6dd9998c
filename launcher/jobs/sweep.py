"""Several jobs from one line: `-m seed=1,2` or `sweeps=NAME`, by Hydra's sweeper and launcher.

Every job of a grid is composed and checked before the first one starts. The sweep has one folder, and each job
a folder in it. `sweep.json` keeps what was typed, so that `resume=SWEEP_FOLDER` goes on with what is missing (N36).
"""

import json
import os
import sys
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig

import stopping
from commands import hydra_text, run_py, shell
from commands import word as shell_word
from errors import Interrupted, RequestError
from folders import job_number
from launcher.config.compose import Files, Plan, check_groups, compose, hydra_of
from launcher.config.overrides import Override, count_jobs, is_group, parse
from launcher.config.reads import unread_words
from launcher.jobs import devices, joining, ranks, searching
from launcher.jobs.endings import FINISHED, Ending
from launcher.jobs.job import Job, left_to_do, run_job
from launcher.jobs.repeated import summary_of
from launcher.jobs.run_folder import cannot_write, job_name, refuse_taken, slug, sweep_folder, write_atomically
from launcher.lab import SWEEP_RECORD, Lab
from runs.direction import known_direction
from strict_json import object_in

# files composed for jobs of this process: jobs that choose the same options read them once
COMPOSED: Files = {}


class FailedFast(BaseException):
    """A job failed and fail_fast=true was typed: no further job starts. Hydra lets a BaseException through."""


def run_sweep(words: Sequence[str], frame: Plan, lab: Lab, command: list[str], *, folder: Path | None = None) -> int:
    """Runs all jobs and returns the worst exit status; a job that fails does not stop the others.

    Args:
        folder: that of a sweep to go on with; its finished jobs are left alone.

    Raises:
        RequestError: anything about any job of a grid is wrong; nothing has been started then.
    """
    overrides = parse(words, lab, multirun=True)
    _check_can_sweep(overrides)
    grid = _grid(overrides, frame, lab)
    jobs = None if grid is None else check_jobs([*grid, *overrides], lab)
    for word in read_by_none(overrides, jobs or [], lab):
        print(f"{word} changes nothing: no job of this sweep reads it.", file=sys.stderr)
    typed = any(o.key == "hydra.sweeper.direction" for o in overrides)
    way = [] if grid is not None else searching.direction(frame.cfg, frame.hydra, typed=typed)
    varied = dict(frame.hydra.sweeper.get("params") or {}) if grid is None else [o.key for o in grid]
    swept = [*varied, *(o.key for o in overrides if o.is_sweep)]
    if folder is None:
        folder = _claim(overrides, frame, swept)
        record = {"words": list(words), "swept": swept, "jobs": None if jobs is None else len(jobs)}
        write_atomically(folder / SWEEP_RECORD, json.dumps(record, indent=2) + "\n")
    print(f"{f'{len(jobs)} jobs' if jobs is not None else 'A sweep'} -> {folder}", flush=True)
    total = len(jobs) if jobs is not None else None
    stopped = None
    _be_importable(lab)
    try:
        with stopping.noting(), hydra_of(lab) as hydra:
            task = SweepJob(lab, command, folder, tuple(swept), total)
            told = [*_for_hydra(overrides, grid, folder, lab), *way]
            hydra.multirun("config", task, told, with_log_configuration=False)
    except FailedFast:
        print("\nfail_fast=true: no further job was started.")
    except Interrupted as error:
        stopped = 128 + error.signum
    code = report(folder, total)
    return code if stopped is None else stopped


def resume_sweep(folder: Path, lab: Lab, command: list[str]) -> int:
    """Runs what is missing of a sweep: jobs that never started, and those that did not finish, from where they are.

    Raises:
        RequestError: its record cannot be read.
    """
    try:
        words = object_in(folder / SWEEP_RECORD)["words"]
        if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
            raise ValueError("its words are no words")
    except (OSError, ValueError, KeyError) as error:
        raise RequestError(f"{folder / SWEEP_RECORD} cannot be read ({error}): start the sweep again.") from None
    return run_sweep(words, compose(words, lab, multirun=True), lab, command, folder=folder)


@dataclass(frozen=True)
class SweepJob:
    """What Hydra's launcher calls for each job; it can be pickled, for launchers that use other processes."""

    lab: Lab
    command: list[str]
    folder: Path
    swept: tuple[str, ...]
    total: int | None

    def __call__(self, cfg: DictConfig) -> float:
        """Runs the job; returns what trainer.monitor names, for sweepers that search."""
        stopping.check()
        hydra, launcher = HydraConfig.get(), HydraConfig.get().launcher._target_
        words = [word for word in hydra.overrides.task if not word.lstrip("+").startswith("run_dir=")]
        plan = compose(words, self.lab, cache=COMPOSED, anyway=words)
        values = {word.lstrip("+").split("=", 1)[0]: word.lstrip("+") for word in words}
        shown = ",".join(values[key] for key in self.swept if key in values)
        number = int(hydra.job.num)
        print(f"\njob {number}{f' of {self.total}' if self.total else ''}{f': {shown}' if shown else ''}", flush=True)
        folder = self.folder / job_name(number, shown)
        left = left_to_do(folder, self.lab, lambda: plan)
        if left is not None:
            with self._devices(plan, launcher):
                ending, _ = run_job(Job(left, self.lab, self.command, folder=folder))
            _stop_the_sweep(ending, fail_fast=bool(plan.cfg.get("fail_fast")))
        if not searching.searches(hydra):
            return 0.0
        found = searching.worth(plan.cfg, summary_of(folder))
        if found is None:
            print(f"job {number} measured no {plan.cfg.trainer.monitor}: the search takes it for the worst", flush=True)
        return searching.worst(plan.cfg) if found is None else found

    def _devices(self, plan: Plan, launcher: str) -> AbstractContextManager[None]:
        """GPUs of this job's own, where jobs run beside each other on this machine."""
        if "joblib" not in launcher or ranks.is_on_cpu(plan.cfg):
            return nullcontext()
        wanted = plan.cfg.trainer.get("devices")
        return devices.slot(self.folder, per_job=wanted if isinstance(wanted, int) else 1)


def _be_importable(lab: Lab) -> None:
    """Launchers that start Python anew (submitit, Ray) find our packages there too, installed or not."""
    paths = [str(lab.root), *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    os.environ["PYTHONPATH"] = os.pathsep.join(dict.fromkeys(paths))


def _stop_the_sweep(ending: Ending, *, fail_fast: bool) -> None:
    """Ctrl-C and SIGTERM mean the whole sweep; a failure does so where the user asked for it."""
    if ending.status == "interrupted":
        raise Interrupted(ending.code - 128)
    stopping.check()  # it came when the job was over
    if fail_fast and ending.code != FINISHED:
        raise FailedFast


def _grid(overrides: Sequence[Override], frame: Plan, lab: Lab) -> list[Override] | None:
    """What the sweep's file varies and nobody typed anew; None for a sweeper that chooses its jobs as it goes."""
    if searching.searches(frame.hydra):
        return None
    typed = {o.key for o in overrides}
    params = dict(frame.hydra.sweeper.get("params") or {})
    return parse([f"{key}={value}" for key, value in params.items() if key not in typed], lab, multirun=True)


def check_jobs(overrides: Sequence[Override], lab: Lab) -> list[Plan]:
    """Composes every job of a grid."""
    count_jobs(overrides)
    check_groups(overrides, lab, multirun=True)
    everything = [o for o in overrides if not o.is_hydra and o.key != "run_dir"]
    parser = OverridesParser.create()
    batches = BasicSweeper.split_arguments([parser.parse_override(o.text) for o in everything], None)
    COMPOSED.clear()  # an earlier sweep of this process may have had other files
    return [_check_job(number, words, lab, COMPOSED) for number, words in enumerate(batches[0])]


def report(folder: Path, total: int | None) -> int:
    """Prints how the jobs ended, the best first, and returns the worst exit status."""
    files = sorted(folder.glob("*/summary.json"))  # a report may lie beside the jobs
    summaries = {
        file.parent: summary_of(file.parent) or {} for file in files if job_number(file.parent.name) is not None
    }
    metric = monitored(summaries.values())
    sign = -1 if known_direction(metric) is False else 1
    worth = {path: s.get("metrics", {}).get(metric) for path, s in summaries.items()}
    print(f"\n{len(summaries)} job{'s' * (len(summaries) != 1)} in {folder}")
    for path in sorted(summaries, key=lambda p: (worth[p] is None, sign * (worth[p] or 0.0))):
        shown = "" if worth[path] is None else f"{metric} {worth[path]:.4f}  "
        print(f"  {summaries[path].get('status', '?'):<12}{shown:<18}{path.name}")
    if any(s.get("status") != "finished" for s in summaries.values()) or len(summaries) < (total or 0):
        print(f"  go on      {run_py(f'resume={folder}')}")
    print(f"  compare    {run_py('task=report', f'runs={folder}')}")
    if any(folder.glob("*/tensorboard")):
        print(f"  dashboard  {shell('tensorboard', '--logdir', folder)}   (the tab HPARAMS compares the jobs)")
    return max((int(s.get("exit_status", 1)) for s in summaries.values()), default=FINISHED)


def monitored(summaries: Iterable[dict[str, Any]]) -> str:
    """The metric that all jobs kept their best checkpoint by; val/loss where they differ, or none did."""
    found = {name for summary in summaries for name in summary.get("best") or {} if name != "step"}
    return found.pop() if len(found) == 1 else "val/loss"


def read_by_none(overrides: Sequence[Override], jobs: Sequence[Plan], lab: Lab) -> list[str]:
    """Words with one value that none of the jobs reads."""
    own = ("run_dir", "fail_fast")  # of the sweep
    words = [o.typed for o in overrides if not (o.is_hydra or o.is_sweep or o.key in own)] if jobs else []
    for plan in jobs:
        if words:
            words = unread_words(words, plan.cfg, lab)
    return words


def _check_job(number: int, words: list[str], lab: Lab, cache: Files) -> Plan:
    try:
        plan = compose(words, lab, cache=cache, anyway=words)
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
        if o.key == "rerun" and o.value is not None:
            raise RequestError(f"{o.typed}: this is one run, done again as it was, and no sweep. Type it without -m.")
        if o.key == "run_dir" and o.is_sweep:
            raise RequestError(f"{o.typed}: run_dir= names the folder of the whole sweep; each job gets one in it.")


def _claim(overrides: Sequence[Override], frame: Plan, swept: Sequence[str]) -> Path:
    named = next((o.raw if not isinstance(o.value, str) else o.value for o in overrides if o.key == "run_dir"), None)
    if named is None:
        return sweep_folder(str(frame.choices.get("sweeps") or slug("-".join(swept)) or "sweep"))
    folder = Path(named).expanduser()
    if (folder / SWEEP_RECORD).is_file():
        raise RequestError(
            f"run_dir={folder} holds a sweep.\n"
            f"To go on with what is missing of it, type {shell_word(f'resume={folder}')}."
        )
    if folder.is_dir():
        refuse_taken(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise cannot_write(folder, error) from None
    return folder


def _for_hydra(overrides: Sequence[Override], grid: list[Override] | None, folder: Path, lab: Lab) -> list[str]:
    """The words for Hydra's sweeper. `++`: our checks know the keys; Hydra would refuse those with defaults in code.

    A grid is given as words: Hydra would combine each value of the sweep's file with those typed for the same key.
    """
    parser = OverridesParser.create()
    words = [
        o.text if is_group(o.key, lab) or o.is_hydra or o.deletes else f"++{o.text}"
        for o in [*(grid or []), *overrides]
        if o.key != "run_dir"
    ]
    words += ["hydra.sweeper.params=null"] if grid is not None else []
    words += [
        f"hydra.sweep.dir={hydra_text(folder.absolute(), always=True)}",
        "hydra.sweep.subdir=.",
        "hydra.output_subdir=null",
        "hydra.mode=MULTIRUN",
    ]
    for word in words:
        parser.parse_override(word)
    return words
