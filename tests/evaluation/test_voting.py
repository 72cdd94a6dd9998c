"""Picking among k of n answers: worked by hand, and equal to enumeration on all inputs of up to six samples."""

from itertools import combinations, permutations, product

import numpy as np
import pytest

from evaluation.voting import powers, sets, verifier_at_k, vote, vote_at_k


def enumerated(n: int, k: int, pick) -> float:
    """Mean of `pick` over all draws of k of n in any order; what is tied is decided by which came first."""
    return float(np.mean([pick(order) for order in permutations(range(n), k)]))


def inputs(values: str, n: int):
    """Every list of n of these values with every labelling that calls equal answers alike."""
    for answers in product(values, repeat=n):
        for right in range(2 ** len(set(answers))):
            accepted = {name for i, name in enumerate(sorted(set(answers))) if right >> i & 1}
            yield list(answers), [answer in accepted for answer in answers]


def test_verifier_at_k_worked_by_hand() -> None:
    scores, rights = [0.9, 0.7, 0.5, 0.1], [False, True, False, True]
    assert [verifier_at_k(scores, rights, k) for k in (1, 2, 4)] == pytest.approx([0.5, 1 / 3, 0.0])
    assert [verifier_at_k([1, 1, 1], [True, False, False], k) for k in (1, 2, 3)] == pytest.approx([1 / 3] * 3)
    with pytest.raises(ValueError, match="verifier@5 of 4"):
        verifier_at_k(scores, rights, 5)


@pytest.mark.parametrize("n", range(1, 7))
def test_verifier_at_k_equals_enumeration(n: int) -> None:
    for number in range(25):
        rng = np.random.default_rng(number)
        scores, rights = rng.integers(0, 4, n).tolist(), (rng.random(n) < 0.5).tolist()
        for k in range(1, n + 1):
            expected = enumerated(n, k, lambda order: rights[max(order, key=lambda i: scores[i])])  # noqa: B023
            assert verifier_at_k(scores, rights, k) == pytest.approx(expected), (scores, rights, k)


def test_votes_worked_by_hand() -> None:
    assert vote(["7", "9", "7", "9"], [0.2, 0.6, 0.4, 0.6]) == "9"
    assert vote(["7", "9", "7"], [0.3, 0.6, 0.3]) == "9", "a tie: the best single weight decides"
    assert vote(["7", "9"], [0.5, 0.5]) == "7", "still a tie: the first"
    assert vote([None, "7", None], [0.9, 0.1, 0.9]) == "7"
    assert vote([None, None]) is None


@pytest.mark.parametrize("n", range(1, 5))
def test_majority_at_k_equals_enumeration_of_all_inputs(n: int) -> None:
    for answers, rights in inputs("12-" if n < 4 else "12", n):
        read = [None if answer == "-" else answer for answer in answers]
        right = [r and a is not None for r, a in zip(rights, read, strict=True)]
        for k in range(1, n + 1):
            expected = enumerated(n, k, lambda order: is_right(read, right, order))  # noqa: B023
            assert vote_at_k(read, right, k) == pytest.approx(expected), (read, right, k)


def is_right(read, right, order, weights=None) -> bool:
    chosen = vote([read[i] for i in order], None if weights is None else [weights[i] for i in order])
    return chosen is not None and right[read.index(chosen)]


@pytest.mark.parametrize("n", [5, 6])
def test_votes_at_k_of_six_equal_enumeration(n: int) -> None:
    for number in range(8):
        rng = np.random.default_rng(number)
        read = [[None, "1", "2", "3"][i] for i in rng.integers(0, 4, n)]
        accepted, weights = set(rng.choice(["1", "2", "3"], 1)), (rng.integers(0, 4, n) / 4).tolist()
        right = [answer in accepted for answer in read]
        for k, given in product(range(1, n + 1), (None, weights)):
            expected = enumerated(n, k, lambda order: is_right(read, right, order, given))  # noqa: B023
            assert vote_at_k(read, right, k, given) == pytest.approx(expected), (read, right, k, given)


def test_a_picked_answer_is_at_most_as_often_right_as_any() -> None:
    from evaluation.metrics import pass_at_k

    for number in range(40):
        rng = np.random.default_rng(number)
        scores, rights = rng.random(6), rng.random(6) < 0.4
        for k in powers(6):
            assert verifier_at_k(scores, rights, k) <= pass_at_k(6, int(rights.sum()), k) + 1e-12


def test_sets_are_all_or_drawn_evenly() -> None:
    assert sorted(map(tuple, sets(4, 2).tolist())) == sorted(
        tuple(float(i in pair) for i in range(4)) for pair in combinations(range(4), 2)
    )
    drawn = sets(40, 20, seed=1)
    assert (drawn.sum(1) == 20).all()
    assert drawn.mean(0) == pytest.approx(0.5, abs=0.03)  # five standard errors of 13,000 draws are 0.022
    assert powers(16) == [1, 2, 4, 8, 16]
    assert powers(5) == [1, 2, 4]
