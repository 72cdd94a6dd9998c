"""One self-contained HTML page about the stages of an ensemble: figures as SVG, tables, examples in context."""

from collections.abc import Callable
from html import escape
from typing import Any

from evaluation.boosting import Measured, by_category, by_stage, examples, in_context
from evaluation.intervals import Estimate

STYLE = """
body{font:15px/1.45 system-ui,sans-serif;max-width:1000px;margin:2em auto;padding:0 1em;color:#222;background:#fff}
table{border-collapse:collapse;margin:.5em 0 1.5em}
td,th{padding:.15em .7em;text-align:right;border-bottom:1px solid #ddd}
td:first-child,th:first-child{text-align:left}code{white-space:pre-wrap;background:#f4f4f4;padding:0 .2em}
mark{background:#ffe08a}.up{color:#a33}.down{color:#276}h2{margin-top:2em}svg{max-width:100%}
@media(prefers-color-scheme:dark){body{color:#ddd;background:#161616}code{background:#2a2a2a}td,th{border-color:#444}mark{background:#745b00;color:#fff}}
"""


def page(
    found: Measured,
    token_bytes: Any,
    decode: Callable[[list[int]], str],
    *,
    title: str,
    records: list[dict[str, Any]] | None = None,
    seed: int = 0,
) -> str:
    """The whole page."""
    stages = by_stage(found, token_bytes, seed=seed)
    kinds = by_category(found, lambda i: decode([i]))
    parts = [
        f"<h1>{escape(title)}</h1>",
        f"<p>{found.nll_Sn.shape[1]:,} validation tokens in {len(set(found.row_n.tolist())):,} windows. "
        "Intervals are 95 %, over windows; gains are paired.</p>",
        "<h2>Loss by stage</h2>",
        curve([row["loss"] for row in stages]),
        stage_table(stages),
        *(["<h2>How each stage was chosen</h2>", record_table(records)] if records else []),
        "<h2>What each stage corrects</h2><p>Nats per target that a stage takes off the loss (negative: it adds).</p>",
        category_table(kinds, found.stages),
        "<h2>Do stages repeat each other?</h2><p>Mean cosine between the corrections of two stages, per token.</p>",
        cosine_table(found),
        *(example_section(found, m, decode) for m in range(found.stages)),
    ]
    return (
        f"<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'>"
        f"<title>{escape(title)}</title><style>{STYLE}</style><body>{''.join(parts)}</body></html>"
    )


def table(head: list[str], rows: list[list[str]]) -> str:
    """Cells are HTML already."""
    top = "".join(f"<th>{escape(cell)}</th>" for cell in head)
    body = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table><tr>{top}</tr>{body}</table>"


def shown(value: Estimate | None) -> str:
    return "" if value is None else f"{value.value:.4f} <small>{value.low:.4f} to {value.high:.4f}</small>"


def stage_table(stages: list[dict[str, Any]]) -> str:
    rows = [
        [
            "base" if row["stage"] == 0 else str(row["stage"]),
            *(shown(row.get(name)) for name in ("loss", "gain", "bpb", "accuracy")),
            f"{row['norm']:.3f}" if "norm" in row else "",
            f"{row['residual']:.4f}",
        ]
        for row in stages
    ]
    return table(["stage", "loss", "gain", "bits per byte", "accuracy", "correction", "residual left"], rows)


def record_table(records: list[dict[str, Any]]) -> str:
    names = ["eta", "kept", "dev/loss", "edge", "r2", "kl", "parameters", "seconds"]
    rows = [[str(r["stage"]), *(_number(r.get(name)) for name in names)] for r in records]
    return table(["stage", *names], rows)


def _number(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.4f}" if isinstance(value, float) else str(value)


def category_table(kinds: list[dict[str, Any]], stages: int) -> str:
    largest = max((abs(g) for row in kinds for g in row["gains"]), default=1.0) or 1.0
    rows, family = [], None
    for row in sorted(kinds, key=lambda r: (r["family"], r["name"])):
        if row["family"] != family:
            family = row["family"]
            rows.append([f"<b>{escape(family)}</b>", *[""] * (3 + stages)])
        gains = [_shade(gain, largest) for gain in row["gains"]]
        facts = [f"{row['targets']:,}", f"{row['before']:.3f}", f"{row['after']:.3f}"]
        rows.append([escape(row["name"]), *facts, *gains])
    return table(["targets", "count", "before", "after", *(f"stage {m + 1}" for m in range(stages))], rows)


def _shade(gain: float, largest: float) -> str:
    """A number on a colour: green takes loss off, red adds it."""
    strength = min(1.0, abs(gain) / largest)
    colour = f"rgba({'30,140,90' if gain >= 0 else '190,60,50'},{0.55 * strength:.2f})"
    return f"<span style='background:{colour};padding:0 .3em'>{gain:+.4f}</span>"


def cosine_table(found: Measured) -> str:
    head = ["", *(f"stage {m + 1}" for m in range(found.stages))]
    return table(head, [[head[m + 1], *(f"{c:+.2f}" for c in row)] for m, row in enumerate(found.cosine_MM)])


def example_section(found: Measured, m: int, decode: Callable[[list[int]], str]) -> str:
    parts = [f"<h2>Stage {m + 1}: largest corrections in context</h2>"]
    for by, words in (("norm", "largest"), ("helped", "helped most"), ("harmed", "harmed most")):
        rows = []
        for at in examples(found, m, by=by):
            before, target = in_context(found, at, decode)
            old, new = found.nll_Sn[m, at], found.nll_Sn[m + 1, at]
            change = f"<span class={'down' if new <= old else 'up'}>{old:.2f} &rarr; {new:.2f}</span>"
            text = f"<code>{escape(before)}<mark>{escape(target)}</mark></code>"
            rows.append([text, change, f"{found.norm_Mn[m, at]:.2f}"])
        parts.append(f"<h3>{words}</h3>" + table(["context and target", "nats", "norm"], rows))
    return "".join(parts)


def curve(losses: list[Estimate], *, width: int = 640, height: int = 240) -> str:
    """Loss against stage with its interval, as SVG."""
    values = [v for e in losses for v in e if v == v]
    low, high = min(values), max(values)
    pad = (high - low) * 0.08 or 0.01
    low, high = low - pad, high + pad

    def x(k: int) -> float:
        return 60 + k * (width - 80) / max(1, len(losses) - 1)

    def y(value: float) -> float:
        return 15 + (high - value) / (high - low) * (height - 50)

    marks = []
    for k, e in enumerate(losses):
        if e.low == e.low:
            marks.append(f"<line x1={x(k):.1f} x2={x(k):.1f} y1={y(e.low):.1f} y2={y(e.high):.1f} stroke=#8ab />")
        marks.append(f"<circle cx={x(k):.1f} cy={y(e.value):.1f} r=4 fill=#258 />")
        marks.append(f"<text x={x(k):.1f} y={height - 12} text-anchor=middle>{'base' if k == 0 else k}</text>")
    line = " ".join(f"{x(k):.1f},{y(e.value):.1f}" for k, e in enumerate(losses))
    ticks = "".join(f"<text x=50 y={y(v) + 4:.1f} text-anchor=end>{v:.3f}</text>" for v in (low + pad, high - pad))
    return (
        f"<svg viewBox='0 0 {width} {height}' width={width} font-size=12 fill=currentColor role=img "
        f"aria-label='loss by stage'>{ticks}<polyline points='{line}' fill=none stroke=#258 />{''.join(marks)}</svg>"
    )
