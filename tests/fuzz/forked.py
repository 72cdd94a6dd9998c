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
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

from asking import ask

ROOT = Path(__file__).parents[2]
HEAVY = (
    *("torch", "lightning.pytorch", "transformers", "pyarrow.parquet", "pyarrow.csv", "sentencepiece", "tiktoken"),
    *("tokenizers", "scipy.stats", "safetensors.torch", "tensorboard", "torch.utils.tensorboard", "jinja2", "peft"),
)
EXTRAS = ("fastapi", "uvicorn", "llguidance", "gguf", "rouge_score.rouge_scorer")
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
    answers: tuple[bytes, ...] = ()

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
    for name in EXTRAS:
        with suppress(ImportError):
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


@dataclass(frozen=True, kw_only=True)
class Around:
    """What a case has around it.

    Args:
        screen: a device that stands for the screen, such as /dev/full; "closed": there is none.
        shot: a signal, and after how many seconds it is sent.
        impatient: it is sent again, and again, as by somebody who does not want to wait.
        typed: what stands at the keyboard.
        environment: variables beside those of this process.
        limits: bytes of a "file", bytes of "memory" beyond what is there, open "descriptors".
        asks: requests to a server, which is then asked to stop.
    """

    program: str = "run"
    screen: str = ""
    shot: tuple[int, float] | None = None
    typed: bytes = b""
    environment: Mapping[str, str] = field(default_factory=dict)
    limits: Mapping[str, int] = field(default_factory=dict)
    asks: Sequence[bytes] = ()
    impatient: bool = False


def run(words: list[str], folder: Path, **around: Any) -> Outcome:
    """Runs `words` in `folder`. `around`: as Around takes it."""
    return run_at_once(words, folder, Around(**around), processes=1)[0]


def run_at_once(words: list[str], folder: Path, around: Around, *, processes: int) -> list[Outcome]:
    """The same in several processes that begin together."""
    names = ["", *(str(i) for i in range(2, processes + 1))]
    children = [(_start(words, folder, around, name), name) for name in names]
    return [_outcome(pid, folder, around, name) for pid, name in children]


def _start(words: list[str], folder: Path, around: Around, name: str) -> int:
    """A number of the process, in a group of its own."""
    folder.with_name("typed").write_bytes(around.typed)
    waiting = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGTERM, signal.SIGINT, signal.SIGHUP))
    pid = os.fork()
    if pid == 0:
        _become(words, folder, around, name)
    signal.pthread_sigmask(signal.SIG_SETMASK, waiting)
    return pid


def _outcome(pid: int, folder: Path, around: Around, name: str) -> Outcome:
    start = time.monotonic()
    out, said = folder.with_name(f"out{name}"), folder.with_name(f"said{name}")
    answers: list[bytes] = []
    shot = around.shot
    if around.asks:
        answers = ask(out, around.asks, lambda: _is_alive(pid))
        shot = (signal.SIGTERM, 0.0)
    shots = (
        [] if shot is None else [(shot[0], shot[1] + after) for after in ((0, 0.1, 0.4) if around.impatient else (0,))]
    )
    status, late = _wait(pid, start, shots)
    seconds = time.monotonic() - start
    left = _end_group(pid)
    texts = [path.read_text(encoding="utf-8", errors="replace") if path.is_file() else "" for path in (out, said)]
    return Outcome(status, *texts, seconds, late, left, tuple(answers))


def _is_alive(pid: int) -> bool:
    """Not ended; its status stays to be had."""
    return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None


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


def _become(words: list[str], folder: Path, around: Around, name: str) -> None:
    """The forked process, as if it had been started from a shell in `folder`; never returns."""
    code = 1
    try:
        os.setsid()
        os.chdir(folder)
        os.environ |= {"HOME": str(folder)} | dict(around.environment)
        typed, out, said = (str(folder.with_name(file)) for file in ("typed", f"out{name}", f"said{name}"))
        screen = around.screen or out
        for fd, file in ((0, typed), (1, screen), (2, said)):
            made = os.O_RDWR | os.O_CREAT | (os.O_TRUNC if fd else 0)
            os.dup2(os.open(file if file != "closed" else os.devnull, made, 0o644), fd)
        if screen == "closed":
            os.close(1)
        sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115 - for as long as there is a process
        _limit(around.limits)
        code = _main(words, around.program)
    except SystemExit as end:  # of argparse
        code = end.code if isinstance(end.code, int) else 1
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


def _limit(limits: Mapping[str, int]) -> None:
    """What each case may take, and less where a case says so."""
    memory = limits["memory"] + _data_bytes() if "memory" in limits else MEMORY
    resource.setrlimit(resource.RLIMIT_DATA, (memory, memory))
    file = limits.get("file", FILE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (file, file))
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # EFBIG instead, as Python has it
    if "descriptors" in limits:
        most = len(os.listdir("/proc/self/fd")) + limits["descriptors"]
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _data_bytes() -> int:
    """What counts against RLIMIT_DATA now."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmData"):
            return int(line.split()[1]) * 1024
    return MEMORY


def _main(words: list[str], program: str) -> int:
    import stopping

    stopping.listen()
    signal.pthread_sigmask(signal.SIG_SETMASK, ())  # what came before waits till here, as Python starts in no time
    stopping.keep_going_without_a_screen()
    sys.argv = [f"{program}.py", *words]
    if program == "crawl":
        from crawl import __main__ as crawl

        sys.modules["__main__"] = crawl  # which processes that it starts import anew
        return crawl.main(words)
    from launcher.cli import main

    sys.modules["__main__"] = ModuleType("__main__")
    sys.modules["__main__"].__file__ = str(ROOT / "run.py")
    return main(words, root=ROOT)


def _wait(pid: int, start: float, shots: list[tuple[int, float]]) -> tuple[int, bool]:
    """The status, and whether it was asked to stop because a limit had passed."""
    late, end, pause = False, math.inf, 0.002
    while True:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status), late
        passed = time.monotonic() - start
        if shots and passed >= shots[0][1]:
            os.kill(pid, shots.pop(0)[0])
        if not late and (passed > WALL_S or _processor_time(pid) > CPU_S):
            late, end = True, passed + GRACE_S
            os.kill(pid, signal.SIGTERM)
        if passed > end:
            os.kill(pid, signal.SIGKILL)
        pause = min(0.05, pause * 1.3)
        start += _slept(pause)


def _slept(seconds: float) -> float:
    """Sleeps; seconds beyond, where the machine or all these processes stood still: no fault of a case."""
    begun = time.monotonic()
    time.sleep(seconds)
    beyond = time.monotonic() - begun - seconds
    return beyond if beyond > 2.0 else 0.0


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
