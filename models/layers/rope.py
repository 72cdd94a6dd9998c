"""Rotary position embedding: position m turns each pair of channels by an angle m * theta_i (RoFormer, 2104.09864).

The pairs are (i, i + D/2), as in Llama and GPT-NeoX checkpoints, not (2i, 2i + 1) as in the paper: the same up to a
permutation of channels. nanochat turns the other way round: the same with the two halves of each head swapped.

Longer contexts than a model was trained for: the angles are scaled, by one of the published rules below.

Shapes: T positions, D channels of a head.
"""

import math
from typing import Literal

import torch
from torch import Tensor, nn

from models.layers.kernels import has_kernel

Scaling = Literal["none", "linear", "llama3", "yarn"]

# YaRN, section 3.2: channels that turn more than 32 times in the trained context stay, fewer than 1 are interpolated.
YARN_FAST, YARN_SLOW = 32.0, 1.0


def frequencies(head_dim: int, base: float) -> Tensor:
    """Radians per position of each pair, (D/2,), from 1 down to about 1 / base."""
    return base ** (-torch.arange(0, head_dim, 2, dtype=torch.float32) / head_dim)


def linear_scaling(frequency: Tensor, *, factor: float) -> Tensor:
    """All positions pressed together by `factor` (position interpolation, 2306.15595)."""
    return frequency / factor


def llama3_scaling(frequency: Tensor, *, factor: float, trained_len: int, low: float, high: float) -> Tensor:
    """Slow channels are pressed together, fast ones stay, a line between (Llama 3.1, 2407.21783).

    A channel is slow if it turns fewer than `low` times in the trained context, fast if more than `high` times.
    """
    turns = trained_len * frequency / (2 * math.pi)
    share = ((turns - low) / (high - low)).clamp(0, 1)  # of the unscaled frequency
    return (1 - share) * frequency / factor + share * frequency


def yarn_scaling(frequency: Tensor, *, factor: float, trained_len: int, base: float) -> tuple[Tensor, float]:
    """Interpolated by parts, and the factor on cosine and sine (YaRN, 2309.00071, equations 22 and 23)."""
    D = 2 * len(frequency)

    def channel(turns: float) -> float:
        """The pair that turns so many times in the trained context."""
        return D * math.log(trained_len / (turns * 2 * math.pi)) / (2 * math.log(base))

    low, high = max(math.floor(channel(YARN_FAST)), 0), min(math.ceil(channel(YARN_SLOW)), D - 1)
    ramp = ((torch.arange(D // 2, dtype=torch.float32) - low) / ((high - low) or 0.001)).clamp(0, 1)
    return frequency / factor * ramp + frequency * (1 - ramp), 0.1 * math.log(max(factor, 1.0)) + 1.0


class Rope(nn.Module):
    """Rotates queries and keys, (B, H, T, D), by their positions. Holds no parameters, saves nothing.

    Args:
        head_dim: channels of a head, even. seq_len: positions in the table. base: period of the slowest pair / 2 pi.
        scaling: none, linear, llama3 or yarn. factor: how much longer than `trained_len` the context gets.
        low, high: of llama3's rule.
    """

    cos_TD: Tensor
    sin_TD: Tensor

    def __init__(
        self,
        *,
        head_dim: int,
        seq_len: int,
        base: float = 10_000.0,
        scaling: Scaling = "none",
        factor: float = 1.0,
        trained_len: int | None = None,
        low: float = 1.0,
        high: float = 4.0,
    ):
        super().__init__()
        frequency, scale = frequencies(head_dim, base), 1.0
        trained_len = seq_len if trained_len is None else trained_len
        if scaling == "linear":
            frequency = linear_scaling(frequency, factor=factor)
        elif scaling == "llama3":
            frequency = llama3_scaling(frequency, factor=factor, trained_len=trained_len, low=low, high=high)
        elif scaling == "yarn":
            frequency, scale = yarn_scaling(frequency, factor=factor, trained_len=trained_len, base=base)
        angle = torch.outer(torch.arange(seq_len, dtype=torch.float32), frequency)  # (T, D/2)
        self.register_buffer("cos_TD", scale * torch.cat([angle.cos()] * 2, dim=-1), persistent=False)
        self.register_buffer("sin_TD", scale * torch.cat([-angle.sin(), angle.sin()], dim=-1), persistent=False)

    def forward(self, x_BHTD: Tensor, positions_T: Tensor | None = None) -> Tensor:
        """`positions_T`: (T,) or (B, T) positions; None means 0..T-1."""
        # compiled, it is one kernel with what stands beside
        if not torch.compiler.is_compiling() and has_kernel(x_BHTD):
            from models.layers.rope_triton import Rotated

            return Rotated.apply(x_BHTD, self.cos_TD, self.sin_TD, positions_T)
        T = x_BHTD.shape[2]
        cos, sin = (self.cos_TD[:T], self.sin_TD[:T]) if positions_T is None else self._at(positions_T)
        swapped = x_BHTD.roll(x_BHTD.shape[-1] // 2, dims=-1)  # (x2, x1)
        return x_BHTD * cos.to(x_BHTD.dtype) + swapped * sin.to(x_BHTD.dtype)

    def turned_back(self, x_BHTD: Tensor, by: int) -> Tensor:
        """Rotated queries or keys as if each stood `by` positions earlier: angles add up."""
        cos, sin = self.cos_TD[by] / self.cos_TD[0], self.sin_TD[by] / self.cos_TD[0]  # without the scale of YaRN
        swapped = x_BHTD.roll(x_BHTD.shape[-1] // 2, dims=-1)
        return x_BHTD * cos.to(x_BHTD.dtype) - swapped * sin.to(x_BHTD.dtype)

    def _at(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        cos, sin = self.cos_TD[positions], self.sin_TD[positions]
        return (cos.unsqueeze(1), sin.unsqueeze(1)) if positions.dim() == 2 else (cos, sin)
