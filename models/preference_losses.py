"""Losses over preference pairs: pure functions of what a policy and its reference give whole completions.

Shapes: P pairs.
"""

import math
from collections.abc import Callable
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor


class Pairs(NamedTuple):
    """Log-probabilities of whole completions, (P,) each, and how many tokens they are sums of."""

    chosen: Tensor
    rejected: Tensor
    ref_chosen: Tensor  # the same under the reference; zeros in losses without one
    ref_rejected: Tensor
    chosen_tokens: Tensor
    rejected_tokens: Tensor

    @property
    def margin(self) -> Tensor:
        """How much more the policy prefers the chosen one than the reference does, in nats."""
        return (self.chosen - self.ref_chosen) - (self.rejected - self.ref_rejected)

    @property
    def margin_per_token(self) -> Tensor:
        chosen = (self.chosen - self.ref_chosen) / self.chosen_tokens
        return chosen - (self.rejected - self.ref_rejected) / self.rejected_tokens


class Knobs(NamedTuple):
    """beta: pull to the reference. smoothing: share of labels taken to be wrong. gamma: SimPO's margin."""

    beta: float
    smoothing: float = 0.0
    gamma: float = 0.0


def sigmoid(p: Pairs, k: Knobs) -> Tensor:
    """DPO (Rafailov et al. 2023, 2305.18290, eq. 7); with smoothing, conservative DPO (Mitchell 2023, eq. 3)."""
    z = k.beta * p.margin
    return -F.logsigmoid(z) * (1 - k.smoothing) - F.logsigmoid(-z) * k.smoothing


def robust(p: Pairs, k: Knobs) -> Tensor:
    """Unbiased under labels of which a share is wrong (Chowdhury et al. 2024, 2403.00409, eq. 12)."""
    z = k.beta * p.margin
    return (-F.logsigmoid(z) * (1 - k.smoothing) + F.logsigmoid(-z) * k.smoothing) / (1 - 2 * k.smoothing)


def hinge(p: Pairs, k: Knobs) -> Tensor:
    """SLiC's hinge on DPO's margin (Zhao et al. 2023, 2305.10425, in the form of Liu et al. 2023, 2309.06657)."""
    return torch.relu(1 - k.beta * p.margin)


def ipo(p: Pairs, k: Knobs) -> Tensor:
    """IPO (Azar et al. 2023, 2310.12036, eq. 17), on log-probabilities per token, as its authors confirmed to TRL."""
    return (p.margin_per_token - 1 / (2 * k.beta)).square()


def sigmoid_norm(p: Pairs, k: Knobs) -> Tensor:
    """Length-normalised DPO (Lambert et al. 2024, Tulu 3, 2411.15124, eq. 6)."""
    return -F.logsigmoid(k.beta * p.margin_per_token)


def simpo(p: Pairs, k: Knobs) -> Tensor:
    """SimPO (Meng et al. 2024, 2405.14734, eq. 6): per token, without a reference, with a margin gamma."""
    return -F.logsigmoid(k.beta * p.margin_per_token - k.gamma)


def orpo(p: Pairs, k: Knobs) -> Tensor:
    """ORPO (Hong et al. 2024, 2403.07691, eq. 6 and 7): likelihood of the chosen one plus beta times an odds ratio."""
    chosen, rejected = p.chosen / p.chosen_tokens, p.rejected / p.rejected_tokens
    odds = (chosen - rejected) - (log1mexp(chosen) - log1mexp(rejected))
    return -chosen - k.beta * F.logsigmoid(odds)


LOSSES: dict[str, Callable[[Pairs, Knobs], Tensor]] = {
    "sigmoid": sigmoid,
    "robust": robust,
    "hinge": hinge,
    "ipo": ipo,
    "sigmoid_norm": sigmoid_norm,
    "simpo": simpo,
    "orpo": orpo,
}
WITHOUT_REFERENCE = ("simpo", "orpo")
PER_TOKEN = ("ipo", "sigmoid_norm", "simpo", "orpo")  # losses of log-probabilities per token
LossType = Literal["sigmoid", "robust", "hinge", "ipo", "sigmoid_norm", "simpo", "orpo"]


def log1mexp(x: Tensor) -> Tensor:
    """log(1 - exp(x)) for x < 0, exact at both ends (Maechler 2012, "Accurately computing log(1 - exp(-|a|))")."""
    x = x.clamp_max(-1e-7)  # a probability of 1 has infinite odds
    return torch.where(x > -math.log(2), torch.log(-torch.expm1(x)), torch.log1p(-torch.exp(x)))


def rewards(p: Pairs, beta: float, *, per_token: bool = False) -> dict[str, Tensor]:
    """(P,) each, under TRL's names. A reward is beta times the log-ratio, per token in losses that are."""
    chosen, rejected = p.chosen - p.ref_chosen, p.rejected - p.ref_rejected
    if per_token:
        chosen, rejected = chosen / p.chosen_tokens, rejected / p.rejected_tokens
    chosen, rejected = beta * chosen, beta * rejected
    return {
        "rewards/chosen": chosen,
        "rewards/rejected": rejected,
        "rewards/margins": chosen - rejected,
        "rewards/accuracies": (chosen > rejected).float(),
        "logps/chosen": p.chosen,
        "logps/rejected": p.rejected,
    }


def sum_over(real_P: Tensor, values: dict[str, Tensor]) -> dict[str, Tensor]:
    """Sums of (P,) values over the pairs that are real, detached."""
    return {name: value_P.detach().float().where(real_P, 0.0).sum() for name, value_P in values.items()}
