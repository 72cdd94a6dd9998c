"""A toy lab: run.py and launcher/ as they are, with packages of a few lines and no torch, so that a whole job takes
a fraction of a second."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from launcher.lab import Lab

ROOT = Path(__file__).parents[2]

FILES = {
    "models/toy.py": """
from typing import Literal

class Toy:
    def __init__(self, *, vocab_size: int, width: int, depth: int = 2, act: Literal["relu", "gelu"] = "relu",
                 rate: float = 0.1, sizes: list[int] | None = None, extra: dict[str, float] | None = None):
        self.width = width
""",
    "optimization/toy.py": """def sgd(*, model: object, lr: float, nesterov: bool) -> None:
    pass
""",
    "datamodules/base.py": """
from typing import Literal

Side = Literal["a", "b"]

class Base:
    provides = ("tokens",)
    def __init__(self, *, tokenizer: object, seed: int, side: Side = "a"):
        pass
""",
    "datamodules/toy.py": """
from datamodules.base import Base

class Toy(Base):
    def __init__(self, *, path: str | None, action: str, **base):
        super().__init__(**base)

class Fixed(Base):
    def __init__(self, *, action: str, **base):
        super().__init__(seed=1, **base)

class Pairs(Base):
    provides = ("pairs", "tokens2")
""",
    "lightning_modules/toy.py": """
class LM:
    needs = ("tokens",)
    filled_in = ("model", "optimizer", "seed")
    def __init__(self, *, model: object, optimizer: object, seed: int = 0, beta: float = 1.0):
        pass

class Pairwise(LM):
    needs = ("pairs",)
""",
    "callbacks/toy.py": """class Speak:
    def __init__(self, *, words: str, every: int):
        pass
""",
    "tasks/toy.py": """
import errno, logging, os, sys, time
from pathlib import Path
from bounds import Duration, Text
from errors import Interrupted, RequestError, RunError

def build_trainer(*, run_dir: object, max_steps: int, max_time: Duration | None, devices: int | str, strategy: str,
                  accelerator: str):
    pass

def say(cfg, run, *, prompt: Text, top_k: int | None):
    print("prompt", repr(prompt), top_k)

def fit(cfg, run):
    logging.getLogger("toy").info("at work")
    if cfg.data.action == "request":
        raise RequestError("the corpus is empty\\nType data.path=FILE")
    threads, gpus = os.environ.get("OMP_NUM_THREADS"), os.environ.get("CUDA_VISIBLE_DEVICES")
    facts = f"{run.rank}/{run.world_size} {cfg.seed} {threads} {gpus}"
    with (run.path / f"ran{run.rank}.txt").open("a") as file:
        file.write(facts + "\\n")
    if cfg.data.action in ("wait", "meet 4"):
        start = time.time()
        while cfg.data.action == "meet 4" and len(list(run.path.parent.glob("*/ran0.txt"))) < 4:
            assert time.time() < start + 60, "four jobs of a sweep are never at work at one time"
            time.sleep(0.02)
        time.sleep(0.4)
        (run.path / "times.txt").write_text(f"{start} {time.time()}")
    action, _, rank = cfg.data.action.partition("@")
    if rank and int(rank) != run.rank:
        time.sleep(60 if action == "die" else 0)
        action = "finish"
    run.results |= {"step": 3, "metrics": {"val/loss": 1.0 / cfg.seed if cfg.seed else float("nan")}}
    if action == "sleep":
        if run.rank == 0:
            (run.path / "asleep").touch()
        time.sleep(60)
    if action == "die":
        os.kill(os.getpid(), 9)
    errors = {"run_error": RunError("loss is NaN"), "crash": ValueError("boom"),
              "disk": OSError(errno.ENOSPC, "No space left on device", "x"), "stopped": Interrupted(15)}
    if action in errors:
        raise errors[action]
""",
    "conf/config.yaml": """
# the toy config
defaults:
  - _self_
  - task: fit
  - tokenizer: null
  - model: small
  - data: plain
  - objective: lm
  - optimizer: sgd
  - trainer: default
  - hardware: cpu
  - callbacks: speak
  - experiment: null
  - sweeps: null
  - override hydra/job_logging: none
  - override hydra/hydra_logging: none

seed: 1          # random
run_dir: null    # where
init_from: null  # weights
resume: null     # go on
fail_fast: false  # stop a sweep at its first failure
rerun: null      # again
""",
    "conf/task/fit.yaml": "# train\n_target_: tasks.toy.fit\nevery_rank: true\n",
    "conf/task/say.yaml": """# @package _global_
# say something
task:
  _target_: tasks.toy.say
  every_rank: false
prompt: ""    # words
top_k: null   # few
""",
    "conf/tokenizer/none.yaml": "# no tokenizer\n_target_: models.toy.Toy\nwidth: 1  # width\n",
    "conf/model/small.yaml": """# small
_target_: models.toy.Toy
width: 8    # channels
rate: 0.5   # share
""",
    "conf/model/large.yaml": """# large
_target_: models.toy.Toy
width: 80   # channels
rate: 0.5   # share
""",
    "conf/data/plain.yaml": """# plain text
_target_: datamodules.toy.Toy
path: null       # file
action: finish   # what the task does
seed: ${seed}    # order
""",
    "conf/data/pairs.yaml": "# pairs\n_target_: datamodules.toy.Pairs\nseed: ${seed}  # order\n",
    "conf/objective/lm.yaml": "# language model\n_target_: lightning_modules.toy.LM\n",
    "conf/objective/pairwise.yaml": """# @package _global_
# prefers one of two
defaults:
  - override /data: pairs
objective:
  _target_: lightning_modules.toy.Pairwise
  beta: 0.5   # strength
""",
    "conf/optimizer/sgd.yaml": """# sgd
_target_: optimization.toy.sgd
_partial_: true
lr: 0.1  # rate
nesterov: false  # or not
""",
    "conf/trainer/default.yaml": """# horizon
_target_: tasks.toy.build_trainer
max_steps: 10    # updates
max_time: null   # time
""",
    "conf/hardware/cpu.yaml": """# @package trainer
# cpu
accelerator: cpu  # a
devices: 1  # n
strategy: single  # s
""",
    "conf/hardware/ddp_cpu.yaml": """# @package trainer
# two
accelerator: cpu  # a
devices: 2  # n
strategy: ddp  # s
""",
    "conf/callbacks/speak.yaml": """# speaks
speak:
  _target_: callbacks.toy.Speak
  words: hello  # words
  every: 5  # steps
""",
    "conf/experiment/wide.yaml": "# @package _global_\n# wider\nmodel:\n  width: 16\n",
    "sweeps/seeds.yaml": """# @package _global_
# seeds
hydra:
  mode: MULTIRUN
  sweeper:
    params:
      seed: 1,2
""",
}


def write_toy_lab(root: Path) -> Path:
    for name, text in FILES.items():
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text.lstrip("\n"), encoding="utf-8")
    return root


@pytest.fixture(scope="session")
def toy_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Shared and left as it is; a test that writes into a lab takes `own_root`."""
    root = write_toy_lab(tmp_path_factory.mktemp("toy"))
    for name in ("run", "errors", "bounds", "folders", "commands", "stopping", "strict_json", "strict_yaml", "cores"):
        shutil.copy(ROOT / f"{name}.py", root / f"{name}.py")
    for name in ("launcher", "runs"):
        shutil.copytree(ROOT / name, root / name, ignore=shutil.ignore_patterns("__pycache__"))
    return root


@pytest.fixture
def own_root(tmp_path: Path) -> Path:
    return write_toy_lab(tmp_path / "lab")


@pytest.fixture
def toy(toy_root: Path) -> Lab:
    return Lab(toy_root)


@pytest.fixture
def run(toy_root: Path, tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs the toy lab's run.py in an empty folder."""
    (tmp_path / "cwd").mkdir()

    def call(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, str(toy_root / "run.py"), *words],
            cwd=tmp_path / "cwd",
            env=clean_environment() | environment,
            capture_output=True,
            text=True,
            timeout=60,
        )

    return call


def clean_environment() -> dict[str, str]:
    """Without what a launcher around the tests may have set."""
    ours = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "OMP_NUM_THREADS", "HYDRA_FULL_ERROR")
    return {key: value for key, value in os.environ.items() if key not in ours and not key.startswith("NANOLAB")}
