"""What ends a crawl from outside, in words: a disk that is full, a ledger that cannot be written."""

import errno
import sqlite3
from pathlib import Path

from errors import RequestError, RunError

AGAIN = "What is stored so far is whole; the same command goes on from there."


def is_of_the_disk(error: Exception) -> bool:
    """SQLite keeps no number of the system's: "database or disk is full", "disk I/O error"."""
    return isinstance(error, sqlite3.Error) and "disk" in str(error)


def in_words(error: Exception, folder: Path) -> Exception:
    """The same, as it is to be read."""
    if isinstance(error, RequestError | RunError):
        return error
    if is_of_the_disk(error):
        reason = "the disk is full" if "full" in str(error) else f"the disk is full, or not well ({error})"
        return RunError(f"{folder / 'crawl.sqlite'} cannot be written: {reason}. {AGAIN}")
    if isinstance(error, OSError):
        reason = "the disk is full" if error.errno == errno.ENOSPC else (error.strerror or str(error)).lower()
        return RunError(f"{error.filename or folder} cannot be read or written: {reason}. {AGAIN}")
    return RunError(f"The crawl cannot go on: {error!r}")
