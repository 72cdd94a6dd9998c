"""Boosting on preference pairs: a stage is fitted to DPO's loss at the frozen ensemble.

    loss of a pair = -log sigmoid(beta margin)
    margin = log pi(chosen) - log ref(chosen) - (log pi(rejected) - log ref(rejected)),  pi = softmax(F_{m-1} + h)
    ref: the ensemble as the run starts

What is left to a stage is -dloss/dmargin = beta sigmoid(-beta margin): pairs that are told right already weigh little.

Shapes: R rows, the chosen half and then the rejected, P = R / 2 pairs, N tokens that count.
"""

import torch
from torch import Tensor

from models.boosting.ensemble import Boosted
from models.boosting.units import Tokens
from models.layers.loss import linear_token_nll
from models.preference_losses import Knobs, Pairs, rewards, sigmoid


def row_log_probs(model: Boosted, hidden_NC: Tensor, tokens: Tokens) -> Tensor:
    """(R,), the log-probability of each row's targets; differentiable."""
    assert tokens.reference_R is not None
    nll_N = linear_token_nll(hidden_NC, model.head.weight, tokens.targets_N, softcap=model.softcap)
    return -nll_N.new_zeros(len(tokens.reference_R)).index_add(0, tokens.rows_N, nll_N)


def pair_losses(log_probs_R: Tensor, reference_R: Tensor, beta: float) -> tuple[Tensor, dict[str, Tensor]]:
    """DPO's loss of each pair, (P,), and what is logged of it, (P,) each."""
    ones_P = torch.ones_like(reference_R[: len(reference_R) // 2])  # this loss does not ask how many tokens there are
    chosen_P, rejected_P = log_probs_R.chunk(2)
    ref_chosen_P, ref_rejected_P = reference_R.chunk(2)
    pairs = Pairs(chosen_P, rejected_P, ref_chosen_P, ref_rejected_P, ones_P, ones_P)
    return sigmoid(pairs, Knobs(beta)), rewards(pairs, beta)
