"""N6: jobs of one sweep that run beside each other get different GPUs, and wait where there is none left."""

import itertools
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from launcher.jobs.devices import slot, visible_devices

Run = Callable[..., subprocess.CompletedProcess[str]]


def test_visible_devices() -> None:
    assert visible_devices({"CUDA_VISIBLE_DEVICES": "0, 1"}) == ["0", "1"]
    assert visible_devices({"CUDA_VISIBLE_DEVICES": "-1"}) == []


def test_a_process_keeps_the_device_it_has_seen_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,5,6,7")
    seen = []
    for _ in range(2):
        with slot(tmp_path, per_job=2):
            seen.append(os.environ["CUDA_VISIBLE_DEVICES"])
    assert seen == ["4,5", "4,5"]
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "4,5,6,7"


@pytest.mark.parametrize(("gpus", "jobs"), [("0,1,2,3", 4), pytest.param("0,1", 5, marks=pytest.mark.slow)])
def test_N6_jobs_side_by_side_never_share_a_gpu(gpus: str, jobs: int, run: Run, tmp_path: Path) -> None:
    pytest.importorskip("hydra_plugins.hydra_joblib_launcher")
    seeds = ",".join(str(seed) for seed in range(1, jobs + 1))
    words = ["-m", "hydra/launcher=joblib", f"hydra.launcher.n_jobs={jobs}", f"seed={seeds}", "run_dir=s"]
    action = "meet 4" if jobs == 4 else "wait"  # all four at one time, however busy the machine
    done = run(*words, f"data.action={action}", "trainer.accelerator=gpu", CUDA_VISIBLE_DEVICES=gpus)
    assert done.returncode == 0, done.stderr
    folders = [path for path in (tmp_path / "cwd/s").iterdir() if (path / "times.txt").is_file()]
    assert len(folders) == jobs
    work = [
        ((folder / "ran0.txt").read_text().split()[3], *map(float, (folder / "times.txt").read_text().split()))
        for folder in folders
    ]
    assert {gpu for gpu, _, _ in work} <= set(gpus.split(","))
    if jobs == 4:
        assert len({gpu for gpu, _, _ in work}) == 4
    for (gpu, start, end), (other, other_start, other_end) in itertools.combinations(work, 2):
        assert gpu != other or end <= other_start or other_end <= start, "two jobs on one GPU at the same time"
