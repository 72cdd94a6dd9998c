"""What hardware=auto would take in fp32 on this CPU, for benchmarks that build their models by themselves."""

import torch

from models.base import LanguageModel
from models.layers import products
from tasks.hardware import probe
from tasks.hardware.choice import FASTER_PRODUCTS, Products
from tasks.hardware.choice import products as probed_products


def multiplied_as_chosen(model: LanguageModel, rows: int) -> None:
    """Takes oneDNN where the model's products over `rows` tokens are faster by it; a short run is not asked."""
    if next(model.parameters()).device.type != "cpu" or not products.is_there():
        return
    if speeds(model, rows).by_onednn >= FASTER_PRODUCTS:
        products.choose("onednn")
        products.follow(model)


def speeds(model: LanguageModel, rows: int) -> Products:
    """How much faster bf16 and oneDNN are at the model's products over `rows` tokens, as the program measures it."""
    shapes = probe.largest(probe.shapes_of(model, rows))
    with torch.random.fork_rng(devices=[]):
        return probed_products(probe.probed(shapes), shapes)
