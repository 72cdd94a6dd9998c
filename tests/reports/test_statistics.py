"""Means, intervals, paired differences: hand-worked numbers, and simulated sweeps whose truth is known."""

import math

import numpy as np
import pytest

from reports.scaling import power_law
from reports.statistics import holm, mean, paired_difference


def test_a_mean_worked_by_hand() -> None:
    found = mean([1.0, 2.0, 3.0])
    # deviation 1; t(0.975, 2) = 4.302653; half width 4.302653 / sqrt(3) = 2.484138
    assert found == pytest.approx((2.0, 1.0, -0.484138, 4.484138, 3), abs=1e-6)


def test_one_value_has_no_interval() -> None:
    found = mean([1.5])
    assert found.value == 1.5
    assert math.isnan(found.low)
    assert math.isnan(found.deviation)


def test_F43_seeds_that_agree_have_no_interval_of_no_width() -> None:
    found = mean([0.0, 0.0, 0.0])
    assert (found.value, found.deviation, found.n) == (0.0, 0.0, 3)
    assert math.isnan(found.low)
    assert math.isnan(mean([0.1 + 0.2, 0.3]).low), "different in the last bit only"
    assert math.isnan(paired_difference({1: 1.0, 2: 2.0}, {1: 1.0, 2: 2.0}).low)


def test_a_paired_difference_worked_by_hand() -> None:
    found = paired_difference({1: 1.0, 2: 2.0, 3: 3.5, 9: 100.0}, {1: 2.0, 2: 2.5, 3: 5.0, 8: 0.0})
    # differences -1, -0.5, -1.5: mean -1, deviation 0.5, t = -1 / (0.5 / sqrt(3)) = -3.4641, p(2 df) = 0.074180
    assert (found.value, found.n) == (-1.0, 3)
    assert found.p == pytest.approx(0.0741799, abs=1e-6)
    assert (found.low, found.high) == pytest.approx((-2.242069, 0.242069), abs=1e-6)


def test_the_same_difference_with_every_seed_is_no_certainty() -> None:
    """0.6 - 0.5 and 0.7 - 0.6 differ in the last bits only: a t-test of them would give p = 1e-16 with two seeds."""
    assert paired_difference({1: 1.0, 2: 2.0}, {1: 1.0, 2: 2.0}).p == 1.0
    for found in (
        paired_difference({1: 1.0, 2: 2.0}, {1: 0.0, 2: 1.0}),
        paired_difference({1: 0.6, 2: 0.7}, {1: 0.5, 2: 0.6}),
    ):
        assert found.value > 0
        assert math.isnan(found.p)
        assert math.isnan(found.low)
        assert found.n == 2


def test_intervals_cover_the_truth_in_95_of_100_simulated_sweeps() -> None:
    rng = np.random.default_rng(0)
    trials = [
        paired_difference(
            *({s: m + x for s, x in enumerate(rng.normal(0, sd, 5))} for m, sd in ((2.1, 0.1), (2.0, 0.2)))
        )
        for _ in range(4000)
    ]
    covered = np.mean([trial.low <= 0.1 <= trial.high for trial in trials])
    assert 0.94 <= covered <= 0.96


def test_p_values_are_uniform_when_nothing_differs() -> None:
    rng = np.random.default_rng(1)
    draws = rng.normal(size=(4000, 2, 4))
    ps = np.array([paired_difference(dict(enumerate(a)), dict(enumerate(b))).p for a, b in draws])
    for level in (0.05, 0.25, 0.5, 0.9):
        assert np.mean(ps < level) == pytest.approx(level, abs=0.025)


def test_holm_worked_by_hand() -> None:
    # sorted 0.01, 0.03, 0.04: x3, x2, x1, and never below the one before
    assert holm([0.04, 0.01, 0.03]) == pytest.approx([0.06, 0.03, 0.06])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    corrected = holm([0.02, math.nan])
    assert corrected[0] == 0.02
    assert math.isnan(corrected[1])


def test_holm_keeps_false_alarms_of_a_family_below_one_in_twenty() -> None:
    rng = np.random.default_rng(2)
    families = rng.uniform(size=(3000, 6))
    assert np.mean([min(holm(family.tolist())) <= 0.05 for family in families]) == pytest.approx(0.05, abs=0.015)


def test_a_power_law_is_found_again() -> None:
    sizes = [1e5, 3e5, 1e6, 1e7]
    law = power_law(sizes, [5.0 * n**-0.07 for n in sizes])
    assert law is not None
    assert (law.scale, law.exponent) == pytest.approx((5.0, 0.07), rel=1e-6)
    rng = np.random.default_rng(3)
    covered = []
    for _ in range(500):
        noisy = power_law(sizes, [5.0 * n**-0.07 * math.exp(rng.normal(0, 0.01)) for n in sizes])
        covered.append(noisy.low <= 0.07 <= noisy.high)
    assert np.mean(covered) == pytest.approx(0.95, abs=0.03)
    assert power_law([1e5, 1e6], [3.0, 2.0]) is None
