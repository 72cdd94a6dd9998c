"""`trainer.compile=auto`: torch.compile where it pays, and where the run is long enough to earn it back.

It takes a minute before the first update. What updates gain (docs/findings.md): 1.2 x on one H100 (GPT-2 124M, bf16),
1.3 x in bf16-mixed on a CPU with AVX-512, nothing in fp32 there, where products are nearly all of the work.
"""

import shutil
from datetime import timedelta
from importlib.util import find_spec
from typing import Any

import torch
from omegaconf import DictConfig

from callbacks.metrics import peak_flops
from datamodules.kinds.steps import StepDataModule
from models.base import LanguageModel
from models.boosting.ensemble import Boosted
from tasks.trainer import resolve_accelerator, resolve_precision

COMPILE_SECONDS, TIMES = 60, 3  # what it takes; how often a run must earn it
GAINS = {"cpu": 1.3, "gpu": 1.2}
REACHED = {"cpu": 0.6, "gpu": 0.3}  # of the peak, by what is not compiled; of the CPU's in fp32, as it is measured


def decide(cfg: DictConfig, model: LanguageModel, data: StepDataModule) -> tuple[bool, str]:
    """Whether to compile, and why, in words. Reads `trainer.precision` as it was settled."""
    device = resolve_accelerator(cfg.trainer.accelerator)
    if (against := obstacle(cfg, model, data, device)) is not None:
        return False, against
    flops = model.flops_per_token(data.seq_len) * tokens_per_update(cfg, data) * cfg.trainer.max_steps
    peak = peak_flops(torch.device("cuda" if device == "gpu" else "cpu"))
    seconds, least = run_seconds(cfg, flops / (REACHED[device] * peak)), shortest(GAINS[device])
    length = f"about {timedelta(seconds=round(seconds))}"
    if seconds < least:
        return False, f"the run takes {length}, and compiling pays from {timedelta(seconds=round(least))} on"
    return True, f"the run takes {length}, and its updates gain more than the minute that compiling takes"


def obstacle(cfg: DictConfig, model: LanguageModel, data: StepDataModule, device: str) -> str | None:
    """Why it would not do, whatever the length of the run."""
    if device not in GAINS:
        return f"nothing is known of it on {device}"
    if cfg.trainer.strategy != "single" or cfg.trainer.devices not in (1, "auto"):
        return "it was measured on one device"
    if "tokens" not in data.provides or isinstance(model, Boosted) or model.inactive_parameters():
        return "the shapes of updates vary, and each would be compiled anew"
    if device == "cpu" and resolve_precision(cfg.trainer.precision, device) != "bf16-mixed":
        return "in fp32 a CPU gains nothing by it"
    if not is_there(device):
        return "there is no compiler (apt install g++)" if device == "cpu" else "Triton is not there"
    return None


def is_there(device: str) -> bool:
    if device == "cpu":
        return any(map(shutil.which, ("c++", "g++", "clang++")))
    return find_spec("triton") is not None


def shortest(gain: float) -> float:
    """Seconds of a run that earns compiling back so often."""
    return TIMES * COMPILE_SECONDS / (1 - 1 / gain)


def tokens_per_update(cfg: DictConfig, data: StepDataModule) -> int:
    given: Any = cfg.trainer.tokens_per_step
    return given or data.batch_size * data.seq_len * cfg.trainer.accumulate


def run_seconds(cfg: DictConfig, needed: float) -> float:
    """As long as it takes, or until `trainer.max_time` ends it."""
    if cfg.trainer.max_time is None:
        return needed
    parts = str(cfg.trainer.max_time).split(":")
    if len(parts) != 3 or not all(part.isdigit() for part in parts):
        return needed  # the Trainer says what is wrong with it
    hours, minutes, seconds = map(int, parts)
    return min(needed, 3600 * hours + 60 * minutes + seconds)
