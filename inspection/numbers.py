"""How numbers are written in every table and chart: one rule, so that columns line up and pages agree.

Counts are whole, with thousands marked. Measures have four decimals below 1,000 and one above; one that would be shown
as nothing but zeros has three digits and its power of ten.
"""

from __future__ import annotations

import math
from numbers import Integral


def number(value: float | None) -> str:
    """A count or a measure as text; of nothing, and of NaN, none."""
    if value is None or math.isnan(value):
        return ""
    if isinstance(value, Integral):
        return f"{value:,}"
    if abs(value) >= 1e9 or 0 < abs(value) < 5e-5:
        return f"{value:.3g}"
    return f"{value:.4f}" if abs(value) < 1000 else f"{value:,.1f}"


def short(value: float) -> str:
    """1000 -> 1k."""
    for size, letter in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:g}{letter}"
    return f"{value:g}"


def ticks(low: float, high: float, *, most: int = 6, whole: bool = False) -> list[float]:
    """Round numbers from `low` to `high`, at most `most`, a step of 1, 2 or 5 times a power of ten apart.

    `whole`: no fractions, for what is counted.
    """
    least = max((high - low) / max(most - 1, 1), 1e-300)
    power = 10.0 ** math.floor(math.log10(least))
    step = next(power * k for k in (1, 2, 5, 10) if power * k >= least * (1 - 1e-9))
    step = max(step, 1.0) if whole else step
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [k * step for k in range(first, last + 1)]


def tick_label(value: float, step: float) -> str:
    """With as many decimals as the step between ticks needs."""
    if not step or abs(value) >= 1e9 or step < 1e-5:
        return f"{value:.3g}"
    return f"{value + 0.0:,.{max(0, -math.floor(math.log10(step) + 1e-9))}f}"
