"""What answers are worth: hand-worked numbers, and simulated chances."""

import itertools

import numpy as np
import pytest
import torch

from evaluation.answers import choice
from evaluation.intervals import mean_interval, statistic_interval
from evaluation.metrics import calibration_error, macro_f1, majority, pass_at_k, rouge


def test_pass_at_k_is_the_share_of_draws_with_a_right_answer() -> None:
    for n, right in itertools.product(range(1, 6), range(6)):
        if right > n:
            continue
        for k in range(1, n + 1):
            draws = list(itertools.combinations([True] * right + [False] * (n - right), k))
            assert pass_at_k(n, right, k) == pytest.approx(np.mean([any(draw) for draw in draws]))
    with pytest.raises(ValueError, match="at least 5"):
        pass_at_k(4, 1, 5)


def test_macro_f1_worked_by_hand() -> None:
    # class 0: precision 1/2, recall 1/2, F1 0.5; class 1: precision 1/1, recall 1/2, F1 2/3; one answer was no choice
    assert macro_f1([0, -1, 0, 1], [0, 0, 1, 1], 2) == pytest.approx((0.5 + 2 / 3) / 2)
    assert macro_f1([0, 0], [0, 0], 2) == 1.0, "class 1 was neither asked for nor given: it has no F1"
    assert macro_f1([0, 1], [0, 0], 3) == pytest.approx((2 / 3 + 0) / 2)


def test_macro_f1_is_that_of_torchmetrics_where_every_answer_is_a_choice() -> None:
    functional = pytest.importorskip("torchmetrics.functional.classification")
    generator = torch.Generator().manual_seed(0)
    for classes in (2, 5):
        made, expected = torch.randint(0, classes - (classes > 2), (2, 30), generator=generator)
        theirs = functional.multiclass_f1_score(made, expected, num_classes=classes, average="macro")
        assert macro_f1(made.tolist(), expected.tolist(), classes) == pytest.approx(float(theirs))


def test_calibration_error_worked_by_hand() -> None:
    # bins (0.5, 0.6] and (0.8, 0.9]: |0.55 - 0.5| * 2/4 + |0.85 - 1.0| * 2/4
    found = calibration_error(np.array([0.55, 0.55, 0.85, 0.85]), np.array([1, 0, 1, 1]))
    assert found == pytest.approx(0.5 * 0.05 + 0.5 * 0.15)


def test_majority_leaves_out_what_could_not_be_read() -> None:
    assert majority([None, None, "7", "5", "7"]) == "7"
    assert majority([None]) is None


def test_rouge_worked_by_hand() -> None:
    pytest.importorskip("rouge_score")
    (score,) = rouge(["the cat sat"], ["the cat ran far"])
    # two of three words, two of four; one bigram of two, of three; longest common subsequence 2
    assert score["rouge1"] == pytest.approx(2 * (2 / 3) * (2 / 4) / (2 / 3 + 2 / 4))
    assert score["rouge2"] == pytest.approx(2 * (1 / 2) * (1 / 3) / (1 / 2 + 1 / 3))
    assert score["rougeL"] == pytest.approx(score["rouge1"])


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("Positive.", "positive"),
        ("It is negative, I think", "negative"),
        ("neither positive nor negative", None),
        ("positively", None),
        ("", None),
        ("negative: not positive", "negative"),
    ],
)
def test_a_choice_is_read_where_the_text_names_one(text: str, read: str | None) -> None:
    assert choice(text, ("negative", "positive")) == read


def test_bootstrap_intervals_cover_the_truth() -> None:
    rng = np.random.default_rng(0)
    inside = 0
    for trial in range(200):
        low, high = mean_interval((rng.random(100) < 0.3).astype(float), seed=trial)[1:]
        inside += low <= 0.3 <= high
    assert inside / 200 == pytest.approx(0.95, abs=0.05)
    values = rng.normal(size=300)
    whole = statistic_interval(lambda i: float(np.median(values[i])), 300)
    assert whole.low < whole.value < whole.high
