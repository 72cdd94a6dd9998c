"""What some runs have besides a loss, a section each: busy experts, boosted stages, answers that could not be read.

They are read from files of the run folders alone; a sweep without any of it gets no section.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

from reports import answers, figures, rollouts, stages
from reports.collect import Run
from reports.comparison import Arm, Comparison
from reports.statistics import mean
from reports.tables import Row, number

# metric -> (name in the table, digits say more than words: what it means)
ROUTING = {
    "load_entropy": "evenness of loads (1: all alike)",
    "maxvio": "busiest expert above its share",
    "min_load": "least busy, in shares",
    "dead_experts": "dead experts",
    "dropped": "dropped",
    "confidence": "router's confidence",
}
MOE = "train/moe/"


class Section(NamedTuple):
    """`note` says how to read it. `figures`: name -> SVG."""

    title: str
    note: str
    rows: list[Row]
    figures: dict[str, str]


def sections(comparison: Comparison) -> list[Section]:
    return [found for make in (routing, boosted, rewarded, judged, unread) if (found := make(comparison)) is not None]


def routing(comparison: Comparison) -> Section | None:
    """Means over seeds of what the last row of training says about the router; None where no run has experts."""
    arms = [arm for arm in comparison.arms if any(f"{MOE}load_entropy" in run.metrics for run in arm.finished)]
    if not arms:
        return None
    rows: list[Row] = []
    for arm in arms:
        row = {"setting": arm.label}
        for name, told in ROUTING.items():
            row[told] = number(mean(_values(arm.finished, MOE + name)).value)
        rows.append(row | {"n": str(len(arm.finished))})
    drawn = {
        told: figures.lines(arms, MOE + name, "tokens")
        for name, told in ROUTING.items()
        if name in ("load_entropy", "maxvio")
    }
    note = "At the last logged step of training, mean over layers and seeds. Bands run from lowest to highest seed."
    return Section("Routing", note, rows, {name: svg for name, svg in drawn.items() if svg})


def _values(runs: Sequence[Run], metric: str) -> list[float]:
    return [run.metrics[metric] for run in runs if math.isfinite(run.metrics.get(metric, math.nan))]


def boosted(comparison: Comparison) -> Section | None:
    """Loss and gain of each stage, over seeds; None where no run was boosted."""
    rows = stages.rows(comparison)
    if not rows:
        return None
    drawn = figures.stages({arm.label: losses_by_stage(arm) for arm in comparison.arms})
    looked = {arm.label: found for arm in comparison.arms if (found := losses_by_look(arm))}
    note = "Gain: what a kept stage takes off the loss of the validation side, which it was not chosen on."
    drawings = {"loss by stage": drawn}
    if looked:
        note += (
            " Looks at the dev part are those of a stage's whole correction; each begins where the one before ended."
        )
        drawings["looks at the dev part"] = figures.side_by_side([figures.Panel("loss on the dev part", looked)])
    return Section("Boosted stages", note, rows, {name: svg for name, svg in drawings.items() if svg})


def losses_by_stage(arm: Arm) -> dict[int, list[float]]:
    """Stage -> validation losses of the runs that reached it."""
    found: dict[int, list[float]] = {}
    for stage in _stages(arm):
        if isinstance(loss := stage.get("val/loss"), int | float) and math.isfinite(loss):
            found.setdefault(int(stage["stage"]), []).append(float(loss))
    return dict(sorted(found.items()))


def losses_by_look(arm: Arm) -> dict[int, list[float]]:
    """Updates of the run -> losses of the dev part at each look, see `gbft.best_every`."""
    found: dict[int, list[float]] = {}
    for stage in _stages(arm):
        for step, loss in stage.get("looks") or []:
            found.setdefault(int(step), []).append(float(loss))
    return dict(sorted(found.items()))


def _stages(arm: Arm) -> list[dict[str, Any]]:
    return [stage for run in arm.finished for stage in run.summary.get("stages") or [] if "stage" in stage]


def rewarded(comparison: Comparison) -> Section | None:
    """Held-out reward and right answers of online RL; None where no run drew answers."""
    rows = rollouts.rows(comparison)
    if not rows:
        return None
    drawn = figures.side_by_side(rollouts.panels(comparison))
    note = (
        "Answers drawn to held-out questions before the first and after the last update; in brackets 95 % over seeds. "
        "Where the reward rises and right answers do not, the policy has learned to please the reward."
    )
    return Section("Reward and right answers", note, rows, {"reward and right answers": drawn} if drawn else {})


def judged(comparison: Comparison) -> Section | None:
    """How many answers of each benchmark run could not be read; None where none was read at all."""
    rows = answers.judged(comparison)
    note = "An answer that cannot be read counts as wrong. Many of them say something of the format, not of the model."
    return Section("Answers read", note, rows, {}) if rows else None


def unread(comparison: Comparison) -> Section | None:
    rows = answers.unread(comparison)
    note = "The first ten of each run, as they were given."
    return Section("Answers that could not be read", note, rows, {}) if rows else None
