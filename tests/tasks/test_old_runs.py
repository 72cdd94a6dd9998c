"""A run written before the lifecycle of objectives was redrawn (commit a56f643) goes on as it did there."""

import csv
import shutil
from pathlib import Path

import pytest

from launcher.cli import main

ROOT = Path(__file__).parents[2]
FIXTURE = ROOT / "tests/fixtures/run_of_a56f643"
# what that commit itself logged when it took the run from update 4 to 8
TRAIN = [5.550358772277832, 5.549395561218262, 5.546919822692871, 5.542410850524902]
VALIDATION = {6: 5.546270381138977, 8: 5.545746385052217}


def test_N17_a_checkpoint_of_an_earlier_commit_is_resumed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(FIXTURE, "run")
    shutil.copy("run/text.txt", "text.txt")
    assert main(["resume=run", "trainer.max_steps=8"], root=ROOT) == 0
    with Path("run/metrics.csv").open(encoding="utf-8") as file:
        rows = {int(row["step"]): row for row in csv.DictReader(file)}
    # float32: processors round differently, some 1e-7 of a loss each update
    assert [float(rows[step]["train/loss"]) for step in (5, 6, 7, 8)] == pytest.approx(TRAIN, rel=1e-5)
    for step, loss in VALIDATION.items():
        assert float(rows[step]["val/loss"]) == pytest.approx(loss, rel=1e-5)
