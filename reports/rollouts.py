"""Runs of online RL: held-out answers before and after, and whether they became right where the reward rose.

Over-optimisation (Gao et al. 2023, 2210.10760) shows where the reward rises and right answers do not.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from reports.collect import Run
from reports.comparison import Arm, Comparison
from reports.figures import Panel
from reports.statistics import mean
from reports.tables import Row, interval, number, signed

# key of summary.json's held_out -> its name in the table; of metrics.csv it is val/<key>
TOLD = {"reward": "reward", "sampled_exact_match": "right, drawn", "exact_match_chains": "right, mean over chains"}
KL = "objective/kl"


def rows(comparison: Comparison) -> list[Row]:
    """A line for each arm with held-out answers: before, after, gain with its interval over seeds, KL at the end."""
    found = []
    for arm in comparison.arms:
        if not (runs := _runs(arm)):
            continue
        row = {"setting": arm.label, "n": str(len(runs))}
        for key, name in TOLD.items():
            ends = [(held["before"][key], held["after"][key]) for held in _held_out(runs) if key in held["before"]]
            if ends:
                gain = mean([after - before for before, after in ends])
                row[f"{name}, before"] = number(mean([before for before, _ in ends]).value)
                row[f"{name}, after"] = number(mean([after for _, after in ends]).value)
                row[f"{name}, gain"] = " ".join([signed(gain.value), *_in_brackets(gain.low, gain.high)])
        found.append(row | {KL: number(mean([run.metrics[KL] for run in runs if KL in run.metrics]).value)})
    return found


def panels(comparison: Comparison) -> list[Panel]:
    """Reward and right answers against updates, those before the first one too; none where no run has them."""
    found = []
    for key in ("reward", "sampled_exact_match"):
        lines = {arm.label: line for arm in comparison.arms if (line := curve(_runs(arm), key))}
        if lines:
            found.append(Panel(f"held-out {TOLD[key]}", lines))
    return found


def curve(runs: Sequence[Run], key: str) -> dict[int, list[float]]:
    """Updates -> the values of all runs, at the updates that all of them have."""
    each = []
    for run, held in zip(runs, _held_out(runs), strict=True):
        seen = run.curve(f"val/{key}")
        points = dict(zip(np.asarray(seen["step"], int).tolist(), np.asarray(seen["value"]).tolist(), strict=True))
        each.append(({0: held["before"][key]} if key in held["before"] else {}) | points)
    common = set.intersection(*map(set, each)) if each else set()
    return {step: [points[step] for points in each] for step in sorted(common)} if len(common) > 1 else {}


def _runs(arm: Arm) -> list[Run]:
    return [run for run in arm.finished if _is_told(run.summary.get("held_out") or {})]


def _is_told(held: dict[str, Any]) -> bool:
    sides = [held.get("before"), held.get("after")]
    return all(isinstance(side, dict) and "reward" in side and _numbers(side) for side in sides)


def _numbers(side: dict[str, Any]) -> bool:
    return all(isinstance(value, int | float) for value in side.values())


def _held_out(runs: Sequence[Run]) -> list[dict[str, dict[str, float]]]:
    return [run.summary["held_out"] for run in runs]


def _in_brackets(low: float, high: float) -> list[str]:
    return [f"({said})"] if (said := interval(low, high)) else []
