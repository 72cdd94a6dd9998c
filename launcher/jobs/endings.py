"""How a job can end: exit status, one line for summary.json, plain words for the screen."""

import errno
import os
import signal
import traceback
from dataclasses import dataclass
from pathlib import Path

from errors import Interrupted, RequestError, RunError

FINISHED, FAILED, WRONG_REQUEST = 0, 1, 2
DISK = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "your disk quota is used up",
    errno.EROFS: "the file system is read-only",
}


@dataclass(frozen=True)
class Ending:
    status: str  # finished, failed or interrupted, as in summary.json
    code: int  # exit status of the process
    words: str | None = None  # for the screen; None if there is nothing to say
    is_bug: bool = False  # the traceback belongs in run.log
    is_said: bool = False  # rank 0 has told the user already

    @property
    def error(self) -> str | None:
        """The first line, for summary.json."""
        return self.words.splitlines()[0] if self.words else None


def explain(error: BaseException | None) -> Ending:
    """What an exception that reached the top means to the user; None stands for a good end."""
    if error is None:
        return Ending("finished", FINISHED)
    match error:
        case Interrupted():
            return Ending("interrupted", 128 + error.signum, f"stopped by {signal.Signals(error.signum).name}")
        case KeyboardInterrupt():
            return Ending("interrupted", 128 + signal.SIGINT, "stopped by SIGINT")
        case RequestError():
            return Ending("failed", WRONG_REQUEST, str(error))
        case RunError():
            return Ending("failed", FAILED, str(error))
        case OSError() if error.errno in DISK:
            where = f" ({error.filename})" if error.filename else ""
            return Ending("failed", FAILED, f"{DISK[error.errno]}{where}: nothing more could be written.")
    if type(error).__name__ == "OutOfMemoryError" or isinstance(error, MemoryError):
        return Ending("failed", FAILED, _out_of_memory(error), is_bug=True)
    last = traceback.format_exception_only(error)[-1].strip()
    frames = traceback.extract_tb(error.__traceback__)
    if frames:
        last += f" ({Path(frames[-1].filename).name}, line {frames[-1].lineno})"
    return Ending("failed", FAILED, last, is_bug=True)


def wants_traceback() -> bool:
    return os.environ.get("HYDRA_FULL_ERROR", "0") not in ("", "0")


def _out_of_memory(error: BaseException) -> str:
    first = (str(error).splitlines() or [""])[0]
    return (
        f"out of memory: {first}\n"
        "Try a smaller data.batch_size with a larger trainer.accumulate (the same update), a smaller model.seq_len,\n"
        "or model.checkpoint_blocks=true (less memory, more time)."
    )
