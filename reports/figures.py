"""Figures as SVG text: curves with bands over seeds, means with intervals, scaling fits."""

import io
import math
import re
from collections.abc import Callable
from typing import Any, NamedTuple

import matplotlib as mpl
import numpy as np

mpl.use("svg")
from matplotlib.figure import Figure

from reports.comparison import Arm, Comparison
from reports.scaling import PowerLaw, power_law

# Okabe & Ito 2008, for colour-blind readers; black comes last
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#F0E442", "#000000")
STYLE: Any = {
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "svg.fonttype": "none",
    "legend.frameon": False,
}
MOST_ARMS = 16  # more curves than that cannot be told apart: the best ones are drawn
GRID_POINTS = 200


class Drawing(NamedTuple):
    """`draw` gets the Axes, or an array of them where there are several `columns`."""

    draw: Callable[[Any], None]
    height: float
    columns: int = 1


def curves(comparison: Comparison, x: str) -> str | None:
    """The metric against "tokens" or "seconds": each arm's mean, and a band from its lowest to its highest seed."""
    return lines(comparison.arms, comparison.metric, x)


def lines(arms: list[Arm], metric: str, x: str) -> str | None:
    """A figure of any metric that is logged; None where nothing is."""
    drawing = lines_drawn(arms, metric, x)
    return None if drawing is None else svg(*drawing)


def lines_drawn(arms: list[Arm], metric: str, x: str) -> Drawing | None:

    def draw(axes: Any) -> None:
        for arm, colour in _coloured(arms):
            name: str | None = clip(arm.label)
            band = arm_curve(arm, metric, x)
            if band is not None:
                grid, low, middle, high = band
                axes.plot(grid, middle, color=colour, label=name, linewidth=1.5)
                axes.fill_between(grid, low, high, color=colour, alpha=0.2, linewidth=0)
                name = None
            for at, values in outside(arm, metric, x):
                axes.plot(at, values, "--", color=colour, label=name, linewidth=0.9)
                name = None
        axes.set_xlabel({"tokens": "tokens seen", "seconds": "time of training (seconds)"}[x])
        axes.set_ylabel(metric)
        axes.legend(fontsize=9)

    if not any(_found(arm, metric, x) for arm in arms):
        return None
    return Drawing(draw, height=3.6)


def stages(losses: dict[str, dict[int, list[float]]]) -> str | None:
    """Loss after each boosted stage, {arm: {stage: values of its seeds}}: means, and a band over seeds."""
    shown = {label: found for label, found in losses.items() if len(found) > 1}
    if not shown:
        return None

    def draw(axes: Any) -> None:
        for i, (label, found) in enumerate(list(shown.items())[:MOST_ARMS]):
            colour, at = COLOURS[i % len(COLOURS)], list(found)
            axes.plot(at, [np.mean(v) for v in found.values()], "o-", color=colour, label=clip(label), linewidth=1.5)
            low, high = [min(v) for v in found.values()], [max(v) for v in found.values()]
            axes.fill_between(at, low, high, color=colour, alpha=0.2, linewidth=0)
        axes.set_xlabel("stages in use")
        axes.set_ylabel("val/loss (nats per token)")
        axes.legend(fontsize=9)

    return svg(draw, height=3.2)


class Panel(NamedTuple):
    """Axes of their own: what they show, and of each arm {updates: values of its seeds}."""

    title: str
    lines: dict[str, dict[int, list[float]]]


def side_by_side(panels: list[Panel]) -> str | None:
    """Quantities that one reads together against updates: means, and a band over seeds."""
    if not panels:
        return None

    def draw(axes: Any) -> None:
        for part, panel in zip(np.atleast_1d(axes), panels, strict=True):
            for i, (label, found) in enumerate(list(panel.lines.items())[:MOST_ARMS]):
                colour, at, values = COLOURS[i % len(COLOURS)], list(found), list(found.values())
                part.plot(at, [np.mean(v) for v in values], color=colour, label=clip(label, 32), linewidth=1.5)
                part.fill_between(at, list(map(min, values)), list(map(max, values)), color=colour, alpha=0.2)
            part.set_xlabel("updates")
            part.set_title(panel.title, fontsize=10)
        np.atleast_1d(axes)[0].legend(fontsize=9)

    return svg(draw, height=3.2, columns=len(panels))


def arm_curve(arm: Arm, metric: str, x: str) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray] | None:
    """(n,) x, lowest, mean, highest over the arm's runs, where all have values; None where there is no such place.

    What a run has outside, see `outside`.
    """
    found = _found(arm, metric, x)
    start, end = _shared(found, x)
    if not start < end:
        return None
    grid = np.linspace(start, end, GRID_POINTS)
    values = np.stack([np.interp(grid, c[x], c["value"]) for c in found])  # (runs, n)
    return grid, values.min(0), values.mean(0), values.max(0)


def outside(arm: Arm, metric: str, x: str) -> list[tuple[np.ndarray, np.ndarray]]:
    """(n,) x and values of each piece of a run's curve before all its seeds have begun, or after the first ended.

    A mean over fewer seeds would jump there; left out, the slower seeds would look as if they had ended too.
    """
    found, pieces = _found(arm, metric, x), []
    start, end = _shared(found, x)
    for curve in found:
        at, values = curve[x], curve["value"]
        if not start < end:
            pieces.append((at, values))
            continue
        for edge, kept in ((start, at < start), (end, at > end)):
            if kept.any():  # from the curve's value at the edge on, so that no gap is left
                joined = np.append(at[kept], edge), np.append(values[kept], np.interp(edge, at, values))
                order = np.argsort(joined[0])
                pieces.append((joined[0][order], joined[1][order]))
    return pieces


def _found(arm: Arm, metric: str, x: str) -> list[dict[str, np.ndarray]]:
    """Curves of two points and more: of the finished runs, where there are any; one that failed early would cut the
    mean of the others short."""
    found = [run.curve(metric) for run in arm.finished or arm.runs]
    return [curve for curve in found if len(curve["value"]) >= 2 and np.isfinite(curve[x]).all()]


def _shared(found: list[dict[str, np.ndarray]], x: str) -> tuple[float, float]:
    """Where all have begun, and where the first ends."""
    if not found:
        return math.inf, -math.inf
    return max(c[x].min() for c in found), min(c[x].max() for c in found)


def bars(comparison: Comparison) -> str | None:
    """Each arm's mean as a point with its 95 % interval, every seed as a small dot."""
    drawing = bars_drawn(comparison)
    return None if drawing is None else svg(*drawing)


def bars_drawn(comparison: Comparison) -> Drawing | None:
    arms = [arm for arm in comparison.arms if arm.score.n]
    if not arms:
        return None

    def draw(axes: Any) -> None:
        for row, (arm, colour) in enumerate(_coloured(arms)):
            score = arm.score
            seeds = [run.metrics[comparison.metric] for run in arm.finished if comparison.metric in run.metrics]
            axes.plot(seeds, [row] * len(seeds), "o", color=colour, alpha=0.35, markersize=4)
            if not math.isnan(score.low):
                axes.plot([score.low, score.high], [row, row], color=colour, linewidth=2)
            axes.plot([score.value], [row], "D", color=colour, markersize=6)
        shown = arms[:MOST_ARMS]
        axes.set_yticks(range(len(shown)), [clip(arm.label) for arm in shown])
        axes.set_ylim(len(shown) - 0.5, -0.5)
        axes.set_xlabel(f"{comparison.metric}: mean (diamond), 95 % interval (line), seeds (dots)")

    return Drawing(draw, height=0.9 + 0.32 * min(len(arms), MOST_ARMS))


def scaling(comparison: Comparison) -> tuple[str, PowerLaw] | None:
    """Losses against parameters on logarithmic axes, with the fitted power law; None with fewer than three sizes."""
    points = [
        (arm.parameters["active"], arm.score.value, arm.score.low, arm.score.high)
        for arm in comparison.arms
        if arm.parameters.get("active") and arm.score.n
    ]
    if len(points) < 3 or not comparison.lower_is_better:
        return None
    sizes, losses, low, high = (np.array(column, dtype=np.float64) for column in zip(*points, strict=True))
    law = power_law(sizes.tolist(), losses.tolist())
    if law is None or sizes.max() < 2 * sizes.min():
        return None

    def draw(axes: Any) -> None:
        grid = np.geomspace(sizes.min(), sizes.max(), 50)
        axes.loglog(sizes, losses, "o", color=COLOURS[0])
        axes.vlines(sizes, low, high, color=COLOURS[0])  # NaN, of single seeds: none
        axes.loglog(grid, law.at(grid), color=COLOURS[1], label=f"{law.scale:.3g} · N^-{law.exponent:.4f}")
        for which in ("major", "minor"):  # 3.2, not 3.2 x 10^0: losses lie within a decade
            getattr(axes.yaxis, f"set_{which}_formatter")("{x:.3g}")
        axes.set_xlabel("parameters that a token uses")
        axes.set_ylabel(comparison.metric)
        axes.legend(fontsize=9)

    return svg(draw, height=3.2), law


def _coloured(arms: list[Arm]) -> list[tuple[Arm, str]]:
    return [(arm, COLOURS[i % len(COLOURS)]) for i, arm in enumerate(arms[:MOST_ARMS])]


def clip(text: str, most: int = 48) -> str:
    """A label that leaves room for the axes."""
    return text if len(text) <= most else text[: most - 1] + "…"


def svg(draw: Callable[[Any], None], height: float, columns: int = 1) -> str:
    """The drawing as an <svg> that grows with the page; nothing in it depends on the time of day."""
    drawn = _drawn(Drawing(draw, height, columns), "svg", {"Date": None}).decode()
    drawn = drawn[drawn.index("<svg") :]
    drawn = re.sub(r"#000000|black", "currentColor", drawn)  # light on a dark page, black in a file of its own
    return re.sub(r'(<svg[^>]*?) height="[^"]*"( [^>]*?)? width="[^"]*"', r"\1\2", drawn, count=1)


def pdf(drawing: Drawing) -> bytes:
    """The drawing as LaTeX includes it."""
    return _drawn(drawing, "pdf", {"CreationDate": None})


def _drawn(drawing: Drawing, kind: str, metadata: dict[str, None]) -> bytes:
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(7.2, drawing.height), layout="constrained")
        drawing.draw(figure.subplots(1, drawing.columns))
        content = io.BytesIO()
        figure.savefig(content, format=kind, transparent=True, metadata=metadata)
    return content.getvalue()
