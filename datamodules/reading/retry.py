"""A lost connection is waited for: again after 1, 2, 4, ... seconds."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterator
from typing import TypeVar

from errors import RunError

log = logging.getLogger(__name__)
NETWORK = ("aiohttp", "httpcore", "httpx", "requests", "urllib3", "fsspec")
TRIES = 8  # the last wait is two minutes
Result = TypeVar("Result")


def is_transient(error: BaseException) -> bool:
    """Whether the same might work in a moment: the connection, a busy server; not a missing file, not no permission."""
    status = getattr(getattr(error, "response", None), "status_code", None)
    if status is not None:
        return status == 429 or status >= 500
    if os.environ.get("HF_HUB_OFFLINE", "0").upper() in ("1", "ON", "YES", "TRUE"):
        return False
    return isinstance(error, ConnectionError | TimeoutError) or type(error).__module__.split(".")[0] in NETWORK


def pause(error: BaseException, failures: int, tries: int, what: str) -> None:
    """Wait before try number `failures` + 1. Raises RunError when there have been enough."""
    if failures >= tries:
        raise RunError(f"{what} failed {failures} times, the last time with: {error}") from error
    wait = 2 ** (failures - 1)
    log.warning("%s failed (%s): again in %d s", what, error, wait)
    time.sleep(wait)


def with_retries(call: Callable[[], Result], what: str, tries: int = TRIES) -> Result:
    failures = 0
    while True:
        try:
            return call()
        except Exception as error:
            if not is_transient(error):
                raise
            failures += 1
            pause(error, failures, tries, what)


def resuming(open_at: Callable[[int], Iterator[Result]], skip: int, what: str, tries: int = TRIES) -> Iterator[Result]:
    """The items of `open_at(skip)`; after a lost connection opened again behind the last item that came."""
    failures = 0
    while True:
        try:
            for item in open_at(skip):
                yield item
                skip += 1
                failures = 0
            return
        except Exception as error:
            if not is_transient(error):
                raise
            failures += 1
            pause(error, failures, tries, what)
