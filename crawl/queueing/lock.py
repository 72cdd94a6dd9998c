"""One crawler to a folder. The kernel lets go of the lock when the process ends, however it ends.

An open SQLite transaction is not enough: between a commit and the next BEGIN another process can slip in.
"""

import fcntl
from pathlib import Path
from typing import IO

from errors import RequestError


def hold(folder: Path) -> IO[bytes]:
    """The folder's lock, held until it is closed. Raises RequestError when another process holds it."""
    file = (folder / "crawl.lock").open("ab")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        raise RequestError(f"Another crawler is at work in {folder}. Wait for it, or name another folder.") from None
    return file
