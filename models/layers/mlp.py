"""The MLP of a block, in the shapes that published models have.

    swiglu          down(silu(gate(x)) * up(x))     Llama, Qwen, Mistral (Shazeer 2020, 2002.05202)
    geglu_tanh      down(gelu(gate(x)) * up(x))     Gemma, with the tanh of GPT-2 (2002.05202)
    gelu, gelu_tanh down(gelu(up(x)))               GPT-2 (Hendrycks & Gimpel 2016, 1606.08415)
    relu2           down(relu(up(x))^2)             nanochat (So et al. 2021, Primer, 2109.08668)

Shapes: C channels of the stream, I inner channels.
"""

from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.layers.autocast import in_autocast

Kind = Literal["swiglu", "geglu_tanh", "gelu", "gelu_tanh", "relu2"]
GATED = ("swiglu", "geglu_tanh")


def default_width(n_embd: int, kind: str) -> int:
    """4 C for two matrices; for the three of a gated one 8/3 C, which cost the same, up to the next multiple of 64.

    128 -> 384, 768 -> 2048, 4096 -> 10944 (Llama 2 rounds up to a multiple of 256: 11008).
    """
    return -(-8 * n_embd // (3 * 64)) * 64 if kind in GATED else 4 * n_embd


def relu2(x: Tensor) -> Tensor:
    """relu(x)^2, in the precision of x."""
    return _ReluSquared.apply(x)


class _ReluSquared(torch.autograd.Function):
    """Of a square autocast makes fp32, and of its gradient: twice the bytes, where a block is widest."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        h = F.relu(x)
        ctx.save_for_backward(h)
        return h * h

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        (h,) = ctx.saved_tensors
        return (grad * h).mul_(2)


class MLP(nn.Module):
    def __init__(self, *, n_embd: int, n_inner: int, kind: Kind, bias: bool, dropout: float):
        super().__init__()
        self.kind, self.dropout = kind, dropout
        self.gate = nn.Linear(n_embd, n_inner, bias=bias) if kind in GATED else None
        self.up = nn.Linear(n_embd, n_inner, bias=bias)
        self.down = nn.Linear(n_inner, n_embd, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        return F.dropout(self.down(self._inner(x)), self.dropout, self.training)

    def _inner(self, x: Tensor) -> Tensor:
        if self.gate is not None:
            x = in_autocast(x)
            gate = self.gate(x)
            return (F.silu(gate) if self.kind == "swiglu" else F.gelu(gate, approximate="tanh")) * self.up(x)
        if self.kind == "relu2":
            return relu2(self.up(x))
        return F.gelu(self.up(x), approximate="tanh" if self.kind == "gelu_tanh" else "none")
