"""Which stages a text wants: every prefix of an ensemble answers, weighed by how well it has told the text so far.

    w_k(t) = softmax_k( sum_{s <= t} log p_k(x_s | x_<s) ),    G(t) = sum_k w_k(t) G_k(t)

The first is Bayes' rule with equal prior odds; its mixture of K probabilities would cost at most ln K nats a text more
than the best prefix (Cesa-Bianchi & Lugosi, Prediction, Learning, and Games, 2006, 9.2). What is mixed here is hidden
states, so logits: one product with the head, and no bound, but the same weights.

Shapes: K prefixes, B batch, T tokens, C channels, V vocabulary.
"""

import torch
from torch import Tensor

from models.base import restarting_positions
from models.layers.loss import linear_token_nll


def by_text(
    hidden_K: list[Tensor],
    ids_BT: Tensor,
    head_VC: Tensor,
    *,
    softcap: float | None = None,
    documents_BT: Tensor | None = None,
    padding_BT: Tensor | None = None,
) -> Tensor:
    """(B, T, C): the prefixes' hidden states (B, T, C) each, mixed at each token by what is known there.

    Args: documents_BT: each document has evidence of its own. padding_BT: True at real tokens; others say nothing.
    """
    with torch.no_grad():
        told_BT = _told(ids_BT, documents_BT, padding_BT)
        nats_KBT = torch.stack([_nats(hidden, ids_BT, told_BT, head_VC, softcap) for hidden in hidden_K])
        weights_KBT = weights(nats_KBT, documents_BT)
    pairs = zip(weights_KBT, hidden_K, strict=True)
    return torch.stack([w.unsqueeze(-1).to(hidden.dtype) * hidden for w, hidden in pairs]).sum(0)


def weights(nats_KBT: Tensor, documents_BT: Tensor | None = None) -> Tensor:
    """(K, B, T), over K they sum to 1. `nats_KBT`: what each token cost each prefix, 0 for a text's first."""
    so_far = nats_KBT.double().cumsum(-1)
    if documents_BT is not None:  # what other documents cost is not this one's
        at_BT = torch.arange(documents_BT.shape[1], device=documents_BT.device) - restarting_positions(documents_BT)
        so_far = so_far - so_far.gather(-1, at_BT.expand_as(so_far))
    return (-so_far).softmax(0)


def _told(ids_BT: Tensor, documents_BT: Tensor | None, padding_BT: Tensor | None) -> Tensor:
    """(B, T) bool: tokens that the token before them had to foretell."""
    told = torch.ones_like(ids_BT, dtype=torch.bool)
    told[:, 0] = False
    if documents_BT is not None:
        told &= restarting_positions(documents_BT) > 0
    if padding_BT is not None:
        told[:, 1:] &= padding_BT[:, 1:] & padding_BT[:, :-1]
    return told


def _nats(hidden_BTC: Tensor, ids_BT: Tensor, told_BT: Tensor, head_VC: Tensor, softcap: float | None) -> Tensor:
    """(B, T): what each told token cost, 0 at the others."""
    before = told_BT[:, 1:]
    nats = torch.zeros(ids_BT.shape, dtype=torch.float64, device=ids_BT.device)
    cost_N = linear_token_nll(hidden_BTC[:, :-1][before], head_VC, ids_BT[:, 1:][before], softcap=softcap)
    nats[told_BT] = cost_N.double()
    return nats
