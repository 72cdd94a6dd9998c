"""What a start leaves out, and that it is there as soon as somebody asks. Each in a process of its own."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
# each costs a start a tenth of a second or more
COSTLY = (
    "matplotlib",
    "pandas",
    "scipy",
    "sklearn",
    "sympy",
    "transformers",
    "torch._dynamo.utils",
    "torch._inductor",
)


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


def test_the_compiler_comes_when_something_is_compiled(tmp_path):
    script = """
import inspect, sys, tasks, torch, lightning.pytorch
from lightning.fabric.wrappers import OptimizedModule
from tasks.lean import compiler

@torch.compiler.disable
def doubled(x):
    return 2 * x

def called(x):
    return doubled(x + 1) + 1

layer = torch.nn.Linear(3, 2)
optimizer = torch.optim.AdamW(layer.parameters())
layer(torch.ones(1, 3)).sum().backward()
optimizer.step()
optimizer.zero_grad()
assert not isinstance(layer, OptimizedModule) and doubled(3) == 6
inspect.getmodule(compile(" ", "nowhere", "eval"))  # goes through all of sys.modules
assert compiler.loaded() is None and "torch._dynamo.utils" not in sys.modules

compiled = torch.compile(layer, backend="eager")
assert isinstance(compiled, OptimizedModule) and not isinstance(layer, OptimizedModule)
torch.testing.assert_close(compiled(torch.ones(1, 3)), layer(torch.ones(1, 3)))
graphs = []
in_parts = torch.compile(called, backend=lambda graph, _: graphs.append(graph) or graph.forward)
assert in_parts(torch.ones(1)) == 5 and len(graphs) == 2, "what is disabled is in no graph"
assert compiler.loaded() is torch._dynamo is sys.modules["torch._dynamo"]
optimizer.step()
print("done")
"""
    assert says(script, tmp_path) == "done"


@pytest.mark.parametrize("asked", ["torch._dynamo.config", "torch._dynamo.utils"])
def test_a_module_of_the_compiler_brings_the_compiler(tmp_path, asked):
    script = f"""
import sys, tasks, torch, torch._dynamo
stand_in = torch._dynamo
import {asked}
assert torch._dynamo is not stand_in and {asked} is sys.modules[{asked!r}]
assert {asked}.__spec__.origin == {asked}.__file__
torch._dynamo.reset()
print("done")
"""
    assert says(script, tmp_path) == "done"


@pytest.mark.parametrize("before", ["", "scipy", "scipy.signal, matplotlib.pyplot"])
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
