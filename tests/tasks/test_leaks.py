"""F27: thirty jobs in one process leave no thread, no open file and no memory behind."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
JOBS = 30
COUNTING = """
import gc, json, os, sys
from pathlib import Path
from launcher.cli import main
from launcher.jobs import sweep

counted, run_job = [], sweep.run_job

def counting(job):
    done = run_job(job)
    gc.collect()
    resident = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmRSS"))
    counted.append([len(os.listdir(f"/proc/self/{what}")) for what in ("task", "fd")] + [int(resident.split()[1])])
    return done

sweep.run_job = counting
code = main(sys.argv[2:], root=Path(sys.argv[1]))
Path("counted.json").write_text(json.dumps(counted))
sys.exit(code)
"""
WORDS = (
    *("model.n_layer=1", "model.n_embd=16", "model.n_head=2", "model.seq_len=16", "data.batch_size=2", "hardware=cpu"),
    *("trainer.max_steps=2", "trainer.val_every=1", "trainer.log_every=1", "data=text", "data.path=text.txt"),
)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="counts in /proc")
@pytest.mark.parametrize("more", [[], ["data.workers=1"], ["objective=gbft", "gbft.stages=1", "gbft.base_steps=2"]])
def test_F27_thirty_jobs_leave_nothing_behind(more: list[str], tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text("The quick brown fox jumps over the lazy dog.\n" * 60, encoding="utf-8")
    words = list(WORDS)
    if "objective=gbft" in more:
        words = [word for word in WORDS if not word.startswith("trainer.")]
        words += ["gbft.steps_per_stage=2", "data.sampling=shuffle", "learner=bias"]
    command = [sys.executable, "-c", COUNTING, str(ROOT), "-m", f"seed=range({JOBS})", *words, *more, "run_dir=sweep"]
    environment = {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "PATH": "/usr/bin:/bin", "HOME": str(tmp_path)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr[-2000:]
    counted = json.loads((tmp_path / "counted.json").read_text())
    threads, files, memory = (list(column) for column in zip(*counted, strict=True))
    assert len(threads) == JOBS
    assert max(threads[5:]) <= threads[4], threads
    assert max(files[5:]) <= files[4], files
    assert memory[-1] - memory[9] < 20 * 1024, memory  # kB: a tiny job's tensors are a few
