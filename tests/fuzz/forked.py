"""One command line in a process forked off this one, which has imported all that is heavy: a case costs what it does,
not the seconds of its imports.
"""

import atexit
import gc
import importlib
import math
import os
import resource
import shutil
import signal
import sys
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
HEAVY = (
    *("torch", "lightning.pytorch", "transformers", "pyarrow.parquet", "pyarrow.csv", "sentencepiece", "tiktoken"),
    *("tokenizers", "scipy.stats", "safetensors.torch", "tensorboard", "torch.utils.tensorboard", "jinja2", "peft"),
)
ROOMS = (
    *("launcher", "tokenization", "datamodules", "models", "optimization", "lightning_modules", "rewards"),
    *("callbacks", "loggers", "evaluation", "reports", "inspection", "tasks"),
)
MEMORY = 3 * 2**30  # of one case; beyond it "out of memory" is the promised end
FILE = 200 * 2**20
CPU_S, WALL_S = 30.0, 150.0  # a case that takes more of either has no end; a busy machine is no fault of its
GRACE_S = 30.0  # from being asked to stop to having stopped
NOWHERE = "http://127.0.0.1:9"  # a door that nobody opens: no case asks the network for anything


@dataclass(frozen=True)
class Outcome:
    """How a case ended. `status` is an exit status, or minus a signal; `late`: it had to be asked to stop."""

    status: int
    out: str
    said: str
    seconds: float
    late: bool = False
    left_behind: bool = False

    @property
    def text(self) -> str:
        return self.out + self.said


def import_everything() -> None:
    """Not scrapy: Twisted's reactor lives once in a process."""
    os.environ |= {
        **dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1"),
        **dict.fromkeys(("http_proxy", "https_proxy", "HF_ENDPOINT"), NOWHERE),
        **{"TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"},
    }
    for name in HEAVY:
        importlib.import_module(name)
    for room in ROOMS:
        for file in sorted((ROOT / room).rglob("*.py")):
            if not file.name.startswith("__"):
                with suppress(ImportError):  # of a package that is not installed
                    importlib.import_module(".".join(file.relative_to(ROOT).with_suffix("").parts))
    import torch

    torch.set_num_threads(1)
    gc.collect()
    gc.freeze()


def run(
    words: list[str],
    folder: Path,
    *,
    program: str = "run",
    screen: str = "",
    shot: tuple[int, float] | None = None,
) -> Outcome:
    """Runs `words` in `folder`.

    Args:
        screen: a device that stands for the screen, such as /dev/full; "closed": there is none.
        shot: a signal, and after how many seconds it is sent.
    """
    out, said = folder.with_name("out"), folder.with_name("said")
    start = time.monotonic()
    waiting = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGTERM, signal.SIGINT, signal.SIGHUP))
    pid = os.fork()
    if pid == 0:
        _become(words, folder, program, screen or str(out), str(said))
    signal.pthread_sigmask(signal.SIG_SETMASK, waiting)
    status, late = _wait(pid, start, shot)
    seconds = time.monotonic() - start
    left = _end_group(pid)
    texts = [path.read_text(encoding="utf-8", errors="replace") if path.is_file() else "" for path in (out, said)]
    return Outcome(status, *texts, seconds, late, left)


def in_child(work: Callable[[], None]) -> None:
    """Does `work` in a forked process, so that its threads and modules stay out of this one."""
    pid = os.fork()
    if pid == 0:
        try:
            work()
            os._exit(0)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
    if os.waitpid(pid, 0)[1]:
        sys.exit("what the cases start from could not be made")


def _become(words: list[str], folder: Path, program: str, out: str, said: str) -> None:
    """The forked process, as if it had been started from a shell in `folder`; never returns."""
    code = 1
    try:
        os.setsid()
        os.chdir(folder)
        os.environ["HOME"] = str(folder)
        resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))
        resource.setrlimit(resource.RLIMIT_FSIZE, (FILE, FILE))
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # EFBIG instead
        for fd, name in ((0, os.devnull), (1, out), (2, said)):
            os.dup2(os.open(name if name != "closed" else os.devnull, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o644), fd)
        if out == "closed":
            os.close(1)
        code = _main(words, program)
    except BaseException:
        traceback.print_exc()
    try:
        sys.stdout.flush()
        atexit._run_exitfuncs()
    except BaseException:
        traceback.print_exc()
        code = 1
    sys.stderr.flush()
    os._exit(code)


def _main(words: list[str], program: str) -> int:
    import stopping

    stopping.listen()
    signal.pthread_sigmask(signal.SIG_SETMASK, ())  # what came before waits till here, as Python starts in no time
    stopping.keep_going_without_a_screen()
    sys.argv = [f"{program}.py", *words]
    if program == "crawl":
        from crawl.__main__ import main as crawl

        return crawl(words)
    from launcher.cli import main

    return main(words, root=ROOT)


def _wait(pid: int, start: float, shot: tuple[int, float] | None) -> tuple[int, bool]:
    """The status, and whether it was asked to stop because a limit had passed."""
    late, end, pause = False, math.inf, 0.002
    while True:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status), late
        passed = time.monotonic() - start
        if shot is not None and passed >= shot[1]:
            os.kill(pid, shot[0])
            shot = None
        if not late and (passed > WALL_S or _processor_time(pid) > CPU_S):
            late, end = True, passed + GRACE_S
            os.kill(pid, signal.SIGTERM)
        if passed > end:
            os.kill(pid, signal.SIGKILL)
        pause = min(0.05, pause * 1.3)
        time.sleep(pause)


def _processor_time(pid: int) -> float:
    """Seconds so far; 0 on systems that do not say."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    except OSError:
        return 0.0


def _end_group(pid: int) -> bool:
    """Ends what is left of the case's processes; True if there were any after two seconds."""
    for _ in range(40):
        try:
            os.killpg(pid, 0)
        except ProcessLookupError:
            return False
        time.sleep(0.05)
    with suppress(ProcessLookupError):  # just now
        os.killpg(pid, signal.SIGKILL)
        return True
    return False


def clear(folder: Path) -> None:
    """Removes a folder, whatever a case has put into it."""
    shutil.rmtree(folder, ignore_errors=True)
