"""Whole jobs on the toy lab: how they end, what they leave, several of them, several ranks."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Run = Callable[..., subprocess.CompletedProcess[str]]

SUMMARY = {
    *("status", "error", "task", "model", "objective", "data", "tokenizer", "step", "tokens_seen", "wall_seconds"),
    *("tokens_per_second", "parameters", "peak_memory_bytes", "metrics", "best", "seed", "overrides", "command"),
    *("git_commit", "git_dirty", "versions", "data_fingerprint", "tokenizer_fingerprint"),
}


def summary_of(folder: Path) -> dict[str, Any]:
    return dict(json.loads((folder / "summary.json").read_text()))


def the_run(cwd: Path) -> Path:
    (config,) = (cwd / "outputs").glob("*/*/.hydra/config.yaml")
    return config.parents[1]


def test_a_good_run(run: Run, tmp_path: Path) -> None:
    done = run("model.width=9", "callbacks.speak.words=a, b")
    assert (done.returncode, done.stderr) == (0, "")
    folder = the_run(tmp_path / "cwd")
    assert folder.name.endswith("-small-lm")
    summary = summary_of(folder)
    assert summary.keys() >= SUMMARY
    assert (summary["status"], summary["error"], summary["step"]) == ("finished", None, 3)
    assert (summary["model"], summary["task"], summary["seed"]) == ("small", "fit", 1)
    assert summary["overrides"] == ["model.width=9", "callbacks.speak.words=a, b"]
    assert summary["command"] == "python run.py model.width=9 'callbacks.speak.words=a, b'"
    assert 1e6 < summary["peak_memory_bytes"] < 1e9
    assert "at work" in (folder / "run.log").read_text()
    assert {file.name for file in (folder / ".hydra").iterdir()} == {"config.yaml", "hydra.yaml", "overrides.yaml"}
    assert "width: 9" in (folder / ".hydra/config.yaml").read_text()


@pytest.mark.parametrize(
    ("action", "code", "status", "words"),
    [
        ("run_error", 1, "failed", "loss is NaN"),
        ("crash", 1, "failed", "ValueError: boom"),
        ("disk", 1, "failed", "the disk is full"),
        ("stopped", 143, "interrupted", "stopped by SIGTERM"),
    ],
)
def test_bad_ends(action: str, code: int, status: str, words: str, run: Run, tmp_path: Path) -> None:
    done = run(f"data.action={action}")
    assert done.returncode == code
    assert words in done.stderr
    assert "Traceback" not in done.stderr
    folder = the_run(tmp_path / "cwd")
    summary = summary_of(folder)
    assert (summary["status"], summary["exit_status"]) == (status, code)
    assert words in summary["error"]
    assert summary["metrics"] == {"val/loss": 1.0}, "what was measured until then is kept"
    assert ("Traceback" in (folder / "run.log").read_text()) == (action == "crash")


def test_the_traceback_on_demand(run: Run) -> None:
    assert "Traceback" in run("data.action=crash", HYDRA_FULL_ERROR="1").stderr
    assert "Traceback" in run("modle=x", HYDRA_FULL_ERROR="1").stderr


def test_nan_is_null_in_json(run: Run, tmp_path: Path) -> None:
    assert run("seed=0").returncode == 0
    assert summary_of(the_run(tmp_path / "cwd"))["metrics"] == {"val/loss": None}


@pytest.mark.parametrize("word", ["model.widht=1", "data.action=request", "trainer.devices=2"])
@pytest.mark.parametrize("hardware", ["cpu", "ddp_cpu"])
def test_a_wrong_request_leaves_no_folder(word: str, hardware: str, run: Run, tmp_path: Path) -> None:
    if (word, hardware) == ("trainer.devices=2", "ddp_cpu"):
        pytest.skip("that one is right")
    done = run(word, f"hardware={hardware}")
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert done.stderr.count("\n") <= 6
    assert list((tmp_path / "cwd").iterdir()) == []


def test_a_used_folder_keeps_what_it_holds(run: Run, tmp_path: Path) -> None:
    assert run("run_dir=here").returncode == 0
    before = summary_of(tmp_path / "cwd/here")
    assert run("run_dir=here", "seed=2").returncode == 2
    assert run("resume=here", "data.action=request").returncode == 2
    assert summary_of(tmp_path / "cwd/here") == before


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
@pytest.mark.parametrize("hardware", ["cpu", "ddp_cpu"])
def test_signals_end_the_run_with_a_summary(
    number: int, code: int, hardware: str, toy_root: Path, tmp_path: Path
) -> None:
    words = [sys.executable, str(toy_root / "run.py"), "run_dir=r", "data.action=sleep", f"hardware={hardware}"]
    process = subprocess.Popen(words, cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 30
    while not (tmp_path / "r/asleep").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(0.3)  # the second rank as well
    process.send_signal(number)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == code, errors
    assert summary_of(tmp_path / "r")["status"] == "interrupted"
    assert f"stopped by {signal.Signals(number).name}" in errors


def test_ranks_end_when_their_parent_is_killed(toy_root: Path, tmp_path: Path) -> None:
    words = [sys.executable, str(toy_root / "run.py"), "run_dir=r", "data.action=sleep", "hardware=ddp_cpu"]
    process = subprocess.Popen(words, cwd=tmp_path, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 30
    while not (tmp_path / "r/asleep").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    process.kill()
    process.wait()
    while not (tmp_path / "r/summary.json").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert summary_of(tmp_path / "r")["status"] == "interrupted"


def test_N1_a_sweep_of_two_ranks_gives_two_folders_trained_once_each(run: Run, tmp_path: Path) -> None:
    done = run("-m", "seed=1,2", "hardware=ddp_cpu", "run_dir=sweep", "model.depth=3")
    assert done.returncode == 0, done.stderr
    folders = sorted(path for path in (tmp_path / "cwd/sweep").iterdir() if path.is_dir())
    assert [path.name for path in folders] == ["0-seed_1", "1-seed_2"]
    for seed, folder in enumerate(folders, start=1):
        cores = str(max(1, len(os.sched_getaffinity(0)) // 2)) if hasattr(os, "sched_getaffinity") else None
        for rank in (0, 1):
            (line,) = (folder / f"ran{rank}.txt").read_text().splitlines()  # once each
            assert line.split()[:2] == [f"{rank}/2", str(seed)]
            assert cores is None or line.split()[2] == cores
        assert summary_of(folder)["status"] == "finished"
        assert "depth: 3" in (folder / ".hydra/config.yaml").read_text()
    assert list((tmp_path / "cwd").iterdir()) == [tmp_path / "cwd/sweep"]


@pytest.mark.parametrize(("action", "error"), [("crash@1", "rank 1 failed"), ("die@1", "rank 1 was killed by SIGKILL")])
def test_N1_a_rank_that_fails_ends_the_others(action: str, error: str, run: Run, tmp_path: Path) -> None:
    done = run("hardware=ddp_cpu", f"data.action={action}", NANOLAB_GRACE_S="0.5")
    assert done.returncode == 1
    assert summary_of(the_run(tmp_path / "cwd"))["error"].startswith(error)
    assert error in done.stderr


def test_sweeps_from_a_file(run: Run, tmp_path: Path) -> None:
    done = run("sweeps=seeds", "model.width=3")
    assert done.returncode == 0, done.stderr
    jobs = sorted((tmp_path / "cwd/outputs/sweeps").glob("*/*-seeds/*/summary.json"))
    assert [file.parent.name for file in jobs] == ["0-seed_1", "1-seed_2"]
    assert [summary_of(file.parent)["seed"] for file in jobs] == [1, 2]
    assert "val/loss 0.5000" in done.stdout.split("2 jobs in")[1].splitlines()[1], "the best comes first"


def test_values_typed_replace_those_of_a_sweeps_file(run: Run, tmp_path: Path) -> None:
    assert run("sweeps=seeds", "seed=5").returncode == 0
    (job,) = (tmp_path / "cwd/outputs/sweeps").glob("*/*-seeds/*/summary.json")
    assert summary_of(job.parent)["seed"] == 5
    assert run("sweeps=seeds", "seed=6,7", "run_dir=two").returncode == 0
    assert sorted(file.parent.name for file in (tmp_path / "cwd/two").glob("*/summary.json")) == [
        "0-seed_6",
        "1-seed_7",
    ]


def test_every_job_of_a_sweep_is_checked_before_the_first_starts(run: Run, tmp_path: Path) -> None:
    for word in ("model=small,larg", "model.act=relu,rleu", "model.widht=1,2", "objective=pairwise data=pairs,plain"):
        done = run("-m", *word.split())
        assert done.returncode == 2, word
        assert list((tmp_path / "cwd").iterdir()) == []


def test_a_job_that_fails_does_not_stop_the_others(run: Run, tmp_path: Path) -> None:
    done = run("-m", "data.action=crash,finish,request", "run_dir=s")
    states = [
        summary_of(tmp_path / "cwd/s" / name)["status"] for name in ("0-data.action_crash", "1-data.action_finish")
    ]
    assert states == ["failed", "finished"]
    assert done.returncode == 2
    assert "ValueError: boom" in done.stderr


def test_N36_a_killed_sweep_goes_on_with_only_what_is_missing(run: Run, tmp_path: Path) -> None:
    sweep = tmp_path / "cwd/s"
    run("-m", "seed=1,2,3,4,5,6", "run_dir=s")
    assert json.loads((sweep / "sweep.json").read_text())["jobs"] == 6  # a report tells which have not begun
    for number in (3, 4, 5):  # as if killed at job 4: one half done, two never started
        folder = sweep / f"{number}-seed_{number + 1}"
        if number == 3:
            (folder / "summary.json").unlink()
        else:
            shutil.rmtree(folder)
    (sweep / "report").mkdir()
    (sweep / "report/summary.json").write_text('{"status": "failed", "exit_status": 2}')  # beside the jobs, none itself
    done = run("resume=s")
    assert done.returncode == 0, done.stderr
    assert "6 jobs in s" in done.stdout
    times = [len((sweep / f"{n}-seed_{n + 1}" / "ran0.txt").read_text().splitlines()) for n in range(6)]
    assert times == [1, 1, 1, 2, 1, 1], "the finished ones are left alone; the broken one was taken up in its folder"
    assert done.stdout.count("finished before") == 3
    assert run("-m", "seed=1,2", "run_dir=s").returncode == 2
    assert run("resume=s", "seed=3").returncode == 2


def test_N36_fail_fast_stops_at_the_first(run: Run, tmp_path: Path) -> None:
    done = run("-m", "data.action=run_error,finish", "fail_fast=true", "run_dir=s")
    assert done.returncode == 1
    assert "no further job" in done.stdout
    assert [path.name for path in (tmp_path / "cwd/s").iterdir() if path.is_dir()] == ["0-data.action_run_error"]


def test_N36_a_signal_stops_the_whole_sweep(run: Run, tmp_path: Path) -> None:
    done = run("-m", "data.action=stopped,finish", "run_dir=s")
    assert done.returncode == 143
    assert "resume=s" in done.stdout
    assert len(list((tmp_path / "cwd/s").glob("*/summary.json"))) == 1


def test_N7_no_state_leaks_between_jobs(toy_root: Path, tmp_path: Path) -> None:
    """Three jobs in one process, which has a signal handler and a log handler of its own."""
    script = """
import logging, os, random, signal, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from launcher.config.compose import compose
from launcher.jobs.job import Job, run_job
from launcher.lab import Lab
lab = Lab(Path(sys.argv[1]))
def facts():
    handlers = list(logging.getLogger().handlers)
    return signal.getsignal(signal.SIGTERM), handlers, dict(os.environ), os.getcwd(), random.getstate()
before = facts()
for number in range(3):
    ending, run = run_job(Job(compose([f"run_dir=job{number}"], lab), lab, []))
    assert ending.code == 0, ending
assert facts() == before
for number in range(3):
    assert Path(f"job{number}/run.log").read_text().count("at work") == 1
"""
    done = subprocess.run([sys.executable, "-c", script, str(toy_root)], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_under_torchrun_all_ranks_agree_on_the_folder(toy_root: Path, tmp_path: Path) -> None:
    children = []
    for rank in (1, 0):
        environment = os.environ | {
            **{"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"},
            **{"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29501", "TORCHELASTIC_RUN_ID": "none"},
        }
        words = [sys.executable, str(toy_root / "run.py"), "hardware=ddp_cpu"]
        children.append(subprocess.Popen(words, cwd=tmp_path, env=environment))
    assert [child.wait(60) for child in children] == [0, 0]
    assert {file.name for file in the_run(tmp_path).glob("ran*.txt")} == {"ran0.txt", "ran1.txt"}
