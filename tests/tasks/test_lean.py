"""What a start leaves out, and that it is there as soon as somebody asks. Each in a process of its own."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# each costs a start a tenth of a second or more
COSTLY = ("matplotlib", "pandas", "scipy", "sklearn", "transformers")


def says(script: str, cwd: Path) -> str:
    """The last line that a script prints."""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", script], cwd=cwd, env=environment, text=True, capture_output=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()[-1]


def test_a_default_run_imports_nothing_that_it_does_not_use(tmp_path):
    (tmp_path / "text.txt").write_text("A fox met a hen. " * 400)
    script = f"""
import sys, pathlib
from launcher.cli import main
small = ["model.n_layer=1", "model.n_embd=16", "model.n_head=1", "model.seq_len=32", "data.batch_size=2"]
words = ["data=text", "data.path=text.txt", "trainer.max_steps=2", "trainer.val_every=2", *small]
assert main(words, pathlib.Path({str(ROOT)!r})) == 0
print(*(name for name in {COSTLY!r} if name in sys.modules))
"""
    assert says(script, tmp_path) == ""


@pytest.mark.parametrize(
    "before",
    ["", *(pytest.param(first, marks=pytest.mark.slow) for first in ("scipy", "scipy.signal, matplotlib.pyplot"))],
)
def test_torchmetrics_leaves_what_it_does_not_need_to_others(tmp_path, before):
    script = f"""
import tasks, sys
{before and "import " + before}
import torch, torchmetrics
from importlib.metadata import version
assert "transformers" not in sys.modules
assert torchmetrics.functional.accuracy(torch.tensor([1, 2]), torch.tensor([1, 3]), "multiclass", num_classes=4) == 0.5
import matplotlib.pyplot, scipy.signal, transformers
assert version("scipy") == scipy.__version__
print("done")
"""
    assert says(script, tmp_path) == "done"
