"""The ways a run ends badly, each with its exit status.

Plain words only: these messages are what the user reads.
"""

from collections.abc import Iterator
from contextlib import contextmanager


class RequestError(Exception):
    """The request was wrong: a bad key, a bad combination, a missing or damaged file. Exit status 2, no traceback."""


class RunError(Exception):
    """The run failed for a reason we can name: NaN loss, full disk. Exit status 1, no traceback."""


class WorkerKilled(RunError):  # noqa: N818 - says what happened, as Interrupted does
    """A process that worked for this one was killed from outside: what is done is whole, and worth keeping."""


class Interrupted(BaseException):
    """A signal asked the run to stop; what could be saved is saved. Exit status 128 + signal number.

    A BaseException, as KeyboardInterrupt is: no `except Exception` on the way may swallow it. `at_full_step` is False
    where an update may have been cut in half, so that nothing must be saved from memory.
    """

    def __init__(self, signum: int, *, at_full_step: bool = True):
        super().__init__(f"stopped by signal {signum}")
        self.signum = signum
        self.at_full_step = at_full_step


@contextmanager
def panics_told(what: str) -> Iterator[None]:
    """Raises RequestError for a panic of `what`, a library in Rust: no `Exception`, so that nothing else catches it."""
    try:
        yield
    except BaseException as error:
        if type(error).__name__ != "PanicException":
            raise
        raise RequestError(f"{what} itself fails on it ({error!s:.200}).") from None
