"""Learning-rate schedules: pure functions from the number of updates done to a multiplier of each group's own rate.

Stateless, so that a resumed run needs nothing but its step. All warm up linearly over `warmup_steps`, reaching
(step + 1) / (warmup_steps + 1) of the peak as nanoGPT does, so that the first update is not lost to a rate of 0.
"""

import math

from bounds import NonNegativeInt, PositiveInt, Share


def constant(step: int, *, warmup_steps: NonNegativeInt) -> float:
    """The peak rate after the warm-up."""
    return _warmup(step, warmup_steps)


def cosine(step: int, *, total_steps: PositiveInt, warmup_steps: NonNegativeInt, final_ratio: Share) -> float:
    """Half a cosine from the peak to `final_ratio` of it (SGDR without restarts, 1608.03983), then flat."""
    if step < warmup_steps:
        return _warmup(step, warmup_steps)
    return final_ratio + (1 - final_ratio) * 0.5 * (1 + math.cos(math.pi * _progress(step, warmup_steps, total_steps)))


def linear(step: int, *, total_steps: PositiveInt, warmup_steps: NonNegativeInt, final_ratio: Share) -> float:
    """A straight line from the peak to `final_ratio` of it."""
    if step < warmup_steps:
        return _warmup(step, warmup_steps)
    return 1 - (1 - final_ratio) * _progress(step, warmup_steps, total_steps)


def wsd(
    step: int, *, total_steps: PositiveInt, warmup_steps: NonNegativeInt, decay_ratio: Share, final_ratio: Share
) -> float:
    """Warm up, stay, decay: flat, then a line down over the last `decay_ratio` of the run (MiniCPM, 2404.06395)."""
    if step < warmup_steps:
        return _warmup(step, warmup_steps)
    decay_start = max(warmup_steps, round(total_steps * (1 - decay_ratio)))
    return 1 - (1 - final_ratio) * _progress(step, decay_start, total_steps)


def _warmup(step: int, warmup_steps: int) -> float:
    return min(1.0, (step + 1) / (warmup_steps + 1))


def _progress(step: int, start: int, end: int) -> float:
    """0 at `start`, 1 at `end` and after."""
    return min(1.0, max(0.0, (step - start) / max(1, end - start)))
