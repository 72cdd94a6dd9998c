"""`trainer.products` where a model is only read: task=evaluate, generate, chat, serve; nanolab.load. Always in fp32.

`auto` is the library that is faster at the model's products on this CPU, measured as for training
(tasks/hardware/choice.py). Numbers are those of the other library but for rounding: nothing is said.
"""

from collections import Counter
from typing import Any

import torch
from omegaconf import DictConfig

from errors import RequestError
from launcher.jobs.run_folder import RunFolder
from models.base import LanguageModel
from models.layers import products as libraries
from models.layers.products import SMALLEST, Library
from tasks.hardware import probe
from tasks.hardware.choice import FASTER_PRODUCTS, in_sweep, product_seconds
from tasks.trainer import resolve_accelerator

ROWS = 1024  # tokens read at once, for the probe


def settle_reading(cfg: DictConfig, model: LanguageModel, run: RunFolder | None = None, *, probes: bool = True) -> None:
    """This model's products are by the library that is typed, or by the faster one.

    With `auto` one that gains nothing stays as it is, and so do other models of this process. In a sweep, whose arms
    are compared, products are PyTorch's own.

    Args:
        probes: `auto` may measure this machine; not while others compute on it.

    Raises:
        RequestError: trainer.products=onednn where there is no choice.
    """
    wanted: Any = cfg.trainer.get("products") or "torch"
    on_cpu = resolve_accelerator(cfg.trainer.accelerator) == "cpu"
    if wanted == "onednn" and not (on_cpu and libraries.is_there()):
        raise RequestError(
            "trainer.products=onednn is for a CPU whose PyTorch has oneDNN.\n"
            "Type trainer.products=torch, or leave it out."
        )
    if wanted == "auto":
        compared = run is not None and in_sweep(run)
        if not on_cpu or compared or not probes or faster(model) == "torch":
            return
        wanted = "onednn"
    libraries.choose(wanted)
    libraries.follow(model)


def faster(model: LanguageModel) -> Library:
    """By the products that are large enough for oneDNN, on all threads; without any nothing is probed."""
    large = {shape: times for shape, times in probe.shapes_of(model, ROWS).items() if min(shape) >= SMALLEST}
    shapes = probe.largest(Counter(large))
    if not shapes or not libraries.is_there():
        return "torch"
    known, n = probe.probed(shapes), torch.get_num_threads()
    plain, other = (product_seconds(known, shapes, kind, n) for kind in ("fp32", "onednn"))
    return "onednn" if plain >= FASTER_PRODUCTS * other else "torch"
