"""Where does which setting win? Two factors, one of them a number: settings compared at each of its values.

A grid such as `gbft.train_fraction=0.01,0.1,1 gbft=single,default,bagged` has no one answer: the best arm of all says
only that more data is better. Here each setting is held against the baseline's setting at the same number.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from reports.comparison import Arm, Comparison, scores_by_seed
from reports.figures import COLOURS, clip, svg
from reports.statistics import Difference, holm, paired_difference
from reports.tables import Row, interval, number, p_value, reading, signed
from reports.tables import verdict as overall

MOST_SETTINGS = 8  # lines that can be told apart


@dataclass(frozen=True)
class Cell:
    """One setting at one value. `difference` is None for the baseline's setting."""

    x: float
    setting: str
    arm: Arm
    difference: Difference | None
    p_corrected: float = math.nan


@dataclass(frozen=True)
class Within:
    """Cells by value, then as the settings were typed. `factor`: the number. `baseline`: its setting."""

    factor: str
    baseline: str
    cells: list[Cell]

    @property
    def settings(self) -> list[str]:
        return list(dict.fromkeys(cell.setting for cell in self.cells))

    def at(self, setting: str) -> list[Cell]:
        return [cell for cell in self.cells if cell.setting == setting]


def within(comparison: Comparison) -> Within | None:
    """None where no factor is a number of several values, or nothing else varies beside it."""
    factors = list(comparison.baseline.factors)
    for factor in factors if len(factors) > 1 else ():
        values = [_number(arm.factors[factor]) for arm in comparison.arms]
        if None in values or len(set(values)) < 2:
            continue
        found = _compare(comparison, factor)
        if 2 <= len(found.settings) <= MOST_SETTINGS and len(found.cells) > len(set(values)):
            return found
    return None


def _compare(comparison: Comparison, factor: str) -> Within:
    def rest(arm: Arm) -> str:
        return ", ".join(f"{key}={value}" for key, value in arm.factors.items() if key != factor)

    base = rest(comparison.baseline)
    scores = {arm.label: scores_by_seed(arm.runs, comparison.metric) for arm in comparison.arms}
    bases = {arm.factors[factor]: scores[arm.label] for arm in comparison.arms if rest(arm) == base}
    typed = list(dict.fromkeys(rest(arm) for arm in sorted(comparison.arms, key=lambda arm: str(arm.runs[0].path))))
    settings = [base, *(name for name in typed if name != base)]
    cells = []
    for arm in comparison.arms:
        against = bases.get(arm.factors[factor])
        compared = None if rest(arm) == base or against is None else paired_difference(scores[arm.label], against)
        cells.append(Cell(float(arm.factors[factor]), rest(arm), arm, compared))
    corrected = holm([math.nan if cell.difference is None else cell.difference.p for cell in cells])
    cells = [Cell(c.x, c.setting, c.arm, c.difference, p) for c, p in zip(cells, corrected, strict=True)]
    return Within(factor, base, sorted(cells, key=lambda cell: (cell.x, settings.index(cell.setting))))


def rows(comparison: Comparison, found: Within) -> list[Row]:
    """A line for each cell: mean, difference to the baseline's setting at the same value, and whether it is one."""
    table = []
    for cell in found.cells:
        row = {found.factor: f"{cell.x:g}", "setting": cell.setting, "n": str(cell.arm.score.n)}
        row |= {f"{comparison.metric} (mean)": number(cell.arm.score.value)}
        if (d := cell.difference) is None:
            row |= {"difference": "baseline" if cell.setting == found.baseline else ""}
        else:
            row |= {"difference": signed(d.value), "its 95 % interval": interval(d.low, d.high)}
            row |= {
                "p (Holm)": p_value(cell.p_corrected),
                "reading": reading(comparison, cell.difference, cell.p_corrected),
            }
        table.append(row)
    return table


def answer(comparison: Comparison) -> str:
    """One sentence about the whole comparison."""
    found = within(comparison)
    return overall(comparison) if found is None else verdict(comparison, found)


def verdict(comparison: Comparison, found: Within) -> str:
    """The answer, a clause for each value: what is best there among what is told apart from the baseline's setting."""
    clauses = []
    for x in dict.fromkeys(cell.x for cell in found.cells):
        known = [c for c in found.cells if c.x == x and c.difference is not None]
        better = [c for c in known if reading(comparison, c.difference, c.p_corrected) == "better"]
        worse = [c for c in known if reading(comparison, c.difference, c.p_corrected) == "worse"]
        if better:
            best = min(better, key=lambda c: -abs(c.difference.value))  # type: ignore[union-attr]
            clauses.append(f"at {x:g} {best.setting} is better ({_shown(best)})")
        elif known and len(worse) == len(known):
            clauses.append(f"at {x:g} {found.baseline} is best ({', '.join(map(_shown, worse))})")
        else:
            clauses.append(f"at {x:g} no setting is shown to beat {found.baseline}")
    return f"{comparison.metric} by {found.factor}, against {found.baseline}: " + "; ".join(clauses) + "."


def _shown(cell: Cell) -> str:
    assert cell.difference is not None
    d = cell.difference
    return f"{cell.setting} {signed(d.value)}, 95 % interval {interval(d.low, d.high)}, n = {d.n}"


def figure(comparison: Comparison, found: Within) -> str | None:
    """Two panels: the metric, seeds as dots; and its difference to the baseline's setting with 95 % intervals."""
    if not any(cell.arm.score.n for cell in found.cells):
        return None
    values = sorted({cell.x for cell in found.cells})

    def draw(axes: Sequence[Any]) -> None:
        left, right = axes
        for setting, colour in zip(found.settings, COLOURS, strict=False):
            own = [cell for cell in found.at(setting) if cell.arm.score.n]
            for cell in own:
                seeds = list(scores_by_seed(cell.arm.runs, comparison.metric).values())
                left.plot([cell.x] * len(seeds), seeds, "o", color=colour, alpha=0.35, markersize=3)
            left.plot(
                [c.x for c in own],
                [c.arm.score.value for c in own],
                "-D",
                color=colour,
                markersize=5,
                label=clip(setting),
            )
            compared = [(c.x, c.difference) for c in own if c.difference is not None]
            if compared:
                spans = [0.0 if math.isnan(d.low) else d.value - d.low for _, d in compared]
                x, y = [x for x, _ in compared], [d.value for _, d in compared]
                right.errorbar(x, y, yerr=spans, fmt="-D", color=colour, markersize=5, capsize=3)
        right.axhline(0, color=COLOURS[0], linewidth=1.2)
        for each in axes:
            if values[0] > 0 and values[-1] >= 8 * values[0]:
                each.set_xscale("log")
            each.set_xticks(values, [f"{x:g}" for x in values])
            each.minorticks_off()
            each.set_xlabel(found.factor)
        left.set_ylabel(comparison.metric)
        right.set_ylabel(clip(f"difference to {found.baseline}", 40))
        left.legend(fontsize=9)

    return svg(draw, height=3.4, columns=2)


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None
