"""Losses that keep experts equally busy and router logits small; of one layer, over the tokens that count.

They are means over tokens. Each layer has its own, averaged afterwards: counts pooled over layers cancel, so that four
layers which each use two experts only look balanced (huggingface/transformers#31464).

Shapes: B sequences, T tokens each, N = B T tokens, E experts, M assignments.
"""

import torch
import torch.distributed as dist
from torch import Tensor


def load_balance(probs_NE: Tensor, loads_E: Tensor, mask_N: Tensor | None) -> Tensor:
    """E sum_e f_e P_e, 1 when balanced, about E / k at worst (Switch, 2101.03961, equations 4 to 6).

    f_e: share of the assignments that expert e got, `loads_E` / their sum. P_e: its mean probability.
    """
    share_E = loads_E / loads_E.sum().clamp_min(1)
    return probs_NE.shape[-1] * (share_E * _mean_over_tokens(probs_NE, mask_N)).sum()


def load_balance_by_sequence(
    probs_NE: Tensor, tokens_M: Tensor, experts_M: Tensor, mask_N: Tensor | None, *, sequences: int
) -> Tensor:
    """The balance loss within each sequence, averaged over them (DeepSeek-V3, 2412.19437, equations 17 to 20)."""
    N, E = probs_NE.shape
    probs_BTE = probs_NE.view(sequences, -1, E)
    mask_BT = probs_BTE.new_ones(sequences, N // sequences) if mask_N is None else mask_N.view(sequences, -1)
    counted_M = mask_BT.reshape(-1)[tokens_M].to(probs_NE.dtype)
    cells_M = tokens_M // (N // sequences) * E + experts_M
    loads_BE = probs_NE.new_zeros(sequences * E).index_add_(0, cells_M, counted_M).view(sequences, E)
    share_BE = loads_BE / loads_BE.sum(-1, keepdim=True).clamp_min(1)
    tokens_B = mask_BT.sum(-1).to(probs_NE.dtype)
    mean_BE = (probs_BTE * mask_BT.unsqueeze(-1)).sum(1) / tokens_B.clamp_min(1).unsqueeze(-1)
    losses_B = E * (share_BE * mean_BE).sum(-1)
    return (losses_B * (tokens_B > 0)).sum() / (tokens_B > 0).sum().clamp_min(1)


def router_z(logits_NE: Tensor, mask_N: Tensor | None) -> Tensor:
    """Mean of logsumexp(logits)^2 (ST-MoE, 2202.08906, equation 5)."""
    return _mean_over_tokens(logits_NE.logsumexp(-1).square(), mask_N)


def loads(experts_M: Tensor, tokens_M: Tensor, mask_N: Tensor | None, n_experts: int) -> Tensor:
    """Assignments that each expert got, (E,) fp32, padding left out."""
    counted_M = torch.ones_like(experts_M) if mask_N is None else mask_N[tokens_M].to(experts_M.dtype)
    return counted_M.new_zeros(n_experts).index_add_(0, experts_M, counted_M).float()


def over_ranks(loads_E: Tensor) -> Tensor:
    """Loads of all devices together. A small micro-batch's own would forbid experts to specialise (2501.11873)."""
    if dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1:
        loads_E = loads_E.clone()
        dist.all_reduce(loads_E)
    return loads_E


def _mean_over_tokens(values_N: Tensor, mask_N: Tensor | None) -> Tensor:
    if mask_N is None:
        return values_N.mean(0)
    counted_N = mask_N.to(values_N.dtype)
    counted = counted_N if values_N.dim() == 1 else counted_N.unsqueeze(-1)
    return (values_N * counted).sum(0) / counted_N.sum().clamp_min(1)
