"""What experts are chosen for: loads, classes of tokens, and the tokens that are typical of each.

Shapes: N tokens, E experts, K classes, V ids.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

CLASSES = (
    "word, its start",
    "word, going on",
    "number",
    "punctuation",
    "space",
    "line break",
    "control token",
    "other",
)
LEAST = 10  # times that a token must occur to be called typical of an expert


def token_class(text: str, *, special: bool) -> str:
    """The class of a token by its text, one of CLASSES."""
    if special:
        return "control token"
    if not text.strip():
        return "line break" if "\n" in text else "space"
    core = text.strip()
    if any(c.isdigit() for c in core):
        return "number"
    if any(c.isalpha() for c in core):
        return "word, its start" if text[0].isspace() or core[0].isupper() else "word, going on"
    return "other" if "\ufffd" in text else "punctuation"


class Usage(NamedTuple):
    """Of one layer. load_E: share of all assignments. by_class_KE: of each class's. entropy: of the loads, 1 is even.

    information: how much a token's class tells about its expert, as a share of what there is to tell (0 to 1).
    """

    load_E: Tensor
    by_class_KE: Tensor
    entropy: float
    information: float
    typical: list[list[tuple[int, float]]]  # for each expert: (id, how many times as often as on average)


def usage(weights_NE: Tensor, ids_N: Tensor, class_N: Tensor, *, classes: int, typical: int = 8) -> Usage:
    """Counts of the experts that were chosen, whatever their weights.

    Args:
        weights_NE: 0 where an expert is not chosen. ids_N: token ids. class_N: number of each token's class.
    """
    chosen_NE = (weights_NE != 0).double()
    E = chosen_NE.shape[1]
    total = chosen_NE.sum().clamp_min(1)
    load_E = chosen_NE.sum(0) / total
    counts_KE = torch.zeros(classes, E, dtype=torch.float64, device=chosen_NE.device).index_add_(0, class_N, chosen_NE)
    by_class_KE = counts_KE / counts_KE.sum(1, keepdim=True).clamp_min(1)
    entropy = torch.special.entr(load_E).sum().item()
    left = (counts_KE.sum(1) / total * torch.special.entr(by_class_KE).sum(1)).sum().item()
    return Usage(
        load_E,
        by_class_KE,
        entropy / max(torch.log(torch.tensor(float(E))).item(), 1e-9) if E > 1 else 1.0,
        max(0.0, (entropy - left) / entropy) if entropy > 1e-9 else 0.0,
        typical_ids(chosen_NE, ids_N, load_E, typical),
    )


def typical_ids(chosen_NE: Tensor, ids_N: Tensor, load_E: Tensor, most: int) -> list[list[tuple[int, float]]]:
    """For each expert the ids whose share of assignments to it is largest against its load."""
    ids_V, which_N, times_V = ids_N.unique(return_inverse=True, return_counts=True)
    counts_VE = torch.zeros(len(ids_V), chosen_NE.shape[1], dtype=torch.float64, device=chosen_NE.device)
    counts_VE.index_add_(0, which_N, chosen_NE)
    share_VE = counts_VE / counts_VE.sum(1, keepdim=True).clamp_min(1)
    lift_VE = (share_VE / load_E.clamp_min(1e-9)).masked_fill((times_V < LEAST)[:, None], 0.0)
    found: list[list[tuple[int, float]]] = []
    for lift_V in lift_VE.unbind(1):
        order = lift_V.argsort(descending=True)[:most].tolist()
        found.append([(int(ids_V[i]), float(lift_V[i])) for i in order if lift_V[i] > 1])
    return found


def chosen(weights_E: Sequence[float]) -> list[tuple[int, float]]:
    """(expert, weight) of one token, the largest weight first."""
    return sorted(((e, w) for e, w in enumerate(weights_E) if w), key=lambda pair: -pair[1])
