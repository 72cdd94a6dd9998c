"""How a job can end: exit status, one line for summary.json, plain words for the screen."""

import errno
import os
import re
import signal
import traceback
from dataclasses import dataclass
from pathlib import Path

import stopping
from errors import Interrupted, RequestError, RunError, WorkerKilled

FINISHED, FAILED, WRONG_REQUEST = 0, 1, 2
TORCH_ON_A_CPU = ("DefaultCPUAllocator", "bad_alloc", "Cannot allocate memory")
# all that oneDNN says where the system gives no more; with `descriptor` behind it, it is another fault
ONEDNN = ("could not create a primitive", "could not execute a primitive", "could not create a memory")
DISK = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "your disk quota is used up",
    errno.EROFS: "the file system is read-only",
    errno.EFBIG: "a file would be larger than ulimit -f or the file system allows",
}
LIMITS = {
    errno.EMFILE: "too many files are open: ulimit -n allows no more. Type ulimit -n 4096 first, or data.workers=0.",
    errno.ENFILE: "too many files are open on this machine.",
    errno.EAGAIN: "no further process or thread could be started: ulimit -u allows no more. Try data.workers=0.",
}
SHORT_WRITE = re.compile(r"\d+ requested and \d+ written")  # of numpy's tofile, which keeps no reason
NO_FILE = {
    errno.EISDIR: "is a folder, where a file was expected",
    errno.ENOTDIR: "lies below a file, where a folder was expected",
    errno.ELOOP: "is a link that leads to itself",
    errno.ENAMETOOLONG: "is a longer name than a file may have",
}
NO_HOME = (
    "A path begins with ~, and that user has no home folder here.\n"
    "Type the whole path, or ./~NAME for what is called so."
)


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
        case _ if stopping.asked() and not isinstance(error, RequestError | RunError) and not _is_disk(error):
            return explain(Interrupted(stopping.asked()))  # what an import or a library made of it
        case WorkerKilled() if stopping.asked():
            return explain(Interrupted(stopping.asked()))
        case RequestError():
            return Ending("failed", WRONG_REQUEST, str(error))
        case RuntimeError() if "home directory" in str(error):  # pathlib's, of any path that begins with ~
            return Ending("failed", WRONG_REQUEST, NO_HOME)
        case RunError():
            return Ending("failed", FAILED, str(error))
        case OSError() if error.errno in DISK:
            where = f" ({error.filename})" if error.filename else ""
            return Ending("failed", FAILED, f"{DISK[error.errno]}{where}: nothing more could be written.")
        case OSError(errno=errno.EIO):
            where = error.filename or "a file"
            return Ending(
                "failed", FAILED, f"{where} cannot be read or written (input/output error): is its disk well?"
            )
        case OSError() | RuntimeError() if (number := _limit_met(error)) is not None:
            return Ending("failed", FAILED, LIMITS[number])
        case OSError(filename=str() | bytes()) if error.errno in NO_FILE:
            return Ending("failed", WRONG_REQUEST, f"{os.fsdecode(error.filename)} {NO_FILE[error.errno]}.")
        case PermissionError(filename=str() | bytes()):
            return Ending(
                "failed", FAILED, f"{os.fsdecode(error.filename)}: you have no permission to read or write it."
            )
        case _ if (number := _disk_in_words(error)) is not None:
            return Ending("failed", FAILED, f"{DISK[number]}: nothing more could be written.")
        case OSError() if SHORT_WRITE.fullmatch(str(error)):
            return Ending(
                "failed", FAILED, "the disk is full, or a file has met ulimit -f: nothing more could be written."
            )
    if is_out_of_memory(error):
        return Ending("failed", FAILED, _out_of_memory(error), is_bug=True)
    last = traceback.format_exception_only(error)[-1].strip()
    frames = traceback.extract_tb(error.__traceback__)
    if frames:
        last += f" ({Path(frames[-1].filename).name}, line {frames[-1].lineno})"
    return Ending("failed", FAILED, last, is_bug=True)


def _limit_met(error: OSError | RuntimeError) -> int | None:
    """Which of LIMITS; a process that loads batches hands on only the words of its error."""
    number = getattr(error, "errno", None)
    return number if number in LIMITS else next((n for n in LIMITS if os.strerror(n) in str(error)), None)


def _disk_in_words(error: BaseException) -> int | None:
    """Which of DISK; a library in another language has lost the number."""
    return next((n for n in DISK if os.strerror(n) in str(error)), None)


def wants_traceback() -> bool:
    return os.environ.get("HYDRA_FULL_ERROR", "0") not in ("", "0")


def _is_disk(error: BaseException) -> bool:
    return isinstance(error, OSError) and error.errno in DISK


def is_out_of_memory(error: BaseException) -> bool:
    """Of a GPU, of Python, of numpy, of torch on a CPU (a RuntimeError in C++'s words), or of the system."""
    return (
        type(error).__name__ == "OutOfMemoryError"
        or isinstance(error, MemoryError)
        or (isinstance(error, OSError) and error.errno == errno.ENOMEM)
        or (isinstance(error, RuntimeError) and any(words in str(error) for words in TORCH_ON_A_CPU))
        or (isinstance(error, RuntimeError) and str(error) in ONEDNN)
    )


def _wanted(error: BaseException) -> str:
    """How much was asked for, where the error says so, in plain words."""
    first = (str(error).splitlines() or [""])[0]
    asked = re.search(r"allocate (\d+) bytes", first)
    if asked:
        return f"{int(asked[1]) / 1e9:.2f} GB more were asked for than this machine has left"
    return "this machine has no more to give" if "bad_alloc" in first or not first or first in ONEDNN else first


def _out_of_memory(error: BaseException) -> str:
    return (
        f"out of memory: {_wanted(error)}\n"
        "Try a smaller data.batch_size with a larger trainer.accumulate (the same update), a smaller model.seq_len,\n"
        "or model.checkpoint_blocks=true (less memory, more time)."
    )
