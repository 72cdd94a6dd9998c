"""Losses of online RL: pure functions of log-probabilities and advantages.

A loss is a sum over actions, the tokens that the policy chose; `units` is what it is divided by, once, over the
micro-batches and ranks of an update. How it is divided decides which actions count for more:

    constant   N rows x the longest answer allowed   each action the same, whatever the policy's lengths (Dr. GRPO)
    tokens     the actions of the update             each action the same (DAPO)
    sequence   N rows, each row's own mean           an action of a short answer counts for more (GRPO as published)

Only `constant` leaves the policy gradient as it is up to a factor: the others divide by what the policy itself decides.

Shapes: N rows, T tokens. State, action, value and reward share a column; `mask_NT` is True at actions.
"""

from collections.abc import Callable
from typing import Literal, NamedTuple

import torch
from torch import Tensor

Norm = Literal["constant", "tokens", "sequence"]
SurrogateType = Literal["clip", "cispo", "sapo"]


class Bounds(NamedTuple):
    """The ratio of new to old probability is clipped to 1 - low .. 1 + high (DAPO's clip-higher: high > low)."""

    low: float = 0.2
    high: float = 0.2


def clip(log_ratio_NT: Tensor, log_probs_NT: Tensor, advantages_NT: Tensor, b: Bounds) -> Tensor:
    """PPO's pessimistic surrogate (Schulman et al. 2017, 1707.06347, eq. 7)."""
    ratio_NT = log_ratio_NT.exp()
    return -torch.minimum(ratio_NT * advantages_NT, ratio_NT.clamp(1 - b.low, 1 + b.high) * advantages_NT)


def cispo(log_ratio_NT: Tensor, log_probs_NT: Tensor, advantages_NT: Tensor, b: Bounds) -> Tensor:
    """REINFORCE weighted by a capped ratio: every action keeps its gradient (MiniMax-M1, 2506.13585, eq. 4)."""
    return -log_ratio_NT.exp().clamp_max(1 + b.high).detach() * advantages_NT * log_probs_NT


def sapo(log_ratio_NT: Tensor, log_probs_NT: Tensor, advantages_NT: Tensor, b: Bounds) -> Tensor:
    """A soft gate instead of a clip, steeper for negative advantages (SAPO, 2511.20347, eq. 5; tau 1 and 1.05)."""
    tau_NT = torch.where(advantages_NT > 0, 1.0, 1.05)
    return -torch.sigmoid(tau_NT * (log_ratio_NT.exp() - 1)) * 4 / tau_NT * advantages_NT


SURROGATES: dict[str, Callable[[Tensor, Tensor, Tensor, Bounds], Tensor]] = {"clip": clip, "cispo": cispo, "sapo": sapo}


def clipped(log_ratio_NT: Tensor, advantages_NT: Tensor, b: Bounds) -> Tensor:
    """(N, T) bool: where the clip takes the gradient away."""
    ratio_NT = log_ratio_NT.exp()
    too_low_NT = (ratio_NT < 1 - b.low) & (advantages_NT < 0)
    return too_low_NT | ((ratio_NT > 1 + b.high) & (advantages_NT > 0))


def k3(log_probs_NT: Tensor, ref_NT: Tensor) -> Tensor:
    """Estimate of KL(policy || reference) at each action: unbiased, never negative (Schulman 2020, joschu.net).

    As a loss its gradient is that of the KL; the gradient of the plain log-ratio is zero in expectation (N57).
    """
    d_NT = ref_NT - log_probs_NT
    return d_NT.exp() - d_NT - 1


def value_loss(values_NT: Tensor, old_NT: Tensor, returns_NT: Tensor, bound: float) -> Tensor:
    """Half the squared error, pessimistic about steps of more than `bound` (as in OpenAI's baselines)."""
    near_NT = old_NT + (values_NT - old_NT).clamp(-bound, bound)
    return 0.5 * torch.maximum((values_NT - returns_NT).square(), (near_NT - returns_NT).square())


def summed(losses_NT: Tensor, mask_NT: Tensor, norm: Norm) -> Tensor:
    """() the sum over actions; with `sequence` of each row's mean. Padding counts for nothing (N45, N57)."""
    sums_N = losses_NT.where(mask_NT, 0.0).sum(1)
    return (sums_N / mask_NT.sum(1).clamp_min(1)).sum() if norm == "sequence" else sums_N.sum()


def units(norm: Norm, *, rows: int, actions: int, longest: int) -> int:
    """What `summed` is divided by, over all micro-batches and ranks of an update (N44).

    Args:
        rows: of the update, those without an advantage too. actions: in them. longest: tokens that an answer may have.
    """
    return {"constant": rows * longest, "tokens": actions, "sequence": rows}[norm]
