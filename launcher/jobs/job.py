"""One job, from a checked plan to its end: claim a folder, save the config, run the task, write the summary."""

import gc
import inspect
import logging
import os
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import folders
import stopping
from commands import hydra_text, run_py
from errors import RequestError
from launcher.config.compose import Plan, compose, remember
from launcher.config.instantiate import resolve_target
from launcher.jobs import joining, ranks, repeated, state, summary, threads
from launcher.jobs.endings import FINISHED, WRONG_REQUEST, Ending, explain, wants_traceback
from launcher.jobs.run_folder import RunFolder, claim, default_name, save_config
from launcher.jobs.run_log import RunLog, SaidOnce
from launcher.lab import SWEEP_RECORD, Lab
from runs import expected

log = logging.getLogger("launcher")
FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"


@dataclass(frozen=True)
class Job:
    """A plan with what is known about its surroundings. `command` is the command line, for the record."""

    plan: Plan
    lab: Lab
    command: list[str]
    folder: Path | None = None  # given by a sweep; else run_dir or the default name

    @property
    def in_sweep(self) -> bool:
        return self.folder is not None


def run_job(job: Job) -> tuple[Ending, RunFolder]:
    """Runs the job to its end, in this process or in one per rank.

    Raises:
        RequestError: no folder could be claimed; nothing was left behind.
    """
    with stopping.noting():
        if not job.plan.cfg.task.get("leaves_folder", True):
            return look(job)
        return _run_job(job, ranks.wanted(job.plan.cfg))


def look(job: Job) -> tuple[Ending, RunFolder]:
    """A task that only looks at what there is: no folder, no log, no summary.

    Raises:
        RequestError: a folder was given to write into.
    """
    if job.plan.cfg.run_dir or job.in_sweep:
        task = job.plan.choices.get("task")
        raise RequestError(f"task={task} writes nothing: leave run_dir=... and several values out.")
    run = RunFolder(Path(), is_new=False)
    error = _call_task(job, run)
    ending = explain(error)
    if error is not None and ending.is_bug and not wants_traceback():
        traceback.print_exception(error)  # there is no run.log
    elif ending.words is not None:
        print(f"\n{ending.words}", file=sys.stderr, flush=True)
    return ending, run


def _run_job(job: Job, world_size: int) -> tuple[Ending, RunFolder]:
    if joining.inside():
        run = joining.share_folder(lambda: claim_folder(job), job.plan.cfg)
        return work(job, run), run
    run = claim_folder(job)
    if world_size == 1:
        return work(job, run), run
    clock = summary.Clock(job.lab.root)
    try:
        ending = ranks.supervise(run, world_size, job.lab, job.command, on_cpu=ranks.is_on_cpu(job.plan.cfg))
    except OSError as error:  # no process could be started
        ending = explain(error)
    close(job, run, ending, clock, written_by_rank=True)
    return ending, run


def claim_folder(job: Job) -> RunFolder:
    """Raises RequestError if the folder is in use, used or not writable."""
    cfg, choices = job.plan.cfg, job.plan.choices
    named = job.folder or (Path(cfg.run_dir).expanduser() if cfg.run_dir else None)
    task = choices.get("task", "fit")
    default = beside_runs(cfg) or default_name(choices.get("model"), choices.get("objective"), task=task)
    run = claim(named, default=default, resume=bool(cfg.resume), kinds=_to_go_on_with(named, choices.get("task")))
    try:
        save_config(run.path, cfg, job.plan.hydra, job.plan.overrides)
    except RequestError:
        run.discard()
        run.release()
        raise
    return run


def beside_runs(cfg: Any) -> Path | None:
    """<sweep>/report for task=report about one sweep; None for all else, and where the sweep's folder is not ours."""
    sweep = cfg.get("runs") if str(cfg.task._target_).endswith(".report") else None
    if not isinstance(sweep, str) or not (folder := Path(sweep).expanduser()).joinpath(SWEEP_RECORD).is_file():
        return None
    return folder / "report" if os.access(folder, os.W_OK) else None


def left_to_do(folder: Path, lab: Lab, compose_anew: Callable[[], Plan]) -> Plan | None:
    """The plan of one of several jobs, by its folder: None where it is finished, as saved then where it was cut off."""
    status = (repeated.summary_of(folder) or {}).get("status")
    if status == "finished":
        print("  finished before", flush=True)
        return None
    if status is not None or (folder / "checkpoints" / "last.ckpt").is_file():
        print(f"  {status or 'killed'} before: it goes on", flush=True)
    if (folder / ".hydra" / "config.yaml").is_file():
        return compose([f"resume={hydra_text(folder, always=True)}"], lab)
    return compose_anew()


def _to_go_on_with(folder: Path | None, task: object) -> tuple[folders.Kind, ...]:
    """A crawl that `python -m crawl` began, which has no config here, is gone on with by its folder."""
    return ("crawl",) if folder and task == "crawl" and (folder / "crawl.sqlite").is_file() else ()


def work(job: Job, run: RunFolder) -> Ending:
    """Runs the task in this process; whatever happens is written to run.log and summary.json."""
    clock = summary.Clock(job.lab.root)
    with stopping.noting(), state.isolated(), _logging_to(run), threads.told():
        log.info("started: %s", run_py(*job.command))
        then = repeated.summary_of(job.plan.cfg.rerun) if job.plan.cfg.get("rerun") else None
        if then is not None and run.rank == 0:
            now = {"versions": summary.versions()} | clock.code
            lines = repeated.surroundings(then, now) + repeated.horizon(job.plan.cfg.rerun, job.plan.cfg.get("trainer"))
            _say_differences(job, run, lines, same="code and versions are those of then")
        ending = explain(_call_task(job, run))
        log.log(logging.INFO if ending.code == 0 else logging.DEBUG, "%s", ending.status)
        if run.rank == 0:
            if then is not None and ending.code == FINISHED:
                _say_differences(job, run, repeated.outcome(then, run.results), same="the same data, the same result")
                _say_whether_expected(run)
            close(job, run, ending, clock)
    return ending


def _say_differences(job: Job, run: RunFolder, lines: list[str], *, same: str) -> None:
    """On the screen, in run.log and in summary.json."""
    words = repeated.told(str(job.plan.cfg.rerun), lines, same=same)
    print(words, flush=True)
    log.info("%s", words)
    known = run.results.setdefault("rerun", {"of": str(job.plan.cfg.rerun), "differences": []})
    known["differences"] += lines


def _say_whether_expected(run: RunFolder) -> None:
    """Where curves were recorded of such a run: is it inside them?"""
    if words := expected.compared(run.path, summary=run.results):
        print(words, flush=True)
        log.info("%s", words)
        run.results["rerun"]["curves"] = words


def close(job: Job, run: RunFolder, ending: Ending, clock: summary.Clock, *, written_by_rank: bool = False) -> None:
    """Writes the summary, tells the user, and gives the folder back."""
    is_child = ranks.is_child()
    untouched = ending.code == WRONG_REQUEST and run.is_new and not job.in_sweep and not _has_worked(run)
    # a resume that was refused has measured nothing: what the run wrote stays (of a sweep's job, all but its end)
    refused = ending.code == WRONG_REQUEST and bool(job.plan.cfg.get("resume")) and not run.results.get("step")
    stays = refused and not job.in_sweep and (run.path / "summary.json").is_file()
    if not (untouched and not is_child) and not stays:
        try:
            summary.record(run, job.plan, ending, clock, job.command, keep=written_by_rank or refused)
        except OSError as error:
            print(f"summary.json could not be written: {explain(error).error}", file=sys.stderr)
    if untouched and not is_child:
        run.discard()
    if not is_child:
        run.release()
    if not ending.is_said:
        _tell(run, ending, untouched=untouched)


def _call_task(job: Job, run: RunFolder) -> BaseException | None:
    try:
        with stopping.raising():
            remember(job.plan.hydra)
            function = resolve_target(job.plan.cfg.task._target_)
            _collect_garbage_from_now()
            own = {key: job.plan.cfg[key] for key in _keyword_only(function) if key in job.plan.cfg}
            function(job.plan.cfg, run, **own)
        return None
    except BaseException as error:
        stopping.arrived()
        ending = explain(error)
        log.debug("%s", ending.words)
        if ending.is_bug or wants_traceback():
            log.debug("%s", "".join(traceback.format_exception(error)))
        if wants_traceback():
            traceback.print_exception(error)
        return error


def _collect_garbage_from_now() -> None:
    """run.py imports without; what lives by now lives to the end, and is never looked at again."""
    if not gc.isenabled():
        gc.freeze()
        gc.enable()


def _tell(run: RunFolder, ending: Ending, *, untouched: bool) -> None:
    """Plain words on the screen, with what to type next."""
    if ending.words is None:
        return
    lines = [ending.words]
    if ending.is_bug:
        lines.append(f"The traceback is in {run.path / run_log(run.rank)}")
    if ending.status == "interrupted" and (run.path / "checkpoints" / "last.ckpt").is_file():
        lines.append(f"Saved. To go on, type: {run_py(f'resume={run.path}')}")
    elif not untouched and not ending.is_bug:
        lines.append(f"What there is of this run is in {run.path}")
    print("\n" + "\n".join(lines), file=sys.stderr, flush=True)


def run_log(rank: int) -> str:
    return "run.log" if rank == 0 else f"run.rank{rank}.log"


def _has_worked(run: RunFolder) -> bool:
    return bool(run.results.get("step")) or any((run.path / "checkpoints").glob("*"))


def _keyword_only(function: Any) -> list[str]:
    code = inspect.unwrap(function).__code__
    return list(code.co_varnames[code.co_argcount : code.co_argcount + code.co_kwonlyargcount])


@contextmanager
def _logging_to(run: RunFolder) -> Iterator[None]:
    """Everything logged goes into run.log; warnings also to the screen."""
    root = logging.getLogger()
    to_file = RunLog(run.path / run_log(run.rank))
    to_file.setFormatter(logging.Formatter(FORMAT))
    to_screen = logging.StreamHandler()
    to_screen.setLevel(logging.WARNING)
    to_screen.setFormatter(logging.Formatter("%(levelname)s: %(message)s"))
    for handler in (to_file, to_screen):
        handler.addFilter(SaidOnce())
    root.handlers[:] = [to_file, *([to_screen] if run.rank == 0 else [])]
    root.setLevel(logging.INFO)
    log.setLevel(logging.DEBUG)
    logging.captureWarnings(True)
    try:
        yield
    finally:
        logging.captureWarnings(False)
        to_file.close()
