"""Normalisation, each kind with or without parameters.

Shapes: C channels (the last dimension).
"""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def rms_norm(x: Tensor) -> Tensor:
    """x / root mean square over the last dimension (1910.07467), without gain, as nanochat has it."""
    return F.rms_norm(x, x.shape[-1:])


class RMSNorm(nn.Module):
    """x / root mean square, times a gain if it has one (Zhang & Sennrich 2019, 1910.07467)."""

    def __init__(self, n_embd: int, *, eps: float | None, weight: bool = True):
        super().__init__()
        self.n_embd, self.eps = n_embd, eps
        self.weight = nn.Parameter(torch.ones(n_embd)) if weight else None

    def forward(self, x: Tensor) -> Tensor:
        gain = None if self.weight is None else self.weight.to(x.dtype)
        return F.rms_norm(x, (self.n_embd,), gain, self.eps)  # inside, the mean square is taken in fp32


class LayerNorm(nn.Module):
    """(x - mean) / standard deviation, with gain and bias if it has them (Ba et al. 2016, 1607.06450)."""

    def __init__(self, n_embd: int, *, eps: float, weight: bool = True, bias: bool = True):
        super().__init__()
        self.n_embd, self.eps = n_embd, eps
        self.weight = nn.Parameter(torch.ones(n_embd)) if weight else None
        self.bias = nn.Parameter(torch.zeros(n_embd)) if bias and weight else None

    def forward(self, x: Tensor) -> Tensor:
        return F.layer_norm(x, (self.n_embd,), self.weight, self.bias, self.eps)


def make_norm(n_embd: int, *, kind: Literal["rms", "layer"], weight: bool, bias: bool, eps: float) -> nn.Module:
    if kind == "rms":
        return RMSNorm(n_embd, eps=eps, weight=weight)
    return LayerNorm(n_embd, eps=eps, weight=weight, bias=bias)
