"""Linear layers laid out for generation on a CPU: one token, or a few, times every weight.

A matrix times one vector is bound by reading the matrix. Measured on 2 cores of an AMD EPYC (fp32, GPT-2's shapes, sums
read 34 GB/s): F.linear 16 GB/s for one row and 10 to 14 for eight, oneDNN's packed layout 33 to 45 and 35 to 44.
It costs a second copy of the weights for as long as it is used.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import torch
from torch import Tensor, nn

WORTHWHILE = 16  # tokens after which packing has paid for itself


class PackedLinears:
    """Packed copies of a model's fp32 linear layers; `active()` puts them in the place of the originals.

    Args:
        rows: how many tokens are read at once. The weights must not change while the copies are in use.
    """

    def __init__(self, model: nn.Module, *, rows: int):
        self._forwards = [
            (layer, partial(_packed, torch.ops.mkldnn._reorder_linear_weight(layer.weight.detach(), rows), layer.bias))
            for layer in model.modules()
            if type(layer) is nn.Linear and is_packable(layer.weight)
        ]

    @contextmanager
    def active(self) -> Iterator[None]:
        for layer, forward in self._forwards:
            layer.__dict__["forward"] = forward  # hides the method; nothing of it enters a state_dict
        try:
            yield
        finally:
            for layer, _ in self._forwards:
                layer.__dict__.pop("forward", None)


def is_packable(weight: Tensor) -> bool:
    """Plain fp32 on a CPU whose PyTorch has oneDNN."""
    there = torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_reorder_linear_weight")
    return there and type(weight) is nn.Parameter and weight.device.type == "cpu" and weight.dtype == torch.float32


def _packed(weight: Tensor, bias: Tensor | None, x: Tensor) -> Tensor:
    return torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")
