"""The comparison as rows: for CSV, Markdown, HTML and LaTeX alike, so that all four say the same."""

import csv
import io
import math
import re
from collections.abc import Sequence

from inspection.numbers import number
from reports.comparison import Arm, Comparison
from reports.statistics import Difference

Row = dict[str, str]
SIGNIFICANT = 0.05  # after Holm's correction
NAMED = 6  # settings in one sentence

_NUMBER = r"[+-]?\d{1,3}(,\d{3})*(\.\d+)?"
NUMBERS = re.compile(f"{_NUMBER}( to {_NUMBER})?")  # a cell that is one, or an interval


def arm_rows(comparison: Comparison) -> list[Row]:
    """One row for each arm, best first: what varied, statistics, cost, status."""
    return [_arm_row(arm, comparison) for arm in comparison.arms]


def run_rows(comparison: Comparison) -> list[Row]:
    """One row for each run, also those that failed, with its folder."""
    rows = []
    for arm in comparison.arms:
        for run in arm.runs:
            value = run.metrics.get(comparison.metric)
            rows.append(
                {"setting": arm.label, "seed": str(run.seed), "status": run.status}
                | {comparison.metric: number(value), "steps": count(run.summary.get("step"))}
                | {"tokens": count(run.summary.get("tokens_seen")), "seconds": count(run.summary.get("wall_seconds"))}
                | {"error": str(run.summary.get("error") or ""), "folder": str(run.path)}
            )
    return rows


def _arm_row(arm: Arm, comparison: Comparison) -> Row:
    score, difference = arm.score, arm.difference
    row = dict(arm.factors) or {"setting": arm.label}
    row |= {"n": str(score.n), f"{comparison.metric} (mean)": number(score.value), "deviation": number(score.deviation)}
    row |= {"95 % interval": interval(score.low, score.high)}
    if difference is None:
        row |= {"difference": "baseline", "its 95 % interval": "", "p (Holm)": ""}
    else:
        row |= {"difference": signed(difference.value), "its 95 % interval": interval(difference.low, difference.high)}
        row |= {"p (Holm)": p_value(arm.p_corrected)}
    row |= {"parameters": count(arm.parameters.get("total")), "active": count(arm.parameters.get("active"))}
    row |= {"tokens": count(arm.average("tokens_seen")), "tokens/s": count(arm.average("tokens_per_second"))}
    row |= {"seconds": count(arm.average("wall_seconds")), "status": status(arm)}
    return row


def status(arm: Arm) -> str:
    """ "3 finished", "2 finished, 1 failed"."""
    states = [run.status for run in arm.runs]
    return ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(sorted(states, key=_finished_first)))


def _finished_first(state: str) -> tuple[bool, str]:
    return state != "finished", state


def verdict(comparison: Comparison) -> str:
    """The answer in one sentence, claiming no more than the interval carries."""
    metric, base = comparison.metric, comparison.baseline
    others = [arm for arm in comparison.arms if arm is not base and arm.score.n]
    if not others:
        return f"{metric} of {base.label}: {number(base.score.value)} ({base.score.n} seed(s))."
    compared = [arm for arm in others if arm.difference is not None and arm.difference.n >= 2]
    if not compared:
        best = others[0]
        return (
            f"{best.label} has {metric} {number(best.score.value)}, {base.label} {number(base.score.value)}; "
            "with fewer than two common seeds nothing can be said about chance."
        )
    better, worse = (
        [arm for arm in compared if reading(comparison, arm.difference, arm.p_corrected) == word]
        for word in ("better", "worse")
    )
    if not better and not worse:
        best = compared[0]
        return f"No setting is shown to differ from {base.label}: {best.label} has {_shown(comparison, best)}."
    told = []
    if better:  # the arms stand best first
        told.append(f"{better[0].label} is better: {_shown(comparison, better[0])}{_also(better[1:])}")
    if worse:
        worst_first = worse[::-1]
        told.append(f"{worst_first[0].label} is worse: {_shown(comparison, worst_first[0])}{_also(worst_first[1:])}")
    if len(better) + len(worse) < len(compared):
        told.append(f"no other setting is shown to differ from {base.label}")
    return "; ".join(told) + "."


def _also(arms: Sequence[Arm]) -> str:
    """Further arms of which the same is true, by name."""
    if not arms:
        return ""
    names = [arm.label for arm in arms[:NAMED]] + ([f"{len(arms) - NAMED} more"] if len(arms) > NAMED else [])
    if len(names) == 1:
        return f"; so is {names[0]}"
    return f"; so are {', '.join(names[:-1])} and {names[-1]}"


def reading(comparison: Comparison, d: Difference | None, p_corrected: float) -> str:
    """better or worse where the interval leaves out zero and the corrected p-value is small; else not told apart."""
    if d is None or d.n < 2 or d.low <= 0 <= d.high or not p_corrected <= SIGNIFICANT:
        return "not told apart"
    return "better" if (d.value < 0) == comparison.lower_is_better else "worse"


def _shown(comparison: Comparison, arm: Arm) -> str:
    d = arm.difference
    assert d is not None
    said = f"95 % interval {interval(d.low, d.high)}, n = {d.n}, p = {p_value(arm.p_corrected)}"
    if math.isnan(d.low):
        said = f"n = {d.n}, the same difference with every seed"
    return f"{comparison.metric} {signed(d.value)} against {comparison.baseline.label} ({said})"


def to_csv(rows: Sequence[Row]) -> str:
    """For programs: thousands are not marked, as they are for eyes."""
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(dict.fromkeys(key for row in rows for key in row)))
    writer.writeheader()
    writer.writerows(
        {key: cell.replace(",", "") if NUMBERS.fullmatch(cell) else cell for key, cell in row.items()} for row in rows
    )
    return text.getvalue()


def to_markdown(rows: Sequence[Row]) -> str:
    columns = shown_columns(rows)
    lines = ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
    lines += ["| " + " | ".join(_cell(row.get(column, "")) for column in columns) + " |" for row in rows]
    return "\n".join(lines)


def shown_columns(rows: Sequence[Row]) -> list[str]:
    """Those in which at least one row says something."""
    names = dict.fromkeys(key for row in rows for key in row)
    return [name for name in names if any(row.get(name) for row in rows)]


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def signed(value: float) -> str:
    return ("+" if value >= 0 else "") + number(value)


def count(value: float | None) -> str:
    if value is None or math.isnan(value):
        return ""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def interval(low: float, high: float) -> str:
    return "" if math.isnan(low) else f"{number(low)} to {number(high)}"


def p_value(p: float) -> str:
    if math.isnan(p):
        return ""
    return f"{p:.3f}" if p >= 0.001 else f"{p:.1e}"
