"""The library behind fp32 products on a CPU: PyTorch's own (MKL on x86), or oneDNN, by which some are faster.

MKL knows AVX-512 on processors of Intel only. 1,024 rows with GPT-2's weights on two cores of an AMD EPYC (Zen 4), in
GFLOP/s: a layer 121 to 190 by MKL and 184 to 211 by oneDNN, the head 113 and 205, the gradient of what comes in 174 to
196 and 176 to 209. The gradient of a weight is a product of two transposed matrices, which MKL takes as they lie (175
to 198; oneDNN 158 to 176): it stays there. No weight is packed: that gave 0 to 12 % more, and costs a copy each update.

Shapes: x (..., K), weight (N, K), y (..., N).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal, TypeGuard

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

Library = Literal["torch", "onednn"]

SMALLEST = 64  # of rows and both sides of a weight, below which the way to the product costs more than it
_library: Library = "torch"  # of this process, as its number of threads is


def chosen() -> Library:
    return _library


def choose(library: Library) -> None:
    """From now on, in this process; layers take it after `follow`."""
    global _library
    _library = library


@contextmanager
def by(library: Library) -> Iterator[None]:
    before = chosen()
    choose(library)
    try:
        yield
    finally:
        choose(before)


class Linear(nn.Linear):
    """A linear layer by the library that was chosen."""

    def forward(self, x: Tensor) -> Tensor:
        if _takes(x, self.weight):
            return _Product.apply(x, self.weight, self.bias)
        return super().forward(x)


def follow(module: nn.Module) -> None:
    """Makes the plain linear layers of a network such that take the chosen library; nothing else of them changes."""
    for layer in module.modules():
        if type(layer) is nn.Linear:
            layer.__class__ = Linear


def is_plain(layer: nn.Module) -> TypeGuard[nn.Linear]:
    """Whether a layer is a linear one and nothing more."""
    return type(layer) in (nn.Linear, Linear)


def product(x: Tensor, weight: Tensor) -> Tensor:
    """x weight^T, without a gradient."""
    return by_onednn(x, weight, None) if _takes(x, weight) else F.linear(x, weight)


def is_there() -> bool:
    return torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")


def _takes(x: Tensor, weight: Tensor) -> bool:
    return (
        _library == "onednn"
        and x.dtype == weight.dtype == torch.float32
        and x.device.type == "cpu"
        and min(*weight.shape, x.numel() // x.shape[-1]) >= SMALLEST
        and not torch.is_autocast_enabled("cpu")
        and not torch.compiler.is_compiling()
        and is_there()
    )


def by_onednn(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """x weight^T + bias, without a gradient; of any strides."""
    return torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")


class _Product(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        wants_x, wants_weight = ctx.needs_input_grad[:2]
        ctx.save_for_backward(x if wants_weight else None, weight if wants_x else None)
        return by_onednn(x, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_y: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        x, weight = ctx.saved_tensors
        grad_MN = grad_y.reshape(-1, grad_y.shape[-1])
        grad_x = None if weight is None else by_onednn(grad_y, weight.t(), None)
        grad_weight = None if x is None else grad_MN.t() @ x.reshape(-1, x.shape[-1])
        return grad_x, grad_weight, grad_MN.sum(0) if ctx.needs_input_grad[2] else None
