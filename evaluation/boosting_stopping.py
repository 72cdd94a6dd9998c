"""Stopping early: what a rule saves that lets sure predictions go without further stages, and what it costs.

    a unit stops at the first prefix F_k whose confidence, the probability of its likeliest token, is c or more

Units are windows, whose mean confidence counts and whose further passes are really left out; and single tokens, which
say what such a rule could save at best: a stage's later tokens read the keys and values of earlier ones, so that a pass
for some of a window's tokens is none that a program could leave out. Beside each rule, as many units stop at the same
prefixes without being asked: what remains is what confidence knows.

Shapes: n targets, S = M + 1 prefixes, M stages.
"""

from typing import Any, Literal, NamedTuple

import numpy as np

from evaluation.boosting import Measured
from evaluation.intervals import ratio_interval
from models.boosting.ensemble import Boosted

UNITS: tuple[Literal["window", "token"], ...] = ("window", "token")
SHARES = (0.25, 0.5, 0.75)  # of units that are sure enough for the base alone; from them come the thresholds


class Costs(NamedTuple):
    """Forward FLOPs of one token: the base with its head, each stage, a look at confidence (a head's product)."""

    base: int
    stages: list[int]
    look: int


def costs_of(model: Boosted, seq_len: int) -> Costs:
    base: Any = model.base
    look = 2 * model.head.weight.numel()
    stages = []
    for learner in list(model.learners)[: model.stages_in_use]:
        start: Any = learner.start
        blocks = [] if start is None else list(base.blocks)[start:]
        multiplied = sum(p.numel() for block in blocks for p in block.parameters())
        multiplied += sum(p.numel() for p in learner.parameters())
        stages.append(2 * multiplied + base.attention_flops_per_token(seq_len) * len(blocks) // (3 * len(base.blocks)))
    return Costs(base.flops_per_token(seq_len), stages, look)


def stopping(found: Measured, costs: Costs, *, unit: Literal["window", "token"], seed: int = 0) -> list[dict[str, Any]]:
    """A row for each prefix without a rule, then one for each threshold.

    `flops`: of a token, as a multiple of the base's. `against`: loss minus that of as many units stopped unasked, with
    its 95 % interval over windows.
    """
    S = len(found.nll_Sn)
    whole = [{"rule": None, "stages": k, "loss": float(found.nll_Sn[k].mean()), "flops": _cost(costs, k, looks=0)}
             for k in range(S)]  # fmt: skip
    confidence_Sn = found.confidence_Sn if unit == "token" else _of_windows(found)
    thresholds = np.quantile(confidence_Sn[0], [1 - share for share in SHARES])
    return whole + [_ruled(found, costs, confidence_Sn, float(c), seed=seed) for c in thresholds]


def stops_at(confidence_Sn: np.ndarray, threshold: float) -> np.ndarray:
    """(n,), the first prefix that is sure enough, or the last one."""
    sure = confidence_Sn >= threshold
    sure[-1] = True
    return sure.argmax(0)


def _ruled(found: Measured, costs: Costs, confidence_Sn: np.ndarray, threshold: float, *, seed: int) -> dict[str, Any]:
    S, n = found.nll_Sn.shape
    at_n = stops_at(confidence_Sn, threshold)
    own_n = found.nll_Sn[at_n, np.arange(n)]
    share_S = np.bincount(at_n, minlength=S) / n
    unasked_n = share_S @ found.nll_Sn
    _, window_n = np.unique(found.row_n, return_inverse=True)
    against = ratio_interval(np.bincount(window_n, own_n - unasked_n), np.bincount(window_n).astype(float), seed=seed)
    # who stops at prefix k was looked at k times before; the last product with the head is the prediction itself
    flops = sum(share * _cost(costs, k, looks=k) for k, share in enumerate(share_S.tolist()))
    return {
        **{"rule": threshold, "stages": float(share_S @ np.arange(S)), "loss": float(own_n.mean())},
        **{"flops": flops, "shares": share_S.tolist(), "against": against},
    }


def _cost(costs: Costs, stages: int, *, looks: int) -> float:
    return (costs.base + sum(costs.stages[:stages]) + looks * costs.look) / costs.base


def _of_windows(found: Measured) -> np.ndarray:
    """(S, n): the mean confidence of the window in which a target lies."""
    _, window_n = np.unique(found.row_n, return_inverse=True)
    size = np.bincount(window_n)
    return np.stack([(np.bincount(window_n, own_n) / size)[window_n] for own_n in found.confidence_Sn])
