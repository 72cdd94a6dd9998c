"""Intervals: values by hand, and coverage of the truth in simulated evaluations."""

import math

import numpy as np
import pytest

from evaluation.intervals import ratio_interval, text_metrics


def test_values_by_hand():
    metrics = text_metrics(np.array([2.0, 4.0]), np.array([1.0, 2.0]), np.array([2.0, 2.0]), np.array([2.0, 4.0]))
    assert metrics["loss"].value == pytest.approx(2.0)
    assert metrics["perplexity"].value == pytest.approx(math.exp(2))
    assert metrics["bpb"].value == pytest.approx(4 / math.log(2) / 6)


def test_one_block_has_no_interval():
    estimate = ratio_interval(np.array([3.0]), np.array([2.0]))
    assert estimate.value == 1.5
    assert math.isnan(estimate.low)


def test_same_seed_same_interval_and_equal_blocks_no_width():
    values = np.random.default_rng(0).random(30)
    assert ratio_interval(values, np.ones(30), seed=4) == ratio_interval(values, np.ones(30), seed=4)
    low, high = ratio_interval(np.full(30, 2.0), np.ones(30))[1:]
    assert (low, high) == (2.0, 2.0)


def test_interval_covers_the_truth_about_95_times_in_100():
    """Blocks of uneven length whose loss per token is 2; 300 evaluations of 60 blocks, +-3 standard errors."""
    rng, covered = np.random.default_rng(1), 0
    for i in range(300):
        tokens = rng.integers(5, 65, 60).astype(float)
        nll = tokens * 2 + rng.normal(0, 1, 60) * np.sqrt(tokens)
        estimate = ratio_interval(nll, tokens, seed=i, resamples=400)
        covered += estimate.low <= 2 <= estimate.high
    assert 0.95 - 0.045 <= covered / 300 <= 0.95 + 0.038
