"""Perplexity over the position in the text, one panel a model, one line a way of going past the context."""

from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

# Okabe & Ito 2008, for colour-blind readers
COLOURS = {"reread": "#0072B2", "slide": "#D55E00", "first": "#009E73", "grow": "#999999"}
# where giving up by halves costs nothing the lines lie on each other: the lower ones are wider
LINES = {"reread": ("-", 3.5), "slide": ("-", 1.8), "first": (":", 1.8), "grow": ("-", 1.5)}
STYLE: Any = {"font.size": 9, "axes.spines.top": False, "axes.spines.right": False, "legend.frameon": False}


def draw(models: dict[str, dict[str, np.ndarray]], path: Path, *, context: int, about: str) -> None:
    """`models`: name -> way -> (B, T) nats. Means over half a context: within one, a cache's fill goes up and down."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(0.8 + 2.9 * len(models), 3.2), layout="constrained", dpi=110)
        panels = np.atleast_1d(figure.subplots(1, len(models), sharey=True))
        for panel, (name, by_way) in zip(panels, models.items(), strict=True):
            for way, nll_BT in by_way.items():
                panel.plot(*smoothed(nll_BT, context // 2), color=COLOURS[way], label=way,
                           linestyle=LINES[way][0], linewidth=LINES[way][1])  # fmt: skip
            panel.axvline(context, color="#000000", linewidth=0.8, linestyle=":")
            panel.set_title(name, fontsize=9)
            panel.set_xlabel("position in the text, tokens")
            panel.set_yscale("log")
            panel.yaxis.set_major_formatter(mpl.ticker.FormatStrFormatter("%g"))
            panel.yaxis.set_minor_formatter(mpl.ticker.FormatStrFormatter("%g"))
            panel.legend(fontsize=8)
        panels[0].set_ylabel("perplexity")
        figure.suptitle(about, fontsize=9)
        figure.savefig(path)


def smoothed(nll_BT: np.ndarray, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Middle of each stretch of `width` tokens, and the perplexity in it."""
    n = nll_BT.shape[1] // width
    mean_n = nll_BT[:, : n * width].reshape(len(nll_BT), n, width).mean(axis=(0, 2))
    return width * (np.arange(n) + 0.5), np.exp(np.minimum(mean_n, 700.0))
