"""Softmax, loss and slope of a chunk of logits on a GPU, in place: each logit is read twice and written once.

What PyTorch does in a pass of its own for each of copy, softmax, two maxima, scatter and rounding (28 bytes a logit in
16 bits) is one kernel here (6 bytes). As Liger's kernel (Hsu et al., https://arxiv.org/abs/2410.10989) it leaves the
gradient where the logits were.

Shapes: n tokens, V vocabulary.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from batch import IGNORE

BLOCK = 8192  # logits at a time; a row of 50,257 takes seven


def nll_and_slope_(logits_nV: Tensor, targets_n: Tensor, *, vocab: int, softcap: float | None) -> Tensor:
    """Loss of each target (n,), fp32; the logits become softmax - onehot(target), times the cap's slope.

    Args:
        logits_nV: contiguous; columns from `vocab` on are padding, and become 0.
        targets_n: `IGNORE` is no target: its loss is 0, its row in the logits means nothing. The loss of any other id
            outside the vocabulary is no number.
    """
    targets_n = targets_n.contiguous()
    nll_n = torch.empty(len(targets_n), dtype=torch.float32, device=logits_nV.device)
    cap = 0.0 if softcap is None else float(softcap)
    grid, width = (len(targets_n),), logits_nV.shape[1]
    _kernel[grid](
        logits_nV, targets_n, nll_n, vocab, width, IGNORE, cap, CAPPED=softcap is not None, BLOCK=BLOCK, num_warps=16
    )
    return nll_n


@triton.jit
def _kernel(logits, targets, nll, vocab, width, ignore, cap, CAPPED: tl.constexpr, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    target = tl.load(targets + row)
    logits += row * width
    picked = 0.0  # the target's logit, gathered on the way: a load of its own might come after the stores below
    largest = tl.full((BLOCK,), float("-inf"), tl.float32)  # of each lane, over the blocks so far
    total = tl.zeros((BLOCK,), tl.float32)
    for start in range(0, vocab, BLOCK):
        columns = start + tl.arange(0, BLOCK)
        x = tl.load(logits + columns, mask=columns < vocab, other=float("-inf")).to(tl.float32)
        if CAPPED:
            x = tl.where(columns < vocab, cap * _tanh(x / cap), float("-inf"))
        picked += tl.sum(tl.where(columns == target, x, 0.0), 0)
        above = tl.maximum(largest, x)
        # a lane that has seen nothing yet: -inf - -inf would be no number
        total = total * tl.where(largest == above, 1.0, tl.exp(largest - above)) + tl.where(
            x == float("-inf"), 0.0, tl.exp(x - above)
        )
        largest = above
    top = tl.max(largest, 0)
    spread = tl.log(tl.sum(tl.where(total == 0.0, 0.0, total * tl.exp(largest - top)), 0))  # logsumexp - top

    loss = tl.where((target >= 0) & (target < vocab), (top - picked) + spread, float("nan"))
    tl.store(nll + row, tl.where(target == ignore, 0.0, loss))

    for start in range(0, width, BLOCK):
        columns = start + tl.arange(0, BLOCK)
        x = tl.load(logits + columns, mask=columns < width, other=0.0).to(tl.float32)
        slope = 1.0
        if CAPPED:
            bent = _tanh(x / cap)
            x, slope = cap * bent, 1.0 - bent * bent
        delta = (tl.exp((x - top) - spread) - tl.where(columns == target, 1.0, 0.0)) * slope
        tl.store(logits + columns, tl.where(columns < vocab, delta, 0.0), mask=columns < width)


@triton.jit
def _tanh(x):
    """2 sigmoid(2x) - 1: Triton has no tanh of its own."""
    return 2.0 * tl.sigmoid(2.0 * x) - 1.0
