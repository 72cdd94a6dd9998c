"""Asked to stop by SIGINT, SIGTERM or SIGHUP, from the first import to the last file; a closed screen (F20).

What a signal does depends on the moment:

    leave   nothing is begun, nothing to save: a word, and out with 128 + the signal's number
    raise   `Interrupted` wherever the program is, so that what there is can be written down
    note    it is remembered; whoever is at work asks for it (`check`), because a file or an update must not be cut

An exception in the middle of an import may come out as another one, or be swallowed by code that catches everything.
So what was asked stays known (`asked`), and it is raised again every second until it has arrived at the top.
"""

import io
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any, Literal

from errors import Interrupted

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
AGAIN_S = 1.0
Mode = Literal["leave", "raise", "note"]
_mode: Mode = "leave"
_asked = 0
_armed = False


def asked() -> int:
    """The first signal that asked this process to stop; 0: none has."""
    return _asked


def note(signum: int) -> None:
    """For handlers of others: it was asked."""
    global _asked
    _asked = _asked or int(signum)


def check() -> None:
    """Raises Interrupted if a stop was asked for."""
    if _asked:
        raise Interrupted(_asked, at_full_step=False)


def arrived() -> None:
    """Interrupted, or what it was turned into, has been caught at the top: it is not raised again."""
    global _mode
    _mode = "note"
    _disarm()


def reset() -> None:
    """For processes that outlive what was stopped in them."""
    global _asked
    _asked = 0


def listen() -> None:
    """From here on signals are heard. Called once in a process, before it imports anything that takes time."""
    _install()


@contextmanager
def noting() -> Iterator[None]:
    """Signals are remembered; leaving says nothing of them."""
    with _handling("note"):
        yield


@contextmanager
def raising() -> Iterator[None]:
    """Signals raise Interrupted; so does one that was noted before."""
    with _handling("raise"):
        check()
        yield


@contextmanager
def _handling(mode: Mode) -> Iterator[None]:
    global _mode
    before, handlers = _mode, _install()
    _mode = mode
    try:
        yield
    finally:
        _mode = before
        _disarm()
        for number, handler in handlers.items():
            signal.signal(number, handler)


def _install() -> dict[int, Any]:
    """Our handlers, but for a SIGHUP that nohup has switched off; returns those before."""
    wanted = [n for n in SIGNALS if n != signal.SIGHUP or signal.getsignal(n) != signal.SIG_IGN]
    return {number: signal.signal(number, _handle) for number in wanted}


def _handle(signum: int, frame: FrameType | None) -> None:
    note(signum)
    if _mode == "leave":
        with suppress(OSError):
            os.write(2, f"\nstopped by {signal.Signals(signum).name}\n".encode())
        os._exit(128 + signum)
    if _mode == "raise":
        _arm()
        raise Interrupted(signum, at_full_step=False)


def _arm() -> None:
    global _armed
    _armed = True
    signal.signal(signal.SIGALRM, _again)
    signal.setitimer(signal.ITIMER_REAL, AGAIN_S)


def _disarm() -> None:
    """Leaves a timer of others alone."""
    global _armed
    if _armed:
        signal.setitimer(signal.ITIMER_REAL, 0)
    _armed = False


def _again(signum: int, frame: FrameType | None) -> None:
    if _mode == "raise" and _asked:
        _handle(_asked, frame)


@contextmanager
def blocked() -> Iterator[None]:
    """Processes that are started here never see these signals: they end with their parent, which does."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def time_limit(seconds: float, error: Exception, *, clock: Literal["wall", "work"]) -> Iterator[None]:
    """Raises `error` inside, in the midst of a match of `re` too, after so many seconds: on the clock, or of work
    of the processor, for which a busy machine is no reason.

    In the main thread, to which signals come, and where the system has such clocks; elsewhere nothing is bounded.
    """
    if not hasattr(signal, "setitimer") or threading.current_thread() is not threading.main_thread():
        yield
        return
    number, timer = {
        "wall": (signal.SIGALRM, signal.ITIMER_REAL),
        "work": (signal.SIGVTALRM, signal.ITIMER_VIRTUAL),
    }[clock]

    def end(signum: int, frame: FrameType | None) -> None:
        raise error

    before = signal.signal(number, end)
    signal.setitimer(timer, seconds)
    try:
        yield
    finally:
        signal.setitimer(timer, 0)
        signal.signal(number, before)


# ---- the screen ------------------------------------------------------------------------------------------------------


class _Patient(io.FileIO):
    """A screen that may go away: what is written then is lost, the run is not."""

    def write(self, data: object) -> int:
        try:
            return super().write(data)  # type: ignore[arg-type]
        except BlockingIOError:
            raise
        except OSError as error:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self.fileno())
            os.close(nowhere)
            if not isinstance(error, BrokenPipeError) and self.fileno() == 1:
                print(f"the screen cannot be written ({error.strerror}): going on without it", file=sys.stderr)
            return memoryview(data).nbytes  # type: ignore[arg-type]


def keep_going_without_a_screen() -> None:
    """`| head -1`, a full disk behind `>`, a closed terminal: no reason to lose a run."""
    for fd in (0, 1, 2):
        try:
            os.fstat(fd)
        except OSError:  # closed: a file of ours must not get this number, and with it what is printed
            os.open(os.devnull, os.O_RDWR)
    sys.stdout, sys.stderr = _patient(sys.stdout, 1), _patient(sys.stderr, 2)


def _patient(stream: object, fd: int) -> io.TextIOWrapper:
    encoding, errors = getattr(stream, "encoding", "utf-8"), getattr(stream, "errors", "strict")
    errors = "backslashreplace" if errors == "strict" else errors  # a name or a text that it has no characters for
    raw = _Patient(fd, "w", closefd=False)
    by_line = fd == 2 or raw.isatty()
    return io.TextIOWrapper(io.BufferedWriter(raw), encoding, errors, line_buffering=by_line, write_through=fd == 2)
