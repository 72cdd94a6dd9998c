"""Run folders removed on request: only files that the manifest lists as ours, and none of a run that still goes."""

import fcntl
import os
from pathlib import Path
from typing import NamedTuple

import folders
from runs.listing import read


class Removal(NamedTuple):
    """What would go of one run. `foreign`: what stays, because we did not write it."""

    folder: Path
    files: int
    bytes: int
    foreign: list[str]
    in_use: bool


def kinds_of(folder: Path) -> tuple[folders.Kind, ...]:
    more: dict[str | None, tuple[folders.Kind, ...]] = {"crawl": ("crawl",), "pipeline": ("pipeline",)}
    return ("run", "claim", *more.get(read(folder, sizes=False).task, ()))


def plan(folder: Path) -> Removal:
    """Looks; removes nothing."""
    kinds = kinds_of(folder)
    ours = [path for name, path in folders.ours(folder, *kinds) if not name.endswith("/")]
    size = sum(path.lstat().st_size for path in ours)
    return Removal(folder, len(ours), size, folders.strangers(folder, *kinds), is_in_use(folder))


def remove(folder: Path) -> None:
    """Removes what is ours, and the folder if nothing else is in it."""
    folders.remove(folder, *kinds_of(folder))


def is_in_use(folder: Path) -> bool:
    """Whether a run holds the folder's lock."""
    lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return False
    except BlockingIOError:
        return True
    except OSError:
        return False  # some network file systems have no locks
    finally:
        os.close(lock)
