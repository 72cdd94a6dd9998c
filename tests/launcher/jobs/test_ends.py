"""F20, F29: how a run ends when its screen goes away, its memory is used up, or it is asked to stop."""

import errno
import json
import logging
import os
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path

import pytest

import stopping
from errors import Interrupted, RequestError, RunError, WorkerKilled
from launcher.jobs import threads
from launcher.jobs.endings import explain
from launcher.jobs.run_log import RunLog, SaidOnce
from tests.launcher.conftest import clean_environment


def in_a_shell(line: str, toy_root: Path, folder: Path) -> subprocess.CompletedProcess[str]:
    line = f"set -o pipefail; {line}".replace("RUN", f"{sys.executable} {toy_root / 'run.py'}")
    environment = clean_environment()
    return subprocess.run(["bash", "-c", line], cwd=folder, env=environment, capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize(
    "line",
    [
        "RUN -m seed=1,2,3 run_dir=s | head -c 1",
        "RUN -m seed=1,2,3 run_dir=s | true",
        "RUN -m seed=1,2,3 run_dir=s >&-",
        "RUN -m seed=1,2,3 run_dir=s >&- 2>&- <&-",
        "RUN -m seed=1,2,3 run_dir=s 2>&1 | true",
        pytest.param(
            "RUN -m seed=1,2,3 run_dir=s > /dev/full",
            marks=pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full here"),
        ),
    ],
)
def test_F20_F29_a_screen_that_goes_away_costs_no_run(line: str, toy_root: Path, tmp_path: Path) -> None:
    done = in_a_shell(line, toy_root, tmp_path)
    assert done.returncode == 0, done.stderr
    assert "disk is full" not in done.stderr
    assert "Traceback" not in done.stderr
    found = [json.loads(file.read_text())["status"] for file in tmp_path.glob("s/*/summary.json")]
    assert found == ["finished"] * 3


def test_F20_nohup_keeps_a_run_alive(toy_root: Path, tmp_path: Path) -> None:
    line = "trap '' HUP; RUN run_dir=r data.action=wait & sleep 1.2; kill -HUP $!; wait $!"
    done = in_a_shell(line, toy_root, tmp_path)
    assert done.returncode == 0, done.stderr


@pytest.fixture
def asked_to_stop():
    stopping.note(signal.SIGTERM)
    yield
    stopping.reset()


def test_F20_what_an_import_made_of_a_signal_is_still_a_stop(asked_to_stop: None) -> None:
    for error in (ImportError("numpy._core failed"), SystemError("half an import"), WorkerKilled("gone")):
        assert (explain(error).status, explain(error).code) == ("interrupted", 143)
    assert explain(RequestError("no such file")).code == 2
    assert explain(RunError("could not write last.ckpt")).code == 1
    assert explain(OSError(28, "No space left on device")).code == 1


def test_F20_a_signal_that_was_swallowed_comes_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stopping, "AGAIN_S", 0.05)

    def deaf() -> None:
        with stopping.raising():
            with suppress(BaseException):  # as code does that catches everything
                os.kill(os.getpid(), signal.SIGTERM)
                signal.pause()
            signal.pause()

    try:
        with pytest.raises(Interrupted):
            deaf()
    finally:
        stopping.arrived()
        stopping.reset()


def test_F29_limits_of_the_system_are_said_plainly() -> None:
    def of(number: int) -> OSError:
        return OSError(number, os.strerror(number), "x")

    in_a_worker = "Caught OSError in DataLoader worker process 0.\n[Errno 24] Too many open files: 'x'"
    for error, words in (
        (of(errno.EMFILE), "too many files are open"),
        (RuntimeError(in_a_worker), "too many files are open"),
        (of(errno.EAGAIN), "no further process"),
        (of(errno.EFBIG), "larger than ulimit -f"),
        (RuntimeError("Error while serializing: I/O error: File too large (os error 27)"), "larger than ulimit -f"),
        (OSError("4480 requested and 3784 written"), "the disk is full, or a file has met ulimit -f"),
        (of(errno.EACCES), "x: you have no permission"),
        (of(errno.EPERM), "x: you have no permission"),
    ):
        ending = explain(error)
        assert (ending.code, ending.is_bug) == (1, False)
        assert words in (ending.words or "")


def test_F29_a_thread_that_meets_a_full_disk_is_a_line(
    caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    def write() -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "events.out")

    before = threading.excepthook
    with threads.told():
        thread = threading.Thread(target=write)
        thread.start()
        thread.join()
    assert "the disk is full (events.out)" in caplog.text
    assert "Traceback" not in capsys.readouterr().err
    assert threading.excepthook is before


def test_F23_what_stands_where_a_file_belongs_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "loop").symlink_to("loop")
    for name, words in (
        (".", "is a folder, where a file was expected"),
        ("file/x", "lies below a file"),
        ("loop", "is a link that leads to itself"),
        ("x" * 300, "is a longer name"),
    ):
        with pytest.raises(OSError) as raised:  # noqa: PT011 - four kinds
            (tmp_path / name).read_bytes()
        ending = explain(raised.value)
        assert (ending.code, ending.is_bug) == (2, False)
        assert words in (ending.words or "")


def test_F23_a_home_that_nobody_has_is_a_wrong_request() -> None:
    with pytest.raises(RuntimeError) as raised:
        Path("~nobody-of-this-name/x").expanduser()
    ending = explain(raised.value)
    assert (ending.code, ending.is_bug) == (2, False)
    assert "begins with ~" in (ending.words or "")


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (
            RuntimeError(
                "[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory: you tried "
                "to allocate 40000000000 bytes. Error code 12 (Cannot allocate memory)"
            ),
            "out of memory: 40.00 GB more were asked for",
        ),
        (RuntimeError("std::bad_alloc"), "out of memory: this machine has no more to give"),
        (RuntimeError("could not create a primitive"), "out of memory: this machine has no more to give"),
        (MemoryError(), "out of memory: this machine has no more to give"),
        (OSError(12, "Cannot allocate memory"), "out of memory:"),
    ],
)
def test_F29_memory_that_is_used_up_is_said_plainly(error: BaseException, words: str) -> None:
    said = explain(error).words
    assert said is not None
    assert said.startswith(words)
    assert "cpp" not in said


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full here")
def test_F29_a_log_on_a_full_disk_is_one_line_on_the_screen(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "run.log").symlink_to("/dev/full")
    for file in (tmp_path / "run.log", tmp_path / "no folder/run.log"):
        handler = RunLog(file)
        for _ in range(3):
            handler.handle(logging.LogRecord("test", logging.INFO, "", 1, "a line", (), None))
        handler.close()
        said = capsys.readouterr().err
        assert said.count("\n") == 1, said
        assert "going on without it" in said


def test_what_is_said_of_data_at_each_walk_is_said_once() -> None:
    once, another = SaidOnce(), SaidOnce()

    def passes(name: str, text: str) -> bool:
        return once.filter(logging.LogRecord(name, logging.WARNING, "", 1, "%s", (text,), None))

    assert [passes("datamodules.reading.tables", text) for text in ("a", "a", "b", "a")] == [True, False, True, False]
    assert [passes("callbacks.validation", "a") for _ in range(2)] == [True, True]
    assert another.filter(logging.LogRecord("datamodules.reading.tables", logging.WARNING, "", 1, "a", (), None))


def test_F29_what_a_screen_has_no_characters_for_ends_nothing() -> None:
    """A file name that is not UTF-8, or any letter where PYTHONIOENCODING=ascii."""
    reading, writing = os.pipe()
    for encoding, shown in (("ascii", rb"caf\xe9 \udcff"), ("utf-8", "café ".encode() + rb"\udcff")):
        with open(os.devnull, "w", encoding=encoding, errors="strict") as asked:
            screen = stopping._patient(asked, writing)
        print("café \udcff", end="", file=screen, flush=True)
        assert os.read(reading, 100) == shown
    os.close(reading)
    os.close(writing)
