"""Exact match against the tokens that were spent on a question, one line a way to pick; beside it a judge's errors."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

# Okabe & Ito 2008, for colour-blind readers
COLOURS = {"pass": "#999999", "majority": "#56B4E9", "verifier": "#0072B2", "weighted": "#009E73", "best of": "#E69F00"}
NAMES = {"pass": "oracle (pass@k)", "verifier": "best scored", "weighted": "votes weighted by score"}
RETRY = "#D55E00"
STYLE: Any = {"font.size": 9, "axes.spines.top": False, "axes.spines.right": False, "legend.frameon": False}


def draw(
    points: Sequence[dict[str, Any]], errors: Sequence[dict[str, float]] | None, path: Path, *, judge: str | None
) -> None:
    """Args: points: way, k, tokens, exact_match, low, high. errors: threshold, false_accept, false_reject."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(8.2 if errors else 4.8, 3.4), layout="constrained", dpi=110)
        panels = figure.subplots(1, 2 if errors else 1, squeeze=False)[0]
        for way in dict.fromkeys(p["way"] for p in points):
            _curve(panels[0], way, [p for p in points if p["way"] == way])
        panels[0].set_xscale("log", base=2)
        panels[0].xaxis.set_major_formatter(mpl.ticker.FormatStrFormatter("%g"))
        panels[0].set_xlabel("tokens written for a question")
        panels[0].set_ylabel("exact match")
        panels[0].legend(fontsize=8)
        if errors:
            for name, colour in (("false_accept", "#D55E00"), ("false_reject", "#0072B2")):
                panels[1].plot(
                    [e["threshold"] for e in errors],
                    [e[name] for e in errors],
                    color=colour,
                    label=name.replace("_", " "),
                )
            panels[1].set_xlabel("threshold")
            panels[1].set_ylabel("share")
            panels[1].legend(fontsize=8)
        if judge is not None:
            figure.suptitle(f"judge: {judge if len(judge) < 60 else '...' + judge[-56:]}", fontsize=9)
        figure.savefig(path)


def _curve(panel: Any, way: str, points: Sequence[dict[str, Any]]) -> None:
    tokens, value = [p["tokens"] for p in points], [p["exact_match"] for p in points]
    colour = COLOURS.get(way, RETRY)
    panel.plot(tokens, value, color=colour, label=NAMES.get(way, way), marker="o", markersize=3.5, linewidth=1.5)
    panel.vlines(
        tokens, [p["low"] for p in points], [p["high"] for p in points], color=colour, linewidth=0.8, alpha=0.6
    )
