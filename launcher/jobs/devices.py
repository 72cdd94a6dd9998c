"""Sweep jobs side by side on one machine share out its GPUs: each sees its own, none starts beyond them (N6).

A slot is as many GPUs as a job asks for; a lock file in the sweep's folder stands for it. The operating system gives
the lock back when a process ends, however it ends. A worker process that has used CUDA stays with the GPU it has seen
first, since CUDA does not look at the environment again: it waits for that slot alone.
"""

import fcntl
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

POLL_S = 0.2
_mine: dict[Path, int] = {}  # the slot this process had before, by folder


@contextmanager
def slot(folder: Path, *, per_job: int) -> Iterator[None]:
    """Holds `per_job` GPUs for the length of a job, by CUDA_VISIBLE_DEVICES; nothing to share, nothing done."""
    names = visible_devices(os.environ)
    if len(names) < 2 or per_job < 1:
        yield
        return
    groups = [names[start : start + per_job] for start in range(0, len(names) - per_job + 1, per_job)]
    locks = folder / ".devices"
    locks.mkdir(exist_ok=True)
    number, handle = _acquire(locks, len(groups), _mine.get(folder))
    _mine[folder] = number
    before = os.environ.get("CUDA_VISIBLE_DEVICES")
    os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(groups[number])
    try:
        yield
    finally:
        os.close(handle)
        if before is None:
            del os.environ["CUDA_VISIBLE_DEVICES"]
        else:
            os.environ["CUDA_VISIBLE_DEVICES"] = before


def visible_devices(environment: Mapping[str, str]) -> list[str]:
    """Names of NVIDIA's GPUs as CUDA would see them, without loading torch or asking CUDA (that would fix them)."""
    if (chosen := environment.get("CUDA_VISIBLE_DEVICES")) is not None:
        return [name.strip() for name in chosen.split(",") if name.strip() not in ("", "-1")]
    cards = Path("/proc/driver/nvidia/gpus")
    return [str(i) for i in range(len(list(cards.iterdir())))] if cards.is_dir() else []


def _acquire(locks: Path, count: int, own: int | None) -> tuple[int, int]:
    """(number, open file) of a slot that nobody else holds; waits for one."""
    wanted = range(count) if own is None else [own]
    while True:
        for number in wanted:
            handle = os.open(locks / f"{number}.lock", os.O_CREAT | os.O_RDWR)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return number, handle
            except BlockingIOError:
                os.close(handle)
        time.sleep(POLL_S)
