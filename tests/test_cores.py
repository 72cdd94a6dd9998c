"""Threads that wait go to sleep soon, in every program of ours; what the user says of it stays."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import cores

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize(
    ("given", "spins"),
    [
        ({}, str(cores.SPINS)),
        ({"GOMP_SPINCOUNT": "7"}, "7"),
        ({"OMP_WAIT_POLICY": "active"}, None),
    ],
)
def test_the_users_own_words_stay(monkeypatch, given, spins):
    for name in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY"):
        monkeypatch.delenv(name, raising=False)
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("GOMP_SPINCOUNT", given.get("GOMP_SPINCOUNT", ""))  # so that it is taken back
    if "GOMP_SPINCOUNT" not in given:
        del os.environ["GOMP_SPINCOUNT"]
    cores.share()
    assert os.environ.get("GOMP_SPINCOUNT") == spins


@pytest.mark.parametrize("words", [["-c", "import nanolab, torch"], ["run.py", "task=check"]])
def test_it_is_said_before_torch_is_imported(tmp_path, words):
    (tmp_path / "torch").mkdir()
    stand_in = "import os\nprint('SPINS', os.environ.get('GOMP_SPINCOUNT'), flush=True)\nos._exit(0)\n"
    (tmp_path / "torch" / "__init__.py").write_text(stand_in)
    environment = {k: v for k, v in os.environ.items() if k not in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")}
    environment["PYTHONPATH"] = str(tmp_path)
    words = [sys.executable, *words]
    out = subprocess.run(words, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120)
    assert f"SPINS {cores.SPINS}" in out.stdout, out.stderr
