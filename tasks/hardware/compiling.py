"""`trainer.compile=auto`: torch.compile where it pays, and where the run is long enough to earn it back.

It takes a minute before the first update. What updates gain (docs/findings.md): 1.2 x on one H100 (GPT-2 124M, bf16).
On a CPU nothing: in fp32 products are nearly all of the work, and in bf16 attention is faster uncompiled
(models/layers/half_attention.py): 23 ms an update, 30 compiled (GPT of 4 x 128, 12 x 128 tokens, two cores of a Zen 5).
"""

from datetime import timedelta
from importlib.util import find_spec
from typing import Any

import torch
from omegaconf import DictConfig

from callbacks.metrics import peak_flops
from datamodules.kinds.steps import StepDataModule
from models.base import LanguageModel
from models.boosting.ensemble import Boosted
from tasks.trainer import resolve_accelerator

COMPILE_SECONDS, TIMES = 60, 3  # what it takes; how often a run must earn it
GAIN = 1.2
REACHED = 0.3  # of the peak, by what is not compiled


def decide(cfg: DictConfig, model: LanguageModel, data: StepDataModule) -> tuple[bool, str]:
    """Whether to compile, and why, in words. Reads `trainer.precision` as it was settled."""
    device = resolve_accelerator(cfg.trainer.accelerator)
    if (against := obstacle(cfg, model, data, device)) is not None:
        return False, against
    flops = model.flops_per_token(data.seq_len) * tokens_per_update(cfg, data) * cfg.trainer.max_steps
    seconds, least = run_seconds(cfg, flops / (REACHED * peak_flops(torch.device("cuda")))), shortest(GAIN)
    length = f"about {timedelta(seconds=round(seconds))}"
    if seconds < least:
        return False, f"the run takes {length}, and compiling pays from {timedelta(seconds=round(least))} on"
    return True, f"the run takes {length}, and its updates gain more than the minute that compiling takes"


def obstacle(cfg: DictConfig, model: LanguageModel, data: StepDataModule, device: str) -> str | None:
    """Why it would not do, whatever the length of the run."""
    if device != "gpu":
        return "on a CPU nothing is gained by it" if device == "cpu" else f"nothing is known of it on {device}"
    if cfg.trainer.strategy != "single" or cfg.trainer.devices not in (1, "auto"):
        return "it was measured on one device"
    if "tokens" not in data.provides or isinstance(model, Boosted) or model.inactive_parameters():
        return "the shapes of updates vary, and each would be compiled anew"
    if not is_there():
        return "Triton is not there"
    return None


def is_there() -> bool:
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
