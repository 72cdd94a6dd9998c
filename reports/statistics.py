"""From runs with several seeds to means with intervals, and differences with p-values. Numbers in, numbers out."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import stats

LEVEL = 0.95
SAME = 1e-9  # differences that differ by less than this share of what is compared are one and the same


class Mean(NamedTuple):
    """Mean over `n` seeds, sample deviation, and the bounds of the 95 % interval of the mean (Student's t)."""

    value: float
    deviation: float
    low: float
    high: float
    n: int


class Difference(NamedTuple):
    """Mean of paired differences, its 95 % interval, the two-sided p-value of "no difference", and the pairs.

    Interval and p-value are NaN where nothing can be said about chance: one pair, or the same difference in all (of no
    difference at all the p-value is 1).
    """

    value: float
    low: float
    high: float
    p: float
    n: int


def mean(values: Sequence[float]) -> Mean:
    """With one value there is no deviation and no interval: they are NaN; nor an interval where all values are equal.

    None right of 128 with each of three seeds is not "0 to 0": seeds that agree show no spread to tell chance by.
    """
    x = np.asarray(values, dtype=np.float64)
    n = len(x)
    if n < 2:
        return Mean(float(x.mean()) if n else math.nan, math.nan, math.nan, math.nan, n)
    deviation = float(x.std(ddof=1))
    if deviation <= SAME * np.abs(x).max():
        return Mean(float(x.mean()), 0.0, math.nan, math.nan, n)
    low, high = stats.t.interval(LEVEL, n - 1, x.mean(), deviation / math.sqrt(n))
    return Mean(float(x.mean()), deviation, float(low), float(high), n)


def paired_difference(ours: dict[int, float], baseline: dict[int, float]) -> Difference:
    """`ours` - `baseline` over the seeds that both have; pairing takes away what a seed does to both alike.

    Args:
        ours, baseline: seed -> value.
    """
    seeds = sorted(ours.keys() & baseline.keys())
    x, y = (np.array([side[seed] for seed in seeds], np.float64) for side in (ours, baseline))
    n, value = len(seeds), float((x - y).mean()) if seeds else math.nan
    if n < 2:
        return Difference(value, math.nan, math.nan, math.nan, n)
    if (x - y).std(ddof=1) <= SAME * max(np.abs(x).max(), np.abs(y).max()):
        # No spread to test against: the metric is coarse (two answers of 128 more, twice), or seeds change nothing.
        # A p-value of 0 would be a certainty that a few equal numbers do not give.
        if value == 0:
            return Difference(value, math.nan, math.nan, 1.0, n)
        return Difference(value, math.nan, math.nan, math.nan, n)
    test = stats.ttest_rel(x, y)
    bounds = test.confidence_interval(LEVEL)
    return Difference(value, float(bounds.low), float(bounds.high), float(test.pvalue), n)


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values corrected for their number, each still valid when all are looked at (Holm 1979); NaN stays NaN."""
    order = sorted((i for i, p in enumerate(p_values) if not math.isnan(p)), key=lambda i: p_values[i])
    corrected, running = [math.nan] * len(p_values), 0.0
    for rank, i in enumerate(order):
        running = max(running, min(1.0, p_values[i] * (len(order) - rank)))
        corrected[i] = running
    return corrected
