"""Tokens to their experts and back: SwiGLU experts over assignments sorted by expert.

    naive     one assignment after the other; the oracle of the tests
    loop      expert after expert, plain autograd
    fused     the same with a backward pass written by hand: gradients go straight into the stacked weights' gradient,
              and an expert's inner values are still in the cache when the next step needs them; fastest on a CPU
    grouped   one grouped matrix product; fastest on GPUs of compute capability 9.0 and later, in bf16

Shapes: N tokens, C channels, M assignments, E experts, I inner channels of one expert, R rows of filled groups.
"""

from collections.abc import Iterator
from itertools import pairwise
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch._subclasses.fake_tensor import DataDependentOutputException

from models.layers.autocast import in_autocast

# Values (rows times width) that are gathered at once: 1 MiB in fp32, small experts together, a large one alone.
BLOCK = 2**18
# oneDNN, which multiplies bf16 on a CPU, compiles a kernel for each number of rows that it meets: of 64 experts, whose
# numbers change with each batch, a layer took 4.7 times as long as a dense one, and 2.4 times in groups of these.
WHOLE = 16


class Plan(NamedTuple):
    """Assignments in the order of their experts; those of dropped and masked tokens are not in it."""

    tokens_M: Tensor
    weights_M: Tensor
    counts_E: Tensor  # int64; M is their sum


def make_plan(
    tokens_M: Tensor, experts_M: Tensor, weights_M: Tensor, *, n_experts: int, mask_N: Tensor | None,
    capacity: int | None = None, order: str = "token", n_choices: int = 1,
) -> Plan:  # fmt: skip
    """Sorts assignments by expert, without those of masked tokens and those that an expert has no room for.

    Args:
        mask_N: True at real tokens. capacity: assignments that one expert takes.
        order: of an expert's queue: token (as the text goes), choice (first choices before second ones; there are
            `n_choices` per token, side by side) or prob (largest weight first).
    """
    queue = None  # as they come
    if capacity is not None and order == "choice":
        queue = torch.arange(len(tokens_M), device=tokens_M.device).view(-1, n_choices).T.flatten()
    elif capacity is not None and order == "prob":
        queue = weights_M.detach().argsort(descending=True, stable=True)
    if mask_N is not None:
        experts_M = experts_M.where(mask_N[tokens_M], n_experts)  # sorted behind all experts
    experts = experts_M if queue is None else experts_M[queue]
    sorted_experts, perm = experts.sort(stable=True)
    perm = perm if queue is None else queue[perm]
    counts = torch.zeros(n_experts + 1, dtype=torch.long, device=experts.device)
    counts.index_add_(0, experts, torch.ones_like(experts))
    if capacity is not None:
        place = torch.arange(len(perm), device=perm.device) - (counts.cumsum(0) - counts)[sorted_experts]
        perm = perm[(place < capacity) & (sorted_experts < n_experts)]
        counts = counts.clamp_max(capacity)
    elif mask_N is not None:
        perm = perm[sorted_experts < n_experts]
    # index_select, whose gradient is cheaper than that of indexing
    return Plan(tokens_M.index_select(0, perm), weights_M.index_select(0, perm), counts[:-1])


def run_experts(x_NC: Tensor, w13: Tensor, w2: Tensor, plan: Plan, *, how: str, combine: str = "index_add") -> Tensor:
    """sum over assignments of weight * w2_e(silu(gate_e x) * up_e x), (N, C); 0 for tokens without any.

    Args:
        w13: (E, 2 I, C), gates first, then ups. w2: (E, C, I).
    """
    x_NC, device = in_autocast(x_NC), x_NC.device.type
    w13, w2, weights_M = (t.to(x_NC.dtype) for t in (w13, w2, plan.weights_M))
    how = fastest(x_NC, w2) if how == "auto" else how
    if device == "cpu" and x_NC.dtype == torch.bfloat16:
        plan, weights_M = filled_up(plan, weights_M, WHOLE)
    with torch.autocast(device, enabled=False):
        if how == "naive":
            return _naive(x_NC, w13, w2, plan)
        if how == "fused":
            return _fused(x_NC, weights_M, w13, w2, plan.tokens_M, plan.counts_E)
        compute = _grouped if how == "grouped" and _grouped_can(x_NC, w2) else _loop
        out_MC = compute(x_NC[plan.tokens_M], weights_M, w13, w2, plan.counts_E)
        return _combined(out_MC, plan.tokens_M, len(x_NC), combine)


def fastest(x_NC: Tensor, w2: Tensor) -> str:
    """By measurement: benchmarks/moe.py. On A100s (8.0) PyTorch's grouped product is itself a loop."""
    if x_NC.device.type != "cuda":
        return "fused"
    grouped = x_NC.dtype == torch.bfloat16 and torch.cuda.get_device_capability(x_NC.device) >= (9, 0)
    return "grouped" if grouped and _grouped_can(x_NC, w2) else "loop"


def filled_up(plan: Plan, weights_M: Tensor, rows: int) -> tuple[Plan, Tensor]:
    """Each expert's assignments up to a multiple of `rows`, with its last one again by weight 0; the weights beside it.

    An expert without any stays so. In a dry run without data (task=check) nothing is known of the numbers.
    """
    counts_E = plan.counts_E
    new_E = (counts_E + rows - 1) // rows * rows
    try:
        total = int(new_E.sum())
    except DataDependentOutputException:
        return plan, weights_M
    expert_R = torch.arange(len(counts_E)).repeat_interleave(new_E, output_size=total)  # of each row of the new plan
    place_R = torch.arange(len(expert_R)) - (new_E.cumsum(0) - new_E)[expert_R]  # within its expert's
    real_R = place_R < counts_E[expert_R]
    from_R = (counts_E.cumsum(0) - counts_E)[expert_R] + place_R.minimum(counts_E[expert_R] - 1)
    weights_R = weights_M.index_select(0, from_R) * real_R
    return Plan(plan.tokens_M.index_select(0, from_R), weights_R, new_E), weights_R


def _grouped_can(x_NC: Tensor, w2: Tensor) -> bool:
    """Rows must be multiples of 16 bytes, and float64 is not known to it."""
    return x_NC.dtype != torch.float64 and all(width * x_NC.element_size() % 16 == 0 for width in w2.shape[1:])


def _naive(x_NC: Tensor, w13: Tensor, w2: Tensor, plan: Plan) -> Tensor:
    out_NC, at = torch.zeros_like(x_NC), 0
    for expert, count in enumerate(plan.counts_E.tolist()):
        for m in range(at, at + count):
            token = int(plan.tokens_M[m])
            gate, up = (w13[expert] @ x_NC[token]).chunk(2)
            y = plan.weights_M[m].to(x_NC.dtype) * (w2[expert] @ (F.silu(gate) * up))
            out_NC = out_NC.index_add(0, plan.tokens_M[m : m + 1], y.unsqueeze(0))
        at += count
    return out_NC


@torch.compiler.disable  # the sizes of the groups are data
def _loop(x_MC: Tensor, weights_M: Tensor, w13: Tensor, w2: Tensor, counts_E: Tensor) -> Tensor:
    """`unbind` once: indexing w13[e] would fill a gradient of the whole stack with zeros for each expert."""
    sizes = group_sizes(counts_E, len(x_MC))
    outs = []
    for x, weights, w13_e, w2_e in zip(
        x_MC.split(sizes), weights_M.split(sizes), w13.unbind(0), w2.unbind(0), strict=True
    ):
        gate, up = F.linear(x, w13_e).chunk(2, dim=-1)
        outs.append(F.linear(F.silu(gate) * up * weights.unsqueeze(-1), w2_e))
    return torch.cat(outs)


def _grouped(x_MC: Tensor, weights_M: Tensor, w13: Tensor, w2: Tensor, counts_E: Tensor) -> Tensor:
    """Every row belongs to a group: rows behind the last one would be left uninitialised (pytorch#193633)."""
    ends = counts_E.cumsum(0).to(torch.int32)
    gate, up = F.grouped_mm(x_MC, w13.transpose(-2, -1), offs=ends).chunk(2, dim=-1)
    return F.grouped_mm(F.silu(gate) * up * weights_M.unsqueeze(-1), w2.transpose(-2, -1), offs=ends)


def _combined(out_MC: Tensor, tokens_M: Tensor, n: int, how: str) -> Tensor:
    if how == "index_add":
        return out_MC.new_zeros(n, out_MC.shape[1]).index_add(0, tokens_M, out_MC)
    # a prefix sum over rows brought into the order of tokens would lose digits; segments do not
    order = tokens_M.argsort(stable=True)
    lengths = torch.zeros(n, dtype=torch.long, device=out_MC.device).index_add_(0, tokens_M, torch.ones_like(tokens_M))
    return torch.segment_reduce(out_MC[order], "sum", lengths=lengths, axis=0, initial=0.0)


def group_sizes(counts_E: Tensor, total: int) -> list[int]:
    """The counts as numbers; in a dry run without data (task=check) all experts get the same."""
    try:
        return counts_E.tolist()
    except DataDependentOutputException:
        E = len(counts_E)
        return [total // E + (e < total % E) for e in range(E)]


@torch.compiler.disable
def _fused(x_NC: Tensor, weights_M: Tensor, w13: Tensor, w2: Tensor, tokens_M: Tensor, counts_E: Tensor) -> Tensor:
    return _FusedExperts.apply(x_NC, weights_M, w13, w2, tokens_M, group_sizes(counts_E, len(tokens_M)))


class _FusedExperts(torch.autograd.Function):
    """Saves the inner products (M, 2 I) and nothing of size (M, C): tokens are gathered again in the backward pass.

    Inner values stand transposed, one column per token: gates and ups are then two pieces of memory without gaps, and
    what one expert needs stays in a core's cache; several experts in rows, side by side, were slower. Tokens are
    fetched and brought back for many small experts at once.

    Shapes: R tokens of one expert.
    """

    @staticmethod
    def forward(ctx, x_NC, weights_M, w13, w2, tokens_M, sizes):
        out_NC, inners = torch.zeros_like(x_NC), []
        for block, tokens, weights in _blocks(sizes, x_NC.shape[1], tokens_M, weights_M):
            x = x_NC.index_select(0, tokens)
            for x_RC, weights_R, into, out_of in _busy(sizes[block], (x, weights), (w13[block], w2[block].mT)):
                inner = torch.mm(into, x_RC.T)
                gate_IR, up_IR = inner.chunk(2)
                # the weight goes in before the second product, where it costs one pass over I channels, not over C
                hidden_IR = F.silu(gate_IR).mul_(up_IR).mul_(weights_R)
                torch.mm(hidden_IR.T, out_of, out=x_RC)
                inners.append(inner)
            out_NC.index_add_(0, tokens, x)
        ctx.save_for_backward(x_NC, weights_M, w13, w2, tokens_M, *inners)
        ctx.sizes = sizes
        return out_NC

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad_NC):
        x_NC, weights_M, w13, w2, tokens_M, *saved = ctx.saved_tensors
        grad_x, grad_weights = torch.zeros_like(x_NC), torch.empty_like(weights_M)
        grad_w13, grad_w2 = torch.empty_like(w13), torch.empty_like(w2)
        for e in (e for e, size in enumerate(ctx.sizes) if not size):
            grad_w13[e], grad_w2[e] = 0, 0
        inners = iter(saved)
        for block, tokens, *weights in _blocks(ctx.sizes, x_NC.shape[1], tokens_M, weights_M, grad_weights):
            x, grad = x_NC.index_select(0, tokens), grad_NC.index_select(0, tokens)
            stacks = (w13[block], w2[block].mT, grad_w13[block], grad_w2[block])
            for x_RC, grad_RC, weights_R, grad_weights_R, into, out_of, grad_into, grad_out_of in _busy(
                ctx.sizes[block], (x, grad, *weights), stacks
            ):
                inner = next(inners)
                gate_IR, up_IR = inner.chunk(2)
                grad_inner = torch.empty_like(inner)
                grad_gate_IR, grad_up_IR = grad_inner.chunk(2)  # written over what is not needed any more
                hidden_IR = torch.ops.aten.silu.out(gate_IR, out=grad_up_IR) * up_IR
                grad_IR = torch.mm(out_of, grad_RC.T)
                torch.sum(torch.mul(grad_IR, hidden_IR, out=grad_gate_IR), dim=0, out=grad_weights_R)
                torch.mm(grad_RC.T, hidden_IR.mul_(weights_R).T, out=grad_out_of)
                grad_up_IR.mul_(grad_IR.mul_(weights_R))
                torch.ops.aten.silu_backward.grad_input(grad_IR.mul_(up_IR), gate_IR, grad_input=grad_gate_IR)
                torch.mm(grad_inner, x_RC, out=grad_into)
                torch.mm(grad_inner.T, into, out=grad_RC)
            grad_x.index_add_(0, tokens, grad)
        return grad_x, grad_weights, grad_w13, grad_w2, None, None


def _blocks(sizes: list[int], width: int, *per_row: Tensor) -> Iterator[tuple[Any, ...]]:
    """Neighbouring experts, as a slice, while their rows of `width` fit into BLOCK; their part of each tensor."""
    ends, rows = [], [0]
    for e, size in enumerate(sizes):
        if e and (rows[-1] + size) * width > BLOCK:
            ends.append(e)
            rows.append(0)
        rows[-1] += size
    blocks = [slice(a, b) for a, b in pairwise([0, *ends, len(sizes)])]
    return zip(blocks, *(t.split(rows) for t in per_row), strict=True)


def _busy(
    sizes: list[int], per_row: tuple[Tensor, ...], per_expert: tuple[Tensor, ...]
) -> Iterator[tuple[Tensor, ...]]:
    """For each expert that has rows: its part of each tensor. Cut once: a slice per expert and tensor is slow."""
    parts = zip(*(t.split(sizes) for t in per_row), *(t.unbind(0) for t in per_expert), strict=True)
    return (part for size, part in zip(sizes, parts, strict=True) if size)
