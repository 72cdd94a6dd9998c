"""Cross-entropy over a vocabulary without ever holding all the logits.

A batch of N tokens and a vocabulary of V needs (N, V) logits, softmax and gradient: 600 MB for 1,024 tokens of GPT-2.
Here the head and the loss are one function that walks over the tokens in chunks and, when a gradient will be asked for,
computes it while the chunk's logits are at hand. Cost: the same three matrix products as the plain way, one chunk of
logits in memory. On a GPU one kernel does what lies between the products (models/layers/loss_triton.py).

Shapes: N tokens, C channels, V vocabulary.
"""

from typing import Any

import torch
from torch import Tensor
from torch._compile import _disable_dynamo

from batch import IGNORE
from models.layers.autocast import in_autocast
from models.layers.kernels import HAS_TRITON, has_kernel
from models.layers.products import product

# Elements of one chunk of logits. Measured on 2 CPU cores with V = 50,257: below 4M the matrix products lose speed,
# above 32M the chunk leaves the cache; a GPU wants fewer and larger products.
CHUNK_ELEMENTS = {"cpu": 8 * 2**20, "cuda": 256 * 2**20}
# Elements that softmax and its slope pass over while they are in a CPU's cache. In bf16, head and loss of 676 tokens
# with 50,257 ids took 252 ms with whole chunks, whose fp32 went to memory and back six times, and 103 so.
SLICE_ELEMENTS = 2**20
# A GPU multiplies 16-bit matrices five to eight times as slowly where rows are no multiple of 16 bytes: head and loss
# of 32,768 tokens took 84 ms on an H100 with 50,257 ids, 33 with 50,304. The head is padded; no probability gets there.
ALIGNED = 64
# Elements in 16 bits that wait for each other until the head's gradient is made of them.
WAIT_ELEMENTS = 32 * 2**20
# Elements of slopes that `linear_token_nll` keeps for its backward pass; what is beyond is computed again.
KEEP_ELEMENTS = {"cpu": 96 * 2**20, "cuda": 512 * 2**20}


def linear_cross_entropy(
    hidden_NC: Tensor,
    weight_VC: Tensor,
    targets_N: Tensor,
    *,
    softcap: float | None = None,
    weights_N: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Summed negative log-likelihood of the targets under softmax(hidden @ weight.T).

    Args:
        hidden_NC: final hidden states.
        weight_VC: the output head (tied or not).
        targets_N: token ids; `IGNORE` (-100) where no loss is wanted.
        softcap: if given, logits become softcap * tanh(logits / softcap) (Gemma 2, https://arxiv.org/abs/2408.00118).
        weights_N: weight of each token in the sum (default 1).

    Returns:
        loss: () weighted sum over the tokens, in nats; differentiable.
        nll_N: unweighted loss of each token, detached; 0 where the target is `IGNORE`.
    """
    hidden_NC = in_autocast(hidden_NC)  # the head follows within: so its gradient stays in its own precision
    with torch.autocast(hidden_NC.device.type, enabled=False):
        return _called(_LinearCrossEntropy, hidden_NC, weight_VC, targets_N, weights_N, softcap)


def sparse_cross_entropy(
    hidden_NC: Tensor,
    weight_VC: Tensor,
    targets_N: Tensor,
    *,
    softcap: float | None = None,
    weights_N: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """`linear_cross_entropy` where most targets are `IGNORE`: only the others meet the head."""
    counted = (targets_N != IGNORE).nonzero().squeeze(-1)  # (n,)
    loss, nll_n = linear_cross_entropy(
        hidden_NC[counted],
        weight_VC,
        targets_N[counted],
        softcap=softcap,
        weights_N=None if weights_N is None else weights_N[counted],
    )
    return loss, nll_n.new_zeros(len(targets_N)).index_put((counted,), nll_n)


def linear_token_nll(
    hidden_NC: Tensor, weight_VC: Tensor, targets_N: Tensor, *, softcap: float | None = None
) -> Tensor:
    """Negative log-likelihood of each target, (N,) fp32, differentiable one by one.

    For losses that are no weighted sum of tokens (preferences): what each token weighs is known only after all of them.
    Arguments as `linear_cross_entropy`.
    """
    hidden_NC = in_autocast(hidden_NC)  # the head follows within: so its gradient stays in its own precision
    with torch.autocast(hidden_NC.device.type, enabled=False):
        return _called(_LinearTokenNLL, hidden_NC, weight_VC, targets_N, softcap)


def _called(function: type[torch.autograd.Function], hidden_NC: Tensor, *others: Any) -> Any:
    """On a GPU outside what torch.compile compiles: the kernel is quicker than what comes of the plain way."""
    if torch.compiler.is_compiling() and HAS_TRITON and hidden_NC.is_cuda:
        return _uncompiled(function, hidden_NC, *others)
    return function.apply(hidden_NC, *others)


@_disable_dynamo  # torch.compiler.disable imports the compiler at once, two seconds of each start
def _uncompiled(function: type[torch.autograd.Function], *inputs: Any) -> Any:
    return function.apply(*inputs)


class _LinearTokenNLL(torch.autograd.Function):
    """Keeps the slopes of the first chunks, up to `KEEP_ELEMENTS`; a third more work for each chunk beyond."""

    @staticmethod
    def forward(ctx, hidden_NC, weight_VC, targets_N, softcap):
        ctx.weight_dtype, ctx.vocab, weight_VC = weight_VC.dtype, len(weight_VC), _padded(weight_VC, hidden_NC)
        nll_N = torch.empty(len(targets_N), dtype=_exact(hidden_NC), device=hidden_NC.device)
        graded = any(ctx.needs_input_grad)
        room = KEEP_ELEMENTS.get(hidden_NC.device.type, KEEP_ELEMENTS["cpu"]) if graded else 0
        ctx.kept = []
        for rows in _chunks(len(targets_N), weight_VC):
            delta, nll_N[rows] = _chunk(hidden_NC[rows], weight_VC, targets_N[rows], softcap, ctx.vocab, graded=graded)
            room -= delta.numel()
            if room >= 0:
                ctx.kept.append(delta)
        ctx.save_for_backward(hidden_NC, weight_VC, targets_N)
        ctx.softcap = softcap
        return nll_N

    @staticmethod
    def backward(ctx, grad_N):
        hidden_NC, weight_VC, targets_N = ctx.saved_tensors
        wants_hidden, wants_weight = ctx.needs_input_grad[:2]
        kept, ctx.kept = ctx.kept, []  # used up: a second backward pass computes them again
        grad_NC = torch.empty_like(hidden_NC) if wants_hidden else None
        head = _HeadGradient(weight_VC) if wants_weight else None
        for i, rows in enumerate(_chunks(len(targets_N), weight_VC)):
            hidden, targets = hidden_NC[rows], targets_N[rows]
            if i < len(kept):
                delta, kept[i] = kept[i], None  # (n, V)
            else:
                delta, _ = _chunk(hidden, weight_VC, targets, ctx.softcap, ctx.vocab)
            weights = _weights(targets, grad_N[rows], grad_N.dtype)
            if grad_NC is not None:
                torch.mm(delta, weight_VC, out=grad_NC[rows]).mul_(weights)
            if head is not None:
                head.add(delta, (hidden * weights).to(hidden.dtype))
        return grad_NC, None if head is None else head.sum()[: ctx.vocab].to(ctx.weight_dtype), None, None


class _LinearCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(ctx, hidden_NC, weight_VC, targets_N, weights_N, softcap):
        wants_hidden, wants_weight = ctx.needs_input_grad[:2]
        ctx.weight_dtype, vocab, weight_VC = weight_VC.dtype, len(weight_VC), _padded(weight_VC, hidden_NC)
        nll_N = torch.empty(len(targets_N), dtype=_exact(hidden_NC), device=hidden_NC.device)
        grad_NC = torch.empty_like(hidden_NC) if wants_hidden else None
        head = _HeadGradient(weight_VC) if wants_weight else None
        for rows in _chunks(len(targets_N), weight_VC):
            hidden, targets = hidden_NC[rows], targets_N[rows]
            graded = wants_hidden or wants_weight
            delta, nll_N[rows] = _chunk(hidden, weight_VC, targets, softcap, vocab, graded=graded)
            if not graded:
                continue
            weights = _weights(targets, None if weights_N is None else weights_N[rows], nll_N.dtype)
            if grad_NC is not None:
                torch.mm(delta, weight_VC, out=grad_NC[rows]).mul_(weights)
            if head is not None:
                head.add(delta, (hidden * weights).to(hidden.dtype))
        ctx.save_for_backward(grad_NC, None if head is None else head.sum()[:vocab])
        ctx.mark_non_differentiable(nll_N)
        loss = nll_N.sum() if weights_N is None else (nll_N * weights_N).sum()
        return loss, nll_N

    @staticmethod
    def backward(ctx, grad_loss, _):
        # In place: a copy of the head's gradient costs GPT-2 154 MB and 4 % of its step. A second backward pass
        # (retain_graph) is refused by autograd, which notices that what it saved has been changed.
        grad_NC, grad_VC = ctx.saved_tensors
        grad_NC = None if grad_NC is None else grad_NC.mul_(grad_loss)
        grad_VC = None if grad_VC is None else grad_VC.mul_(grad_loss).to(ctx.weight_dtype)
        return grad_NC, grad_VC, None, None, None


def _padded(weight_VC: Tensor, hidden_NC: Tensor) -> Tensor:
    """The head in the precision of the hidden states; on a GPU with rows of zeros up to a multiple of `ALIGNED`."""
    vocab, channels = weight_VC.shape
    if not hidden_NC.is_cuda or vocab % ALIGNED == 0:
        return weight_VC.to(hidden_NC.dtype)
    padded = hidden_NC.new_zeros(-(-vocab // ALIGNED) * ALIGNED, channels)
    padded[:vocab] = weight_VC
    return padded


def _chunk(
    hidden_nC: Tensor,
    weight_VC: Tensor,
    targets_n: Tensor,
    softcap: float | None,
    vocab: int,
    *,
    graded: bool = True,
) -> tuple[Tensor, Tensor]:
    """What the loss of each token grows by with each of its logits (n, V), rounded as hidden states are; its loss (n,).

    The slope is softmax - onehot(target), through the cap if there is one; rows without a target mean nothing, nor does
    any where none is asked for (`graded`).
    """
    logits = product(hidden_nC, weight_VC)  # (n, V)
    if has_kernel(logits):
        from models.layers.loss_triton import nll_and_slope_

        return logits, nll_and_slope_(logits, targets_n, vocab=vocab, softcap=softcap)
    nll_n = torch.empty(len(targets_n), dtype=_exact(logits), device=logits.device)
    for rows in _slices(logits):
        slope, nll_n[rows] = _slope(logits[rows], targets_n[rows], softcap, vocab, graded=graded)
        if slope is not None:
            logits[rows] = slope
    return logits, nll_n


def _slices(logits_nV: Tensor) -> list[slice]:
    """Rows that are passed over together: all, but on a CPU those that its cache holds."""
    n, vocab = logits_nV.shape
    if logits_nV.device.type != "cpu" or torch.compiler.is_compiling():
        return [slice(0, n)]
    rows = max(1, SLICE_ELEMENTS // vocab)
    return [slice(first, first + rows) for first in range(0, n, rows)]


def _slope(
    logits_nV: Tensor, targets_n: Tensor, softcap: float | None, vocab: int, *, graded: bool
) -> tuple[Tensor | None, Tensor]:
    """Of these rows, in fp32, where it is asked for; and their loss."""
    logits, capped = logits_nV.to(_exact(logits_nV)), None
    if softcap is not None:
        capped = torch.tanh(logits / softcap)  # d softcap*tanh(x/softcap) / dx = 1 - tanh^2
        logits = capped * softcap
    if vocab < logits.shape[1]:
        logits[:, vocab:] = -torch.inf
    probs, nll_n = _softmax_and_nll(logits, targets_n)
    return _logit_gradient(probs, targets_n, capped) if graded else None, nll_n


def _exact(x: Tensor) -> torch.dtype:
    """What sums are held in: fp32, or fp64 where that is what comes."""
    return torch.promote_types(x.dtype, torch.float32)


def _chunks(n: int, weight_VC: Tensor) -> list[slice]:
    """Rows of each chunk, as many in one as in the other: a last one of a few would cost as much as a whole one."""
    budget = CHUNK_ELEMENTS.get(weight_VC.device.type, CHUNK_ELEMENTS["cpu"])
    count = -(-n // max(64, budget // len(weight_VC)))
    return [slice(n * i // count, n * (i + 1) // count) for i in range(count)]


def _softmax_and_nll(logits_nV: Tensor, targets_n: Tensor) -> tuple[Tensor, Tensor]:
    """Probabilities and the loss of each target, from one pass of softmax.

    logsumexp comes from the largest entry (largest logit minus log of its probability), whose probability cannot
    underflow as the target's can. Two amax without their places take a third of the time of one max with them.
    """
    ignored = targets_n == IGNORE
    probs = logits_nV.softmax(-1)
    logsumexp = logits_nV.amax(-1, keepdim=True) - probs.amax(-1, keepdim=True).log()  # (n, 1)
    picked = logits_nV.gather(-1, targets_n.masked_fill(ignored, 0).unsqueeze(-1))
    return probs, (logsumexp - picked).squeeze(-1).masked_fill_(ignored, 0.0)


def _logit_gradient(probs_nV: Tensor, targets_n: Tensor, slope_nV: Tensor | None) -> Tensor:
    """softmax - onehot(target), in place, through the cap if there is one; what a target weighs is left to others."""
    minus_one = probs_nV.new_full((len(targets_n), 1), -1.0)
    probs_nV.scatter_add_(-1, targets_n.clamp_min(0).unsqueeze(-1), minus_one)
    return probs_nV if slope_nV is None else probs_nV.mul_(slope_nV.square_().neg_().add_(1))


def _weights(targets_n: Tensor, weights_n: Tensor | None, dtype: torch.dtype) -> Tensor:
    """(n, 1) of each target, 0 where it is ignored. They scale what has C columns, not the logits with V."""
    counted = targets_n != IGNORE
    return (counted if weights_n is None else counted * weights_n).to(dtype).unsqueeze(-1)


class _HeadGradient:
    """The sum over chunks of delta^T hidden, (V, C).

    In 16 bits several chunks wait for each other, and one product is made of them: each that is added in fp32 takes two
    passes more over (V, C), a tenth of the head's time.
    """

    def __init__(self, weight_VC: Tensor):
        self.weight_VC = weight_VC
        self.sum_VC: Tensor | None = None
        self.waiting: list[tuple[Tensor, Tensor]] = []

    def add(self, delta_nV: Tensor, hidden_nC: Tensor) -> None:
        self.waiting.append((delta_nV, hidden_nC))
        exact = delta_nV.dtype == _exact(delta_nV)
        if exact or sum(delta.numel() for delta, _ in self.waiting) >= WAIT_ELEMENTS:
            self._multiply()

    def sum(self) -> Tensor:
        if self.waiting:
            self._multiply()
        if self.sum_VC is None:  # of nothing
            self.sum_VC = torch.zeros_like(self.weight_VC, dtype=_exact(self.weight_VC))
        return self.sum_VC

    def _multiply(self) -> None:
        deltas, hiddens = zip(*self.waiting, strict=True)
        delta_nV, hidden_nC = (parts[0] if len(parts) == 1 else torch.cat(parts) for parts in (deltas, hiddens))
        self.waiting.clear()
        if self.sum_VC is None:
            self.sum_VC = (delta_nV.T @ hidden_nC).to(_exact(delta_nV))
        elif delta_nV.dtype == self.sum_VC.dtype:
            self.sum_VC.addmm_(delta_nV.T, hidden_nC)
        else:
            self.sum_VC += delta_nV.T @ hidden_nC
