"""A folder that is whole or not there, though writing it takes hours: written beside its place, then renamed.

Of several processes (ranks of a run, jobs of a sweep) that need the same folder one writes it, the others wait for it.
What a killed process had finished stays for the next one, for a week.
"""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import folders
from errors import RequestError, RunError

log = logging.getLogger(__name__)
STALE_S = 7 * 24 * 3600
KEY = "key"  # a file in a part: what the files beside it are made from
IN_THE_MAKING: folders.Kind = "token files in the making"


@contextmanager
def locked(part: Path) -> Iterator[bool]:
    """`part`, made and locked; False if the process that had the lock has moved it to its place, or away."""
    part.mkdir(parents=True, exist_ok=True)
    try:
        lock = os.open(part, os.O_RDONLY)
    except FileNotFoundError:  # moved in this very moment
        yield False
        return
    try:
        take(lock, part)
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(lock), part.stat()):
                yield True
                return
        yield False
    finally:
        os.close(lock)


def take(lock: int, part: Path) -> None:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        log.warning("another process is preparing this data in %s: waiting for it", part)
        fcntl.flock(lock, fcntl.LOCK_EX)
    except OSError as error:  # some network file systems have no locks
        log.warning("%s cannot be locked (%s): start only one process that prepares this data", part, error.strerror)


def part_of(folder: Path) -> Path:
    """Where `folder` is written before it is whole."""
    return folder.parent / f".{folder.name}.part"


def begin(part: Path, key: str, name: str) -> None:
    """Empty `part`, which is locked, unless what lies in it was made for `key`: of two texts none may be mixed.

    Raises RequestError if it holds anything that is not ours; `name` is the config key that led there.
    """
    note = part / KEY
    with suppress(OSError):
        if note.read_text(encoding="utf-8") == key:
            return
    folders.refuse_strangers(part, IN_THE_MAKING, key=name, why="token files are to be made there")
    folders.remove(part, IN_THE_MAKING, itself=False)  # it is the lock
    fresh = part / f"{KEY}.new"
    fresh.write_text(key, encoding="utf-8")
    fresh.replace(note)


def refuse_to_replace(folder: Path, name: str) -> None:
    """Raises RequestError if anything but token files is in `folder`, which the config key `name` led to."""
    if folder.exists():
        folders.refuse_strangers(folder, "token files", key=name, why="the token files there are to be written anew")


def move_into_place(part: Path, folder: Path, name: str) -> None:
    """Rename `part` to `folder`, whose token files give way: the caller has looked at them and wants them anew.

    Raises RequestError if something else has come there meanwhile.
    """
    os.chmod(part, 0o755)
    refuse_to_replace(folder, name)
    if folder.exists():
        folders.remove(folder, "token files", itself=False)
    part.rename(folder)


def remove_stale(cache_dir: Path) -> None:
    """Folders that a killed process began long ago."""
    for left in cache_dir.glob(".*.part"):
        with suppress(OSError):
            age_s = time.time() - max(p.stat().st_mtime for p in [left, *left.iterdir()])
            if age_s > STALE_S and not folders.strangers(left, IN_THE_MAKING):
                folders.remove(left, IN_THE_MAKING)


def disk_error(error: OSError, folder: Path, key: str) -> Exception:
    """What the user reads when `folder`, which the config key `key` names, cannot be written."""
    what = f"Preparing token files in {folder} failed: {error}."
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        free = shutil.disk_usage(next(p for p in (folder, *folder.parents) if p.is_dir())).free
        return RunError(f"{what} {free:,} bytes are free.\nMake room, or type {key}=<a folder on a larger disk>.")
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST):
        return RequestError(f"{what}\nType {key}=<a folder that you may write>.")
    return RunError(what)
