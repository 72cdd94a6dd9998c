"""What picking among k of n sampled answers is worth: by a score, by a vote, by a weighted vote. Pure, unbiased.

Each is the mean over all draws of k of the n answers, as pass@k is (evaluation/metrics.py). Answers are exchangeable:
what is tied to the end, where the first one decides, shares, since any of them may have come first.
"""

from collections.abc import Sequence
from functools import lru_cache
from itertools import combinations
from math import comb

import numpy as np

MOST_SETS = 13_000  # all sets of 8 of 16 are 12,870; of more, as many are drawn, which leaves the mean unbiased
TIED = 1e-9  # relative: sums of the same weights in another order

Answers = Sequence[str | None]  # as they read; None: it could not be read, and has no vote


def powers(n: int) -> list[int]:
    """1, 2, 4, ... up to n."""
    return [2**i for i in range(n.bit_length()) if 2**i <= n]


def verifier_at_k(scores: Sequence[float], rights: Sequence[bool], k: int) -> float:
    """Chance that the best scored of k answers, drawn from these n, is right.

    The answer of rank i (1 is best) is the best of k in C(n - i, k - 1) of the C(n, k) sets. Equal scores share the
    mean of their rights. Raises ValueError for k > n.
    """
    n = len(scores)
    if not 1 <= k <= n:
        raise ValueError(f"verifier@{k} of {n} answers")
    scored, right = np.asarray(scores, np.float64), np.asarray(rights, np.float64)
    order = np.argsort(-scored, kind="stable")
    _, tie, count = np.unique(-scored[order], return_inverse=True, return_counts=True)
    shared = (np.bincount(tie, weights=right[order]) / count)[tie]  # (n,) by rank
    weight = np.array([comb(n - rank, k - 1) for rank in range(1, n + 1)], np.float64) / comb(n, k)
    return float(weight @ shared)


def vote(answers: Answers, weights: Sequence[float] | None = None) -> str | None:
    """The answer with the largest sum of weights; of equals the one with the best single weight, then the first.

    Weights None: each vote counts the same, as in `majority` (2203.11171; weighted: 2206.02336). None: none was read.
    """
    votes: dict[str, list[float]] = {}
    for answer, weight in zip(answers, weights if weights is not None else [1.0] * len(answers), strict=True):
        if answer is not None:
            votes.setdefault(answer, []).append(weight)
    if not votes:
        return None
    most = max(map(sum, votes.values()))
    tied = [answer for answer, given in votes.items() if sum(given) >= most - TIED * max(1.0, abs(most))]
    return max(tied, key=lambda answer: max(votes[answer]))  # the first of these


def vote_at_k(
    answers: Answers, rights: Sequence[bool], k: int, weights: Sequence[float] | None = None, *, seed: int = 0
) -> float:
    """Chance that the answer voted for by k answers, drawn from these n, is right; what is tied to the end shares.

    Args:
        rights: of each answer; the same for answers that read the same.
        weights: at least 0; None: all the same.
    """
    chosen_SN = sets(len(answers), k, seed)
    names = list(dict.fromkeys(answer for answer in answers if answer is not None))
    if not names:
        return 0.0
    of_NC = np.array([[answer == name for name in names] for answer in answers], np.float64)  # C answers that differ
    weight_N = np.ones(len(answers)) if weights is None else np.asarray(weights, np.float64)
    right_C = np.array([rights[answers.index(name)] for name in names], np.float64)
    total_SC = chosen_SN @ (of_NC * weight_N[:, None])
    count_SC = chosen_SN @ of_NC
    tied_SC = _best(total_SC, count_SC > 0)
    if weights is not None and (unclear_S := tied_SC.sum(1) > 1).any():
        cast_SNC = chosen_SN[unclear_S, :, None] * (of_NC * weight_N[:, None])
        tied_SC[unclear_S] = _best(cast_SNC.max(1), tied_SC[unclear_S])
    first_SC = tied_SC * count_SC  # of answers in any order the first is one that was given n times n times as often
    return float(((first_SC @ right_C) / np.maximum(1, first_SC.sum(1))).mean())


def _best(value_SC: np.ndarray, among_SC: np.ndarray) -> np.ndarray:
    """(S, C) True at the largest values of each row among those allowed, up to rounding."""
    allowed_SC = np.where(among_SC, value_SC, -np.inf)
    most_S = allowed_SC.max(1, keepdims=True)
    return among_SC & (allowed_SC >= most_S - TIED * np.maximum(1.0, np.abs(most_S)))


@lru_cache(maxsize=16)
def sets(n: int, k: int, seed: int = 0) -> np.ndarray:
    """(S, n) 0 and 1: all sets of k of n answers, or MOST_SETS of them drawn by seed where there are more.

    Raises:
        ValueError: k > n.
    """
    if not 1 <= k <= n:
        raise ValueError(f"sets of {k} of {n} answers")
    if comb(n, k) <= MOST_SETS:
        members_SK = np.array(list(combinations(range(n), k)))
    else:
        members_SK = np.random.default_rng(seed).random((MOST_SETS, n)).argpartition(k - 1, axis=1)[:, :k]
    chosen_SN = np.zeros((len(members_SK), n))
    np.put_along_axis(chosen_SN, members_SK, 1.0, axis=1)
    return chosen_SN
