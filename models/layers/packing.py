"""Linear layers laid out for generation on a CPU: one token, or a few, times every weight.

A matrix times one vector is bound by reading the matrix. Measured on 2 cores of an AMD EPYC (fp32, GPT-2's shapes, sums
read 45 to 51 GB/s), in GB/s: F.linear 16 for one row and 8 to 14 for eight; the same rows as a batch of matrices, which
MKL shares out among threads, 29 to 42 for one row; oneDNN's packed layout 28 to 37 for one row and 31 to 42 for eight.
So one row takes slices of the weights as they lie, more rows a second, packed copy for as long as they are generated.

Where one row reads a few tokens now and then (speculative decoding), those take the packed copy, made when they first
come: of slices times a few tokens MKL made between 16 and 3 GB/s, shape by shape. Its prompts are read without.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from models.layers.products import is_plain

WORTHWHILE = 16  # tokens after which packing has paid for itself
SLICES = 4


class Replaced:
    """Other ways to compute some layers, each with its way. The weights must not change while they are in use."""

    def __init__(self, forwards: list[tuple[nn.Linear, Callable[[Tensor], Tensor]]]):
        self._forwards = forwards

    def put(self) -> None:
        """In the place of the layers' own."""
        for layer, forward in self._forwards:
            layer.__dict__["forward"] = forward  # hides the method; nothing of it enters a state_dict

    def take_away(self) -> None:
        for layer, _ in self._forwards:
            layer.__dict__.pop("forward", None)

    @contextmanager
    def active(self) -> Iterator[None]:
        self.put()
        try:
            yield
        finally:
            self.take_away()


class PackedLinears(Replaced):
    """Packed copies of a model's fp32 linear layers, but of those that are replaced already (models/layers/narrow.py).

    Args:
        rows: how many tokens are read at once; with 1, sometimes more.
    """

    def __init__(self, model: nn.Module, *, rows: int):
        self.rows = rows
        super().__init__(
            [
                (layer, _sliced(layer) if rows == 1 and torch.backends.mkl.is_available() else _packed(layer, rows))
                for layer in model.modules()
                if is_plain(layer) and is_packable(layer.weight) and "forward" not in layer.__dict__
            ]
        )


def is_packable(weight: Tensor) -> bool:
    """Plain fp32 on a CPU whose PyTorch has oneDNN."""
    there = torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_reorder_linear_weight")
    return there and type(weight) is nn.Parameter and weight.device.type == "cpu" and weight.dtype == torch.float32


def _packed(layer: nn.Linear, rows: int) -> Callable[[Tensor], Tensor]:
    weight = torch.ops.mkldnn._reorder_linear_weight(layer.weight.detach(), rows)
    return lambda x: torch.ops.mkldnn._linear_pointwise(x, weight, layer.bias, "none", [], "")


def _sliced(layer: nn.Linear) -> Callable[[Tensor], Tensor]:
    """For one token. What is left over when the outputs are cut into SLICES, as of 50,257 words, is done by itself.

    Several tokens take a packed copy, made when they first come.
    """
    weight, (n_out, n_in) = layer.weight.detach(), layer.weight.shape
    even = n_out - n_out % SLICES
    slices, rest = weight[:even].view(SLICES, -1, n_in), weight[even:]
    packed: list[Callable[[Tensor], Tensor]] = []

    def forward(x: Tensor) -> Tensor:
        if (n := x.numel() // n_in) > 1:
            if not packed:
                packed.append(_packed(layer, n))
            return packed[0](x)
        # transposed from a row, not a view with strides of 1: bmm would take a way three times as slow
        out = torch.bmm(slices, x.view(1, n_in).t().expand(SLICES, -1, -1)).view(even)
        if even < n_out:
            out = torch.cat([out, torch.mv(rest, x.view(n_in))])
        return (out if layer.bias is None else out.add_(layer.bias)).view(*x.shape[:-1], n_out)

    return forward
