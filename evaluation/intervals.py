"""Loss, perplexity and bits per byte of a text, each with a 95 % interval. Pure numpy: arrays in, numbers out."""

import math
from typing import NamedTuple

import numpy as np


class Estimate(NamedTuple):
    """A value and the bounds of its 95 % interval."""

    value: float
    low: float
    high: float


def ratio_interval(
    numerators: np.ndarray, denominators: np.ndarray, *, seed: int = 0, resamples: int = 1000
) -> Estimate:
    """sum(numerators) / sum(denominators) over blocks, with a percentile bootstrap over the blocks.

    Blocks (windows or documents) are drawn whole, since tokens inside one are not independent
    (Efron & Tibshirani 1993, chapter 13). With a single block there is no interval: the bounds are NaN.

    Args:
        numerators: (n,) e.g. nats of each block. denominators: (n,) e.g. its tokens.
    """
    n = len(numerators)
    value = float(numerators.sum() / denominators.sum())
    if n < 2:
        return Estimate(value, math.nan, math.nan)
    rng = np.random.default_rng(seed)
    ratios = np.empty(resamples)
    for i in range(resamples):
        drawn = rng.integers(n, size=n)
        ratios[i] = numerators[drawn].sum() / denominators[drawn].sum()
    low, high = np.quantile(ratios, [0.025, 0.975])
    return Estimate(value, float(low), float(high))


def text_metrics(
    nll: np.ndarray, tokens: np.ndarray, text_nll: np.ndarray, text_bytes: np.ndarray, *, seed: int = 0
) -> dict[str, Estimate]:
    """loss (nats per token), perplexity and bpb (bits per byte of text) from per-block sums.

    Args:
        nll: (n,) nats of all targets. tokens: (n,) their number.
        text_nll: (n,) nats of the targets that stand for text. text_bytes: (n,) the bytes they stand for.
    """
    loss = ratio_interval(nll, tokens, seed=seed)
    metrics = {"loss": loss, "perplexity": Estimate(*(math.exp(min(v, 700.0)) for v in loss))}
    if text_bytes.sum() > 0:
        metrics["bpb"] = ratio_interval(text_nll / math.log(2), text_bytes, seed=seed)
    return metrics
