"""`trainer.products=auto` where a model is only read (task=evaluate, generate, chat, serve; nanolab.load): on a CPU the
library that is faster at the model's products, as tasks/hardware/choice.py chooses it for training.

Numbers are those of the other library but for rounding in fp32, so nothing is said and nothing kept.
"""

from collections import Counter
from typing import Any

from omegaconf import DictConfig

from launcher.jobs.run_folder import RunFolder
from models.base import LanguageModel
from models.layers import products as libraries
from models.layers.products import SMALLEST, Library
from tasks.hardware import probe
from tasks.hardware.choice import FASTER_PRODUCTS, check_onednn, in_sweep, products
from tasks.trainer import resolve_accelerator

ROWS = 1024  # tokens read at once, for the probe


def settle_reading(cfg: DictConfig, model: LanguageModel, run: RunFolder | None = None) -> None:
    """From here on products are by the library that is typed, or by the faster one. In a sweep they are PyTorch's own,
    since its arms are compared.

    Raises:
        RequestError: trainer.products=onednn where there is no choice.
    """
    wanted: Any = cfg.trainer.get("products") or "torch"
    if wanted == "onednn":
        check_onednn(cfg.trainer)
    if wanted == "auto":
        compared = run is not None and in_sweep(run)
        wanted = "torch" if compared or resolve_accelerator(cfg.trainer.accelerator) != "cpu" else faster(model)
    libraries.choose(wanted)
    libraries.follow(model)


def faster(model: LanguageModel) -> Library:
    """By the products that are large enough for oneDNN; a model without any is not probed."""
    large = {shape: times for shape, times in probe.shapes_of(model, ROWS).items() if min(shape) >= SMALLEST}
    shapes = probe.largest(Counter(large))
    if not shapes or not libraries.is_there():
        return "torch"
    return "onednn" if products(probe.probed(shapes), shapes).by_onednn >= FASTER_PRODUCTS else "torch"
