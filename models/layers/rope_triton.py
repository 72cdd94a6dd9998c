"""Rotary positions on a GPU in one kernel: each channel is read once and written once, also backward.

PyTorch's own operations take nine kernels a layer and direction for queries and keys, and as many passes over memory: a
quarter of what a GPU did in an update of SFT.

Shapes: B batch, H heads, T tokens, D channels of a head.
"""

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor


class Rotated(torch.autograd.Function):
    """`Rope.forward`. The gradient of a rotation is the rotation back."""

    @staticmethod
    def forward(ctx: Any, x_BHTD: Tensor, cos_TD: Tensor, sin_TD: Tensor, positions: Tensor | None) -> Tensor:
        ctx.tables = (cos_TD, sin_TD, positions)
        return turned(x_BHTD, *ctx.tables, back=False)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad_BHTD: Tensor) -> tuple[Tensor, None, None, None]:
        return turned(grad_BHTD, *ctx.tables, back=True), None, None, None


def turned(x_BHTD: Tensor, cos_TD: Tensor, sin_TD: Tensor, positions: Tensor | None, *, back: bool) -> Tensor:
    """Each pair of channels (i, i + D/2) by its angle, in fp32 inside; the heads of a token lie side by side then.

    Args:
        cos_TD, sin_TD: fp32 tables by position, sin_TD negative in its first half. positions: (T,), (B, T), or None for
            0..T-1. back: the other way round.
    """
    x = x_BHTD if x_BHTD.stride(-1) == 1 else x_BHTD.contiguous()
    B, H, T, D = x.shape
    out = x.new_empty(B, T, H, D).transpose(1, 2)
    if positions is None:
        assert len(cos_TD) >= T, "more tokens than the table has positions"
        positions_T, per_row = cos_TD, 0  # not looked at
    else:
        positions_T = positions.contiguous()
        per_row = T if positions.dim() == 2 and len(positions) > 1 else 0
    _kernel[(B * T,)](
        x, out, cos_TD, sin_TD, positions_T, T, H, x.stride(0), x.stride(1), x.stride(2), out.stride(0), per_row,
        -1.0 if back else 1.0, POSITIONS=positions is not None, D=D, HALF=triton.next_power_of_2(D // 2),
        HEADS=triton.next_power_of_2(H), num_warps=4,
    )  # fmt: skip
    return out


@triton.jit
def _kernel(
    x, out, cos, sin, positions, T, H, x_row, x_head, x_token, out_row, per_row, way,
    POSITIONS: tl.constexpr, D: tl.constexpr, HALF: tl.constexpr, HEADS: tl.constexpr,
):  # fmt: skip
    row = (tl.program_id(0) // T).to(tl.int64)
    token = (tl.program_id(0) % T).to(tl.int64)
    position = token
    if POSITIONS:
        position = tl.load(positions + row * per_row + token)
    pair = tl.arange(0, HALF)[None, :]
    head = tl.arange(0, HEADS)[:, None].to(tl.int64)
    there = (pair < D // 2) & (head < H)
    c = tl.load(cos + position * D + pair, mask=pair < D // 2, other=0.0)
    s = tl.load(sin + position * D + D // 2 + pair, mask=pair < D // 2, other=0.0) * way
    # rounded as the plain way does
    c, s = c.to(x.dtype.element_ty).to(tl.float32), s.to(x.dtype.element_ty).to(tl.float32)
    first = x + row * x_row + head * x_head + token * x_token + pair
    a = tl.load(first, mask=there, other=0.0).to(tl.float32)
    b = tl.load(first + D // 2, mask=there, other=0.0).to(tl.float32)
    to = out + row * out_row + (token * H + head) * D + pair
    tl.store(to, a * c - b * s, mask=there)
    tl.store(to + D // 2, b * c + a * s, mask=there)
