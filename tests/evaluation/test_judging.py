"""How well scores tell right from wrong: by hand, against pairs counted one by one."""

import math
from itertools import product

import numpy as np
import pytest

from evaluation.judging import auc_of, aucs_within, error_curve, errors_at, judge_metrics

SCORES, RIGHT = np.array([0.9, 0.6, 0.4, 0.7, 0.2]), np.array([True, True, True, False, False])


def test_worked_by_hand() -> None:
    assert errors_at(SCORES, RIGHT, 0.5) == pytest.approx((1 / 2, 1 / 3))
    assert auc_of(SCORES, RIGHT) == pytest.approx(4 / 6)
    found = judge_metrics(SCORES, RIGHT, list("abcde"), threshold=0.5, probability=True)
    assert found["accuracy"].value == pytest.approx(3 / 5)
    assert found["base_rate"].value == pytest.approx(3 / 5)
    assert next(iter(found)) == "auc_within"
    assert math.isnan(found["auc_within"].value), "of five questions none"
    assert math.isnan(found["ece"].low)


def test_auc_within_a_question_by_hand() -> None:
    scores, right = np.array([0.9, 0.8, 0.2, 0.1]), np.array([True, False, True, False])
    assert aucs_within(scores, right, ["A", "A", "B", "B"]).tolist() == [1.0, 1.0]
    assert auc_of(scores, right) == 0.75
    easy = np.array([0.9, 0.9, 0.1, 0.1])  # tells questions apart, and not their answers
    assert aucs_within(easy, right, ["A", "A", "B", "B"]).mean() == 0.5
    assert aucs_within(scores, np.ones(4, bool), ["A", "A", "B", "B"]).size == 0


def counted(scores, right) -> float:
    pairs = [(s > t) + 0.5 * (s == t) for (s, r), (t, q) in product(zip(scores, right, strict=True), repeat=2) if r > q]
    return sum(pairs) / len(pairs) if pairs else math.nan


@pytest.mark.parametrize("n", range(1, 7))
def test_auc_equals_pairs_counted_on_all_small_inputs(n: int) -> None:
    for labels in product([True, False], repeat=n):
        for number in range(4):
            scores = np.random.default_rng(number).integers(0, 3, n)
            assert auc_of(scores, np.array(labels)) == pytest.approx(counted(scores, labels), nan_ok=True)


def test_metrics_of_many_questions_have_intervals_over_sources() -> None:
    rng = np.random.default_rng(0)
    right = rng.random(400) < 0.4
    scores, questions = np.clip(0.3 * right + rng.random(400) * 0.7, 0, 1), np.repeat(np.arange(50), 8).tolist()
    found = judge_metrics(scores, right, questions, threshold=0.5, probability=True)
    for name in ("auc_within", "auc", "false_accept", "false_reject", "accuracy"):
        assert found[name].low < found[name].value < found[name].high, name
    fewer = judge_metrics(
        scores, right, questions, sources=[q // 10 for q in questions], threshold=None, probability=False
    )
    assert set(fewer) == {"auc_within", "auc"}


def test_the_curve_goes_from_all_accepted_to_few() -> None:
    curve = error_curve(SCORES, RIGHT)
    assert [point["threshold"] for point in curve] == sorted(SCORES.tolist())
    assert (curve[0]["false_accept"], curve[0]["false_reject"]) == (1.0, 0.0)
    assert (curve[-1]["false_accept"], curve[-1]["false_reject"]) == pytest.approx((0.0, 2 / 3))
    assert len(error_curve(np.arange(1000.0), np.arange(1000) % 2 == 0)) == 200
