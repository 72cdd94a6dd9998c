"""Threads of libraries that end by an error of the system: a line, no traceback."""

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from launcher.jobs.endings import explain

log = logging.getLogger("launcher")


@contextmanager
def told() -> Iterator[None]:
    """TensorBoard's writer meets a full disk in a thread of its own, and raises it again where it is asked next."""
    before = threading.excepthook

    def tell(found: threading.ExceptHookArgs) -> None:
        if isinstance(found.exc_value, OSError) and not explain(found.exc_value).is_bug:
            log.warning("%s", explain(found.exc_value).words)
        else:
            before(found)

    threading.excepthook = tell
    try:
        yield
    finally:
        threading.excepthook = before
