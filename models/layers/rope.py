"""Rotary position embedding: position m turns each pair of channels by an angle m * theta_i (RoFormer, 2104.09864).

The pairs are (i, i + D/2), as in Llama and GPT-NeoX checkpoints, not (2i, 2i + 1) as in the paper: the same up to a
permutation of channels.
"""

import torch
from torch import Tensor, nn


class Rope(nn.Module):
    """Rotates queries and keys, (B, H, T, D), by their positions. Holds no parameters, saves nothing."""

    cos_TD: Tensor
    sin_TD: Tensor

    def __init__(self, *, head_dim: int, seq_len: int, base: float = 10_000.0):
        super().__init__()
        frequency = base ** (-torch.arange(0, head_dim, 2, dtype=torch.float32) / head_dim)  # (D/2,)
        angle = torch.outer(torch.arange(seq_len, dtype=torch.float32), frequency)  # (T, D/2)
        self.register_buffer("cos_TD", torch.cat([angle.cos()] * 2, dim=-1), persistent=False)
        self.register_buffer("sin_TD", torch.cat([-angle.sin(), angle.sin()], dim=-1), persistent=False)

    def forward(self, x_BHTD: Tensor, positions_T: Tensor | None = None) -> Tensor:
        """`positions_T`: (T,) or (B, T) positions; None means 0..T-1."""
        T = x_BHTD.shape[2]
        cos, sin = (self.cos_TD[:T], self.sin_TD[:T]) if positions_T is None else self._at(positions_T)
        swapped = x_BHTD.roll(x_BHTD.shape[-1] // 2, dims=-1)  # (x2, x1)
        return x_BHTD * cos.to(x_BHTD.dtype) + swapped * sin.to(x_BHTD.dtype)

    def _at(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        cos, sin = self.cos_TD[positions], self.sin_TD[positions]
        return (cos.unsqueeze(1), sin.unsqueeze(1)) if positions.dim() == 2 else (cos, sin)
