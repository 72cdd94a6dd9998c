"""The figure of benchmarks.gbft_domains: a panel for each text; its loss after each text that was learned."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

STYLE: Any = {"font.size": 8, "axes.spines.top": False, "axes.spines.right": False, "legend.frameon": False}
COLOURS = {"stages": "#E69F00", "in turn": "#999999", "by text": "#0072B2"}  # Okabe & Ito 2008


def draw(found: Sequence[Mapping[str, Any]], names: Sequence[str], path: Path) -> None:
    """Args: found: of each seed, each arm's losses (texts learned, texts asked). names: of the texts, in order."""
    after = np.arange(len(names) + 1)
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(2.6 * len(names), 2.8), layout="constrained", dpi=110)
        panels = figure.subplots(1, len(names), squeeze=False)[0]
        for i, (panel, name) in enumerate(zip(panels, names, strict=True)):
            for arm, colour in COLOURS.items():
                rows = np.array([[seed["base"][0][i], *(losses[i] for losses in seed[arm])] for seed in found])
                panel.plot(after, rows.T, color=colour, linewidth=0.5, alpha=0.5)
                panel.plot(after, rows.mean(0), color=colour, marker="o", markersize=3, label=arm)
            at_once = np.mean([seed["on all"][0][i] for seed in found])
            panel.axhline(at_once, color="black", linestyle="--", linewidth=0.8, label="on all at once")
            panel.set_title(name)
            panel.set_xticks(after, ["base", *(f"+ {k}" for k in range(1, len(names) + 1))])
            panel.set_xlabel("texts learned")
        panels[0].set_ylabel("nats per byte")
        panels[0].legend(fontsize=7)
        figure.savefig(path)
