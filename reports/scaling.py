"""A power law through losses of several sizes: loss = a * size^(-b), straight in logarithms (2001.08361, eq. 1.1).

A bend towards an irreducible loss cannot be told from a straight line over a decade of small models, so none is fitted.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import stats


class PowerLaw(NamedTuple):
    """loss = scale * size ** -exponent; the bounds are the exponent's 95 % interval (least squares, Student's t)."""

    scale: float
    exponent: float
    low: float
    high: float
    n: int

    def at(self, sizes: np.ndarray) -> np.ndarray:
        return self.scale * sizes**-self.exponent


def power_law(sizes: Sequence[float], losses: Sequence[float]) -> PowerLaw | None:
    """(n,) sizes and (n,) losses; None with fewer than three different sizes, where any line would do."""
    if len(set(sizes)) < 3 or min(losses) <= 0:
        return None
    fit = stats.linregress(np.log(sizes), np.log(losses))
    half = float(stats.t.ppf(0.975, len(sizes) - 2)) * fit.stderr
    return PowerLaw(math.exp(fit.intercept), -fit.slope, -fit.slope - half, -fit.slope + half, len(sizes))
