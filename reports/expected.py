"""Records the curves to expect of a run as it stands, from runs with different seeds.

    python -m reports.expected docs/curves/grpo.yaml "python run.py objective=grpo" docs/rl.md RUN RUN RUN

For each validation the band in which 19 of 20 further runs lie at every point: mean +- t s sqrt(1 + 1/n), s pooled over
a metric's points, and t for all points of all metrics together (Bonferroni).
"""

import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from scipy import stats

from errors import RequestError
from runs.expected import points, settings

METRICS = ("val/reward", "val/sampled_exact_match", "val/exact_match", "objective/rlhf_reward", "objective/kl")
MISSED = 0.05  # of runs that are outside somewhere


def record(file: Path, command: str, page: str, runs: Sequence[Path]) -> None:
    """Raises RequestError for fewer than two runs, or runs of different settings."""
    if len(runs) < 2:
        raise RequestError("one run has no spread: expected two or more, of one command with different seeds.")
    own = [settings(run) for run in runs]
    for run, other in zip(runs[1:], own[1:], strict=True):
        differ = [key for key in own[0].keys() | other.keys() if own[0].get(key) != other.get(key)]
        if differ:
            raise RequestError(f"{run} is another experiment than {runs[0]}: {', '.join(sorted(differ))} differ.")
    known = {"command": command, "page": page, "runs": len(runs), "settings": own[0], "curves": bands(runs)}
    text = yaml.safe_dump(known, sort_keys=False, allow_unicode=True, width=110)
    file.write_text(f"# curves to expect: [low, mean, high] by step; python -m reports.expected writes it\n{text}")


def bands(runs: Sequence[Path]) -> dict[str, dict[int, list[float]]]:
    """{metric: {step: [low, mean, high]}} at the steps of validations."""
    seen = [points(run, list(METRICS)) for run in runs]
    curves: dict[str, dict[int, Any]] = {}
    for name in METRICS:
        validated = set.intersection(*(set(run.get("val/reward", {})) for run in seen))
        steps = sorted(validated.intersection(*(run.get(name, {}) for run in seen)))
        curve = {step: np.array([run[name][step] for run in seen]) for step in steps}
        if steps and not any(_same(curve, other) for other in curves.values()):  # the reward may be exact match
            curves[name] = curve
    n_points = sum(map(len, curves.values()))
    return {name: band(curve, missed=MISSED / n_points) for name, curve in curves.items()}


def band(curve: dict[int, np.ndarray], *, missed: float) -> dict[int, list[float]]:
    """[low, mean, high] at each step. Args: curve: (n,) values by step. missed: chance of one more value outside."""
    n = len(next(iter(curve.values())))
    deviation = float(np.sqrt(np.mean([values.var(ddof=1) for values in curve.values()])))
    t = float(stats.t.ppf(1 - missed / 2, df=len(curve) * (n - 1)))
    reach = t * deviation * (1 + 1 / n) ** 0.5
    means = {step: float(values.mean()) for step, values in curve.items()}
    return {s: [_down(mean - reach), round(mean, 4), -_down(-mean - reach)] for s, mean in means.items()}


def _same(curve: dict[int, np.ndarray], other: dict[int, np.ndarray]) -> bool:
    return curve.keys() == other.keys() and all(np.array_equal(curve[step], other[step]) for step in curve)


def _down(value: float) -> float:
    return math.floor(value * 1e4) / 1e4


if __name__ == "__main__":
    record(Path(sys.argv[1]), sys.argv[2], sys.argv[3], [Path(run) for run in sys.argv[4:]])
