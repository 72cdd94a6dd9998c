"""Attention of a bf16 update on a CPU that multiplies bf16 fast: Q, K, V and what goes out in bf16, scores in fp32.

    S = scale Q K^T      oneDNN rounds the fp32 that it is given to bf16, which these are already, and returns fp32
    P = softmax(S)       in fp32, then bf16, as PyTorch's own kernel takes it to the values
    Y = P V

A block of queries at a time, against the keys that it may see: half of all for a causal text, a window of a window.
Forward and backward, 2 rows of 12 heads, 512 tokens, on an AMD EPYC (Zen 5, 2 cores): 16 ms instead of 39 by PyTorch's
kernel in fp32, whose backward pass multiplies small blocks and, in bf16, is no faster.

Shapes: B rows, H query heads, K heads of keys and values, G = H / K, N = B K, T queries, S keys, D channels of a head,
t queries of a block and s keys that it may see.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from itertools import pairwise
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

QUERIES = 128  # of a block
KEPT = 2**23  # probabilities of a layer that are kept for the backward pass; of more, all are computed again


@cache
def is_fast() -> bool:
    """Whether this processor has units for products of bf16, and PyTorch the library that uses them."""
    return torch.backends.mkldnn.is_available() and (
        torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    )


class Block(NamedTuple):
    """Queries `first` up to `last`, which may see keys `low` up to `high`; `mask`: (B, t, s), True where they do."""

    first: int
    last: int
    low: int
    high: int
    mask: Tensor


def half_attention(q: Tensor, k: Tensor, v: Tensor, mask_BTS: Tensor | None, scale: float) -> Tensor:
    """(B, H, T, D) of q (B, H, T, D), k and v (B, K, S, D), in bf16. Without a mask plain causal, T = S.

    `mask_BTS`: bool, True where attention is allowed, B or 1; each query must see a key.
    """
    q, k, v = (x.to(torch.bfloat16) for x in (q, k, v))
    return _Attention.apply(q, k, v, list(blocks(q.shape[2], k.shape[2], mask_BTS, q.device)), scale)


def blocks(T: int, S: int, mask_BTS: Tensor | None, device: torch.device) -> Iterator[Block]:
    """The blocks of queries, with the keys between the first and the last that any of a block sees."""
    seen_TS = None if mask_BTS is None else mask_BTS.view(torch.uint8).amax(0)  # of bytes it is a hundred times `any`
    for first, last in pairwise([*range(0, T, QUERIES), T]):
        if mask_BTS is None or seen_TS is None:
            causal_ts = torch.ones(last - first, last, dtype=torch.bool, device=device).tril(first)
            yield Block(first, last, 0, last, causal_ts.unsqueeze(0))
        else:
            seen = seen_TS[first:last].amax(0).nonzero()
            low, high = int(seen[0]), int(seen[-1]) + 1
            yield Block(first, last, low, high, mask_BTS[:, first:last, low:high])


@contextmanager
def exact_scores() -> Iterator[None]:
    """fp32 products by way of bf16, exact where that is what the numbers are, with sums and results in fp32."""
    settings = torch.backends.mkldnn.matmul  # type: ignore[attr-defined]
    before, settings.fp32_precision = settings.fp32_precision, "bf16"
    try:
        yield
    finally:
        settings.fp32_precision = before


def probabilities(q_NGtD: Tensor, k_NsD: Tensor, mask_Bts: Tensor, scale: float) -> Tensor:
    """(N, G t, s) in bf16."""
    (N, G, t, _), s, B = q_NGtD.shape, k_NsD.shape[1], len(mask_Bts)
    with exact_scores():
        scores = torch.bmm(q_NGtD.flatten(1, 2).float(), k_NsD.float().mT).mul_(scale)
    bias_Bts = torch.where(mask_Bts, 0.0, -torch.inf)  # added for all heads: five times as fast as filling in
    scores.view(B, N // B, G, t, s).add_(bias_Bts[:, None, None])
    return scores.softmax(-1).to(torch.bfloat16)


class _Attention(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, blocks: list[Block], scale: float) -> Tensor:
        (B, H, T, D), K = q.shape, k.shape[1]
        q_NGTD = q.reshape(B * K, H // K, T, D)
        k_NSD, v_NSD = (x.reshape(B * K, k.shape[2], D) for x in (k, v))
        kept: list[Tensor] = []
        keeps = any(ctx.needs_input_grad) and sum(q.shape[0] * H * _size(block) for block in blocks) <= KEPT
        ys = []
        with torch.autocast("cpu", enabled=False):
            for first, last, low, high, mask in blocks:
                p = probabilities(q_NGTD[:, :, first:last], k_NSD[:, low:high], mask, scale)
                ys.append(torch.bmm(p, v_NSD[:, low:high]).unflatten(1, (-1, last - first)))
                if keeps:
                    kept.append(p)
        ctx.save_for_backward(q_NGTD, k_NSD, v_NSD, *kept)
        ctx.blocks, ctx.scale = blocks, scale
        return _joined(ys).view(B, H, T, D)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_y: Tensor) -> tuple[Tensor | None, ...]:
        q_NGTD, k_NSD, v_NSD, *kept = ctx.saved_tensors
        (B, H, T, D), K = grad_y.shape, k_NSD.shape[0] // grad_y.shape[0]
        grad_NGTD = grad_y.reshape(B * K, H // K, T, D)
        grads_q, grad_k, grad_v = [], _Sum(k_NSD), _Sum(v_NSD)
        with torch.autocast("cpu", enabled=False):
            for i, (first, last, low, high, mask) in enumerate(ctx.blocks):
                q, k, v = q_NGTD[:, :, first:last], k_NSD[:, low:high], v_NSD[:, low:high]
                grad = grad_NGTD[:, :, first:last].flatten(1, 2)  # (N, G t, D)
                p = kept[i] if kept else probabilities(q, k, mask, ctx.scale)
                grad_s = torch._softmax_backward_data(torch.bmm(grad, v.mT), p, -1, p.dtype)  # (N, G t, s)
                grads_q.append(torch.bmm(grad_s, k).unflatten(1, (-1, last - first)))
                grad_k.add(torch.bmm(grad_s.mT, q.flatten(1, 2)), low, high)
                grad_v.add(torch.bmm(p.mT, grad), low, high)
        of_q, of_k = _joined(grads_q).mul_(ctx.scale), grad_k.rounded().mul_(ctx.scale)
        S = k_NSD.shape[1]
        return of_q.view(B, H, T, D), of_k.view(B, K, S, D), grad_v.rounded().view(B, K, S, D), None, None


class _Sum:
    """Of what the blocks give for each key, in fp32; a block that is the only one is taken as it is."""

    def __init__(self, like: Tensor):
        self.like = like
        self.total: Tensor | None = None

    def add(self, part: Tensor, low: int, high: int) -> None:
        if self.total is None and part.shape == self.like.shape:
            self.total = part
            return
        total = torch.zeros_like(self.like, dtype=torch.float32) if self.total is None else self.total.float()
        total[:, low:high] += part
        self.total = total

    def rounded(self) -> Tensor:
        assert self.total is not None
        return self.total.to(self.like.dtype)


def _joined(parts: list[Tensor]) -> Tensor:
    """Along the queries, (N, G, t, D) each."""
    return parts[0] if len(parts) == 1 else torch.cat(parts, dim=2)


def _size(block: Block) -> int:
    return (block.last - block.first) * (block.high - block.low)
