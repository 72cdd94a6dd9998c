"""Several processes for one job (N1): one child per rank, each of which reads the job's own saved config.

Lightning's own launcher replays the command line, so that in a sweep every rank would start the whole sweep again. Here
the job starts `run.py --rank RUN_DIR` with the environment that torchrun gives, which Lightning takes as it is; the
parent only supervises. Where torchrun or srun has started the processes: see joining.py.
"""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from omegaconf import DictConfig

import stopping
from errors import RequestError
from launcher.jobs.devices import visible_devices
from launcher.jobs.endings import FAILED, Ending, explain
from launcher.jobs.joining import inside
from launcher.jobs.run_folder import RunFolder, keep_from_forks
from launcher.lab import Lab

CHILD = "NANOLAB_PARENT_PIPE"  # set in the children that we start
LOCK = "NANOLAB_LOCK"
# for the other ranks to end by themselves when one has failed
GRACE_S = float(os.environ.get("NANOLAB_GRACE_S", 30.0))
SAVING_S = 600.0  # the same where they were stopped, and are saving
POLL_S = 0.1
STOPPED = tuple(128 + number for number in stopping.SIGNALS)


def wanted(cfg: DictConfig) -> int:
    """How many processes the job needs on this machine.

    Raises:
        RequestError: devices and strategy contradict each other, or there are no such devices.
    """
    trainer = cfg.get("trainer")
    if not isinstance(trainer, DictConfig) or not cfg.task.get("every_rank", False):
        return 1
    devices, strategy = trainer.get("devices", 1), trainer.get("strategy", "single")
    if strategy == "single":
        _check_single(devices)
        return 1
    if trainer.get("nodes", 1) > 1 and not inside():
        raise RequestError(
            f"trainer.nodes={trainer.nodes}: several machines are not started from here.\n"
            "Start the same line on each with torchrun or srun: torchrun --nnodes=... --nproc-per-node=... run.py ..."
        )
    if devices != "auto":
        return int(devices)
    if is_on_cpu(cfg):
        return 1
    gpus = len(visible_devices(os.environ))
    if gpus == 0 and trainer.accelerator == "gpu":
        raise RequestError(
            "trainer.accelerator=gpu, but no GPU is seen here.\n"
            "Type hardware=auto to take what there is, or trainer.devices=N if you know better."
        )
    return max(1, gpus)


def is_on_cpu(cfg: DictConfig) -> bool:
    return cfg.trainer.get("accelerator") == "cpu"


def is_child() -> bool:
    """True if our own parent has started this process."""
    return CHILD in os.environ


def child_folder(path: Path) -> RunFolder:
    """The run folder as a rank sees it that `supervise` has started; ends this process when the parent is gone."""
    pipe, lock = int(os.environ[CHILD]), os.environ.get(LOCK)
    threading.Thread(target=_end_with_parent, args=(pipe,), daemon=True).start()
    if lock:
        keep_from_forks(int(lock))
    return RunFolder(path, rank=int(os.environ["RANK"]), world_size=int(os.environ["WORLD_SIZE"]), is_new=False)


def supervise(run: RunFolder, world_size: int, lab: Lab, command: list[str], *, on_cpu: bool) -> Ending:
    """Starts one process per rank and waits; passes signals on; when one fails, ends the others after a while."""
    from_parent, to_children = os.pipe()
    port = free_port()
    children = []
    try:
        for rank in range(world_size):
            environment = _environment(rank, world_size, port, on_cpu) | {CHILD: str(from_parent), LOCK: str(run.lock)}
            children.append(_start(rank, run, lab, command, environment, (from_parent, run.lock)))
        os.close(from_parent)
        with _passing_signals_on(children):
            first = _wait(children)
    finally:
        for child in children:
            if child.poll() is None:
                child.kill()
        os.close(to_children)
    return _ending(children, first, run)


def _check_single(devices: object) -> None:
    if isinstance(devices, int) and devices > 1:
        raise RequestError(
            f"trainer.devices={devices}, but trainer.strategy=single is for one device.\n"
            "Type hardware=ddp (GPUs), hardware=ddp_cpu, or trainer.strategy=ddp."
        )


def _environment(rank: int, world_size: int, port: int, on_cpu: bool) -> dict[str, str]:
    """As torchrun sets it; TORCHELASTIC_RUN_ID tells Lightning that nothing is left to be started."""
    shared = os.environ.copy()
    if on_cpu and "OMP_NUM_THREADS" not in shared:
        shared["OMP_NUM_THREADS"] = str(max(1, _cores() // world_size))
    return shared | {
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "GROUP_RANK": "0",
        "WORLD_SIZE": str(world_size),
        "LOCAL_WORLD_SIZE": str(world_size),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "TORCHELASTIC_RUN_ID": f"nanolab-{os.getpid()}",
    }


def _start(
    rank: int, run: RunFolder, lab: Lab, command: list[str], environment: dict[str, str], keep: tuple[int | None, ...]
) -> subprocess.Popen[bytes]:
    """Rank 0 keeps the screen; the others write to their own log. A session of its own: Ctrl-C comes from us alone."""
    words = [sys.executable, str(lab.root / "run.py"), "--rank", str(run.path), *command]
    fds = [fd for fd in keep if fd is not None]
    if rank == 0:
        return subprocess.Popen(words, env=environment, pass_fds=fds, start_new_session=True)
    with (run.path / f"run.rank{rank}.log").open("ab") as log:
        return subprocess.Popen(words, env=environment, pass_fds=fds, start_new_session=True, stdout=log, stderr=log)


def _wait(children: list[subprocess.Popen[bytes]]) -> int | None:
    """Waits for all; returns the first rank that failed, whose exit status is the cause, or None."""
    while all(child.poll() in (None, 0) for child in children):
        if all(child.returncode == 0 for child in children):
            return None
        time.sleep(POLL_S)
    first = next(rank for rank, child in enumerate(children) if child.returncode not in (None, 0))
    saving = children[first].returncode in STOPPED  # the others stop too, and may take a while to save
    patience_s = SAVING_S if saving else GRACE_S
    for signum, grace_s in [(None, patience_s), (signal.SIGTERM, GRACE_S), (signal.SIGKILL, GRACE_S)]:
        for child in children:
            if signum is not None and child.poll() is None:
                child.send_signal(signum)
        deadline = time.monotonic() + grace_s
        while any(child.poll() is None for child in children) and time.monotonic() < deadline:
            time.sleep(POLL_S)
    return first


def _ending(children: list[subprocess.Popen[bytes]], first: int | None, run: RunFolder) -> Ending:
    if first is None:
        return explain(None)
    code = children[first].returncode
    said = children[0].returncode > 0 if code in STOPPED else first == 0 and code > 0
    if code in STOPPED:
        return Ending("interrupted", code, f"stopped by {signal.Signals(code - 128).name}", is_said=said)
    if code < 0 and -code == stopping.asked():  # before it could listen
        return Ending("interrupted", 128 - code, f"stopped by {signal.Signals(-code).name}")
    if code < 0:
        name = signal.Signals(-code).name
        guess = " (out of memory?)" if code == -signal.SIGKILL else ""
        return Ending("failed", FAILED, f"rank {first} was killed by {name}{guess}")
    return Ending("failed", code, _last_words(run, first), is_said=said)


def _last_words(run: RunFolder, rank: int) -> str:
    """The error of the rank that failed first: from the summary if it was rank 0, else from its log."""
    if rank == 0:
        return "rank 0 failed"
    try:
        lines = (run.path / f"run.rank{rank}.log").read_text(encoding="utf-8", errors="replace").strip().splitlines()
    except OSError:
        lines = []
    return f"rank {rank} failed, see run.rank{rank}.log: {lines[-1] if lines else 'no words'}"


@contextmanager
def _passing_signals_on(children: list[subprocess.Popen[bytes]]) -> Iterator[None]:
    def pass_on(signum: int, frame: FrameType | None) -> None:
        stopping.note(signum)
        for child in children:
            if child.poll() is None:
                child.send_signal(signum)

    before = [(number, signal.signal(number, pass_on)) for number in stopping.SIGNALS]
    try:
        if stopping.asked():  # while they were started
            pass_on(stopping.asked(), None)
        yield
    finally:
        for number, handler in before:
            signal.signal(number, handler)


def _end_with_parent(pipe: int) -> None:
    os.read(pipe, 1)  # returns when the parent has closed its end, that is, when it is gone
    os.kill(os.getpid(), signal.SIGTERM)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
