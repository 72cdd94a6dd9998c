"""Runs of gradient-boosted fine-tuning: what each stage did, over seeds, out of `stages` of summary.json."""

from reports.comparison import Arm, Comparison
from reports.statistics import mean
from reports.tables import Row, interval, number, signed

LOSS = "val/loss"


def rows(comparison: Comparison) -> list[Row]:
    """A line for each arm and stage; empty where no run has stages.

    The gain is that of the stage on the validation side, which neither chose its step nor whether it stays.
    """
    return [row for arm in comparison.arms for row in _of_arm(arm)]


def _of_arm(arm: Arm) -> list[Row]:
    tables = [run.summary["stages"] for run in arm.finished if run.summary.get("stages")]
    found = []
    for stage in range(max((len(table) for table in tables), default=0)):
        at = [table[stage] for table in tables if len(table) > stage and LOSS in table[stage]]
        row = {"setting": arm.label, "stage": str(stage) if stage else "base", "runs": str(len(at))}
        row |= {LOSS: number(mean([record[LOSS] for record in at]).value)}
        if stage:
            pairs = [(t[stage - 1], t[stage]) for t in tables if len(t) > stage and t[stage]["kept"]]
            gains = [before[LOSS] - after[LOSS] for before, after in pairs if LOSS in before and LOSS in after]
            gain = mean(gains)
            row |= {"kept": f"{len(pairs)} of {len([t for t in tables if len(t) > stage])}"}
            row |= {"helped": f"{sum(g > 0 for g in gains)} of {len(gains)}"}
            row |= {"gain": signed(gain.value), "its 95 % interval": interval(gain.low, gain.high)}
            row |= {"eta": number(mean([r["eta"] for r in at if r["eta"] is not None]).value)}
        found.append(row)
    return found
