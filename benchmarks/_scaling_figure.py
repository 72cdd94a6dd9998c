"""The figure of benchmarks.scaling: a column for each size that grows; above seconds, below memory, in logarithms."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

STYLE: Any = {"font.size": 8, "axes.spines.top": False, "axes.spines.right": False, "legend.frameon": False}
MEASURED, EXPECTED = "#0072B2", "#999999"  # Okabe & Ito 2008
SPAN = 6.0  # a panel shows at least this factor: noise of a few percent must not look like a slope


def draw(by_axis: Mapping[str, Sequence[Any]], path: Path) -> None:
    """Args: by_axis: the `Point`s of each axis, by size."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(1.75 * len(by_axis), 4.2), layout="constrained", dpi=110)
        panels = figure.subplots(2, len(by_axis), squeeze=False)
        for i, (axis, points) in enumerate(by_axis.items()):
            first = points[0]
            sizes = [point.size for point in points]
            grown = [max(b / a for a, b in zip(first.held, p.held, strict=True)) for p in points]
            _lines(
                panels[0, i],
                sizes,
                [1e3 * p.seconds for p in points],
                [p.arithmetic / first.arithmetic for p in points],
            )
            _lines(panels[1, i], sizes, [p.memory / 1e6 for p in points], grown)
            panels[0, i].set_title(axis)
        panels[0, 0].set_ylabel("ms of an update")
        panels[1, 0].set_ylabel("MB")
        panels[0, 0].legend(fontsize=7)
        figure.savefig(path)


def _lines(panel: Any, sizes: Sequence[int], measured: Sequence[float], expected: Sequence[float]) -> None:
    """`expected`: as multiples of the first."""
    at = sizes if 0 not in sizes else [size + 1 for size in sizes]  # workers: a logarithm has no 0
    panel.plot(at, [measured[0] * x for x in expected], color=EXPECTED, linestyle="--", linewidth=1, label="expected")
    panel.plot(at, measured, color=MEASURED, marker="o", markersize=3, linewidth=1.3, label="measured")
    panel.set_xscale("log", base=2)
    panel.set_yscale("log")
    panel.set_ylim(*_limits([*measured, *(measured[0] * x for x in expected)]))
    panel.set_xticks(at, [f"{size:,}" for size in sizes], rotation=45)
    panel.minorticks_off()


def _limits(values: Sequence[float]) -> tuple[float, float]:
    """A little more than the values' own, or `SPAN` around their middle."""
    low, high = min(values) / 1.1, max(values) * 1.1
    wider = max(1.0, SPAN / (high / low)) ** 0.5
    return low / wider, high * wider
