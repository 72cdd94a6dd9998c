"""Values with 95 % intervals that hold the truth in some 95 of 100 evaluations, or with none. Arrays in, numbers out.

What is drawn anew in another evaluation is a unit: a document, a pair, a question, or all questions that share a source
(a passage, a template, a chain of sums): these go up and down together, so they are one unit, whatever their number.

Coverage of the truth in simulated evaluations, in per cent (`python -m tests.evaluation.coverage` measures it):

    units                               3      5     10     30    100
    normal values                       -   96.2   96.1   95.5   95.5
    exponential                         -   93.3   93.8   95.5   95.6
    log-normal(1)                       -   90.5   92.5   94.0   95.8
    loss of uneven documents            -   94.2   93.7   94.7   94.5
    proportion of 0.1               100.0   99.1   98.8   99.3   96.0
    the same, 1 to 8 to a source    100.0   99.9   99.6   96.5   95.7
"""

import math
from collections.abc import Callable, Hashable, Sequence
from typing import NamedTuple

import numpy as np
from scipy import stats

LEVEL = 0.95
FEWEST = 5  # units of a mean: with fewer, skewed values lie outside too often (Student's t of 3: 85 to 90 %)
FEWEST_RESAMPLED = 30  # units of any other statistic: with fewer, percentiles of resamples are too narrow
NORMAL_ENOUGH = 2000  # units whose mean is normal whatever the values; resampling adds nothing
MOST_OF_A_SOURCE = 2.5  # questions that a source counts for: few right answers show too little of their spread


class Estimate(NamedTuple):
    """A value and the bounds of its 95 % interval; NaN where none can be given."""

    value: float
    low: float
    high: float


def ratio_interval(
    numerators: np.ndarray, denominators: np.ndarray, *, seed: int = 0, resamples: int = 1000
) -> Estimate:
    """sum(numerators) / sum(denominators) over units.

    A studentised bootstrap, which follows skewed values (Efron & Tibshirani 1993, chapter 12), and never narrower than
    Student's t. No interval below FEWEST units.

    Args:
        numerators: (n,) e.g. nats of each document. denominators: (n,) e.g. its tokens.
    """
    x, y = np.asarray(numerators, np.float64), np.asarray(denominators, np.float64)
    n, value = len(x), float(x.sum() / y.sum())
    if n < FEWEST:
        return Estimate(value, math.nan, math.nan)
    error = float(_ratio_errors(x, y))
    above = below = float(stats.t.ppf(0.5 + LEVEL / 2, n - 1))
    if error > 0 and n <= NORMAL_ENOUGH:
        rng = np.random.default_rng(seed)
        drawn = rng.integers(n, size=(resamples, n))
        errors = _ratio_errors(x[drawn], y[drawn])
        errors[errors < 1e-3 * error] = np.inf  # one unit drawn n times has no spread, and says nothing
        deviations = (x[drawn].sum(1) / y[drawn].sum(1) - value) / errors
        low, high = np.quantile(deviations, [0.5 - LEVEL / 2, 0.5 + LEVEL / 2])
        above, below = max(above, -float(low)), max(below, float(high))
    return Estimate(value, value - below * error, value + above * error)


def _ratio_errors(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Standard error of sum(x) / sum(y) over the last axis: the jackknife's, which sees the weight of a large unit."""
    n, total = x.shape[-1], y.sum(-1)
    residuals = x - (x.sum(-1) / total)[..., None] * y
    return np.sqrt((n - 1) / n * ((residuals / (total[..., None] - y)) ** 2).sum(-1))


def mean_interval(values: np.ndarray, *, sources: Sequence[Hashable] | None = None, seed: int = 0) -> Estimate:
    """Mean of (n,) values; of proportions (all values 0 or 1) the exact interval. Values of one source are one unit."""
    values = np.asarray(values, np.float64)
    if np.isin(values, (0.0, 1.0)).all():
        return proportion_interval(values, sources=sources)
    totals, sizes = by_source(values, sources)
    return ratio_interval(totals, sizes, seed=seed)


def difference_interval(
    ours: np.ndarray, theirs: np.ndarray, *, sources: Sequence[Hashable] | None = None, seed: int = 0
) -> Estimate:
    """Mean of (n,) paired differences. Never a proportion's interval: one gain and no loss does not prove a gain."""
    totals, sizes = by_source(np.subtract(ours, theirs, dtype=np.float64), sources)
    return ratio_interval(totals, sizes, seed=seed)


def mean_of_sources(values: np.ndarray, sources: Sequence[Hashable], *, seed: int = 0) -> Estimate:
    """Mean over sources of each one's mean: a source counts once, however many of its questions were asked."""
    totals, sizes = by_source(np.asarray(values, np.float64), sources)
    return mean_interval(totals / sizes, seed=seed)


def by_source(values: np.ndarray, sources: Sequence[Hashable] | None) -> tuple[np.ndarray, np.ndarray]:
    """Sum and number of the values of each source, (u,) and (u,); each value its own where there are no sources."""
    unit = unit_of(sources, len(values))
    return np.bincount(unit, weights=values), np.bincount(unit).astype(np.float64)


def unit_of(sources: Sequence[Hashable] | None, n: int) -> np.ndarray:
    """(n,) the number of each value's unit, 0 to units - 1, in the order in which they come."""
    if sources is None:
        return np.arange(n)
    number: dict[Hashable, int] = {}
    return np.array([number.setdefault(source, len(number)) for source in sources])


def proportion_interval(right: np.ndarray, *, sources: Sequence[Hashable] | None = None) -> Estimate:
    """Share of ones among (n,) zeros and ones, with Clopper and Pearson's exact interval (1934): never too narrow.

    Of questions that share sources, as many count as the spread over sources says they are worth (Korn & Graubard
    1998, Survey Methodology 24); where all answers are alike, so that there is no spread, as many as there are sources.
    No interval from one source.
    """
    right = np.asarray(right, np.float64)
    n, value = len(right), float(right.mean())
    worth = float(n)
    totals, sizes = by_source(right, sources)
    if len(totals) == 1:
        return Estimate(value, math.nan, math.nan)
    if len(totals) < n:
        units = float(sizes.sum() ** 2 / (sizes**2).sum())  # as if of equal size (Kish 1965)
        error, t = float(_ratio_errors(totals, sizes)), stats.t.ppf(0.5 + LEVEL / 2, [n - 1, max(1.0, units - 1)])
        spread = value * (1 - value) / error**2 * float(t[0] / t[1]) ** 2 if error > 0 else units
        worth = min(float(n), MOST_OF_A_SOURCE * units, spread)
    return Estimate(value, *_clopper_pearson(value * worth, worth))


def _clopper_pearson(right: float, n: float) -> tuple[float, float]:
    tail = 0.5 - LEVEL / 2
    low = float(stats.beta.ppf(tail, right, n - right + 1)) if right > 0 else 0.0
    high = float(stats.beta.isf(tail, right + 1, n - right)) if right < n else 1.0
    return low, high


def statistic_interval(
    statistic: Callable[[np.ndarray], float],
    n: int,
    *,
    sources: Sequence[Hashable] | None = None,
    seed: int = 0,
    resamples: int = 500,
) -> Estimate:
    """Any statistic of n items, given their (m,) indices: percentiles over resampled units, none below 30 of them."""
    value = statistic(np.arange(n))
    unit = unit_of(sources, n)
    units = int(unit.max()) + 1 if n else 0
    if units < FEWEST_RESAMPLED:
        return Estimate(value, math.nan, math.nan)
    members = np.split(np.argsort(unit, kind="stable"), np.cumsum(np.bincount(unit))[:-1])

    def resampled(drawn: np.ndarray) -> float:
        return statistic(np.concatenate([members[i] for i in drawn]))

    found = stats.bootstrap(
        (np.arange(units),), resampled, vectorized=False, n_resamples=resamples, method="percentile",
        rng=np.random.default_rng(seed), confidence_level=LEVEL,
    ).confidence_interval  # fmt: skip
    return Estimate(value, float(found.low), float(found.high))


def text_metrics(
    nll: np.ndarray, tokens: np.ndarray, text_nll: np.ndarray, text_bytes: np.ndarray, *, seed: int = 0
) -> dict[str, Estimate]:
    """loss (nats per token), perplexity and bpb (bits per byte of text) from sums of each unit.

    Args:
        nll: (n,) nats of all targets. tokens: (n,) their number.
        text_nll: (n,) nats of the targets that stand for text. text_bytes: (n,) the bytes they stand for.
    """
    loss = ratio_interval(nll, tokens, seed=seed)
    metrics = {"loss": loss, "perplexity": Estimate(*(math.exp(min(v, 700.0)) for v in loss))}
    if text_bytes.sum() > 0:
        metrics["bpb"] = ratio_interval(text_nll / math.log(2), text_bytes, seed=seed)
    return metrics


def in_words(estimate: Estimate, *, over: str, n: int) -> str:
    """The interval, or that there is none. Args: over: what one of the `n` units is called."""
    if math.isnan(estimate.low):
        return f"(one {over}: no interval)" if n == 1 else f"(no interval; {n:,} {over}s)"
    return f"95 % interval over {over}s {estimate.low:.4f} to {estimate.high:.4f}"
