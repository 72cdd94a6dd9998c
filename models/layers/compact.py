"""A batch as the tokens that have to be read: without padding, and what several rows begin with only once.

    rows   p p p c c .        N = 8 tokens   p p p c c r r r
           p p p r r r

Everything in a transformer but attention looks at one token at a time, so that N tokens are enough for it. Attention
lays them out in the rows again: each token sees what it would see without this, at the same positions, through the same
window. Loss and gradients are the same but for the order of sums; a token of several rows gets the gradients of all.

Rows that may begin alike are the two of a pair, and the answers to one question (of a rollout).

Why no mask of one long row [prompt | chosen | rejected]: fused kernels leave out what causality hides, but not what a
mask hides. In two rows the prompt's own attention is computed twice, which is less than the half that is left out.

Shapes: B rows, T tokens of a row, N tokens that are read.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

WORTHWHILE = 0.95  # of a batch's places; where more than these are read, it is read as it lies


class Compact(NamedTuple):
    """Where the tokens that are read lie in the rows."""

    place_N: Tensor  # int64: of each of them, in the flat batch
    token_BT: Tensor  # int64: which of them stands at each place; any of them at padding, whose outputs nobody reads
    again_M: Tensor  # int64: places whose token stands at another place, too, as which it is read
    own_BT1: Tensor  # bool: the places that are no padding, and not among those

    def tokens(self, x_BTC: Tensor) -> Tensor:
        """(B, T, C) -> (1, N, C)."""
        return _Tokens.apply(x_BTC.flatten(0, 1), *self).unsqueeze(0)

    def rows(self, x_1NC: Tensor) -> Tensor:
        """(1, N, C) -> (B, T, C). No gradient comes back from padding."""
        return _Rows.apply(x_1NC.squeeze(0), *self).unflatten(0, self.token_BT.shape)


class _Tokens(torch.autograd.Function):
    """A selection, as `_Rows`: autograd would scatter and add, one by one, what is known to lie apart."""

    @staticmethod
    def forward(ctx, x_MC, place_N, token_BT, again_M, own_BT1):
        ctx.save_for_backward(token_BT, own_BT1)
        return x_MC.index_select(0, place_N)

    @staticmethod
    def backward(ctx, grad_NC):
        token_BT, own_BT1 = ctx.saved_tensors
        grad_MC = grad_NC.index_select(0, token_BT.flatten()).mul_(own_BT1.flatten(0, 1))
        return grad_MC, None, None, None, None


class _Rows(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x_NC, place_N, token_BT, again_M, own_BT1):
        ctx.save_for_backward(place_N, token_BT, again_M)
        return x_NC.index_select(0, token_BT.flatten())

    @staticmethod
    def backward(ctx, grad_MC):
        place_N, token_BT, again_M = ctx.saved_tensors
        grad_NC = grad_MC.index_select(0, place_N)
        if len(again_M):
            grad_NC.index_add_(0, token_BT.flatten()[again_M], grad_MC.index_select(0, again_M))
        return grad_NC, None, None, None, None


def compacted(real_BT: Tensor, ids_BT: Tensor | None = None, first_B: Tensor | None = None) -> Compact | None:
    """None where it would save next to nothing.

    Args:
        real_BT: True at real tokens; padding is on the right.
        ids_BT, first_B: which row each row may begin like, itself or one that names itself; `firsts` gives them.
    """
    own_BT, alike_BT = real_BT, None
    if ids_BT is not None and first_B is not None:
        alike_BT = ((ids_BT == ids_BT[first_B]) & real_BT & real_BT[first_B]).cumprod(1).bool()
        alike_BT &= (first_B != torch.arange(len(first_B), device=first_B.device)).unsqueeze(1)
        own_BT = real_BT & ~alike_BT
    place_N = own_BT.flatten().nonzero().squeeze(1)
    if not 0 < len(place_N) <= WORTHWHILE * real_BT.numel():
        return None
    token_BT = (own_BT.flatten().cumsum(0) - 1).clamp_min(0).view_as(own_BT)
    again_M = place_N[:0]
    if alike_BT is not None:
        token_BT = token_BT.where(~alike_BT, token_BT[first_B])
        again_M = alike_BT.flatten().nonzero().squeeze(1)
    return Compact(place_N, token_BT, again_M, own_BT.unsqueeze(2))


def firsts(group_B: Tensor) -> Tensor:
    """(B,) the first row of each row's group. Args: group_B: any numbers, the same for rows that may begin alike."""
    _, which_B = group_B.unique(return_inverse=True)
    rows_B = torch.arange(len(group_B), device=group_B.device)
    return torch.full_like(rows_B, len(rows_B)).scatter_reduce(0, which_B, rows_B, "amin")[which_B]
