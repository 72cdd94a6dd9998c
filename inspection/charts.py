"""Charts as SVG in a string: nothing to import, nothing to load; colours come from the page."""

from __future__ import annotations

import html
import math
from collections.abc import Sequence

from markupsafe import Markup

WIDTH, HEIGHT, LEFT, BOTTOM, TOP, RIGHT = 560, 290, 64, 34, 26, 12
COLOURS = ("var(--bar)", "var(--bar2)")


def figure(body: str, *, width: int = WIDTH, height: int = HEIGHT, label: str) -> Markup:
    return Markup(  # made of numbers and `text`
        f'<figure><svg viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img"'
        f' aria-label="{html.escape(label)}">{body}</svg></figure>'
    )


def text(x: float, y: float, words: str, anchor: str = "middle") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{html.escape(words)}</text>'


def log_log(series: dict[str, Sequence[tuple[float, float]]], *, x: str, y: str) -> Markup:
    """Lines of (x, y), both positive, on logarithmic axes."""
    points = [point for line in series.values() for point in line]
    x_end = math.log10(max(max(p[0] for p in points), 10))
    low, high = math.log10(min(p[1] for p in points)), math.log10(max(p[1] for p in points))
    low, high = math.floor(low), max(math.ceil(high), math.floor(low) + 1)

    def place(point: tuple[float, float]) -> tuple[float, float]:
        across = LEFT + (WIDTH - LEFT - RIGHT) * math.log10(point[0]) / x_end
        up = (math.log10(point[1]) - low) / (high - low)
        return across, HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * up

    body = ""
    for power in range(int(x_end) + 1):
        at = place((10**power, 10**low))[0]
        body += f'<line x1="{at:.1f}" y1="{TOP}" x2="{at:.1f}" y2="{HEIGHT - BOTTOM}" stroke="var(--line)"/>'
        body += text(at, HEIGHT - BOTTOM + 15, short(10**power))
    for power in range(low, high + 1):
        at = place((1, 10**power))[1]
        body += f'<line x1="{LEFT}" y1="{at:.1f}" x2="{WIDTH - RIGHT}" y2="{at:.1f}" stroke="var(--line)"/>'
        body += text(LEFT - 6, at + 4, short(10**power), "end")
    for i, (name, line) in enumerate(series.items()):
        path = " ".join(f"{a:.1f},{b:.1f}" for a, b in map(place, line))
        body += f'<polyline points="{path}" fill="none" stroke="{COLOURS[i % 2]}" stroke-width="1.8"/>'
        if len(series) > 1:
            body += text(WIDTH - RIGHT - 8, TOP + 16 + 16 * i, name, "end").replace(
                "<text", f'<text style="fill:{COLOURS[i % 2]}"'
            )
    body += text((WIDTH + LEFT) / 2, HEIGHT - 3, x) + text(2, 11, y, "start")
    return figure(body, label=f"{y} over {x}")


def line(series: dict[str, Sequence[tuple[float, float]]], *, x: str, y: str) -> Markup:
    """Lines of (x, y) on plain axes, with a rule at 0 where it is between the ends."""
    points = [point for one in series.values() for point in one]
    left, right = min(p[0] for p in points), max(p[0] for p in points)
    low, high = min(p[1] for p in points), max(p[1] for p in points)
    high = high if high > low else low + 1.0

    def place(point: tuple[float, float]) -> tuple[float, float]:
        across = LEFT + (WIDTH - LEFT - RIGHT) * (point[0] - left) / max(right - left, 1e-9)
        return across, HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * (point[1] - low) / (high - low)

    body = ""
    for tick in (0.0, 0.25, 0.5, 0.75, 1.0):
        at, value = place((left + tick * (right - left), low))[0], left + tick * (right - left)
        body += text(at, HEIGHT - BOTTOM + 15, f"{value:.4g}")
        height, value = place((left, low + tick * (high - low)))[1], low + tick * (high - low)
        body += f'<line x1="{LEFT}" y1="{height:.1f}" x2="{WIDTH - RIGHT}" y2="{height:.1f}" stroke="var(--line)"/>'
        body += text(LEFT - 6, height + 4, f"{value:.2f}", "end")
    if low < 0 < high:
        zero = place((left, 0.0))[1]
        body += f'<line x1="{LEFT}" y1="{zero:.1f}" x2="{WIDTH - RIGHT}" y2="{zero:.1f}" stroke="var(--soft)"/>'
    for i, (name, one) in enumerate(series.items()):
        path = " ".join(f"{a:.1f},{b:.1f}" for a, b in map(place, one))
        body += f'<polyline points="{path}" fill="none" stroke="{COLOURS[i % 2]}" stroke-width="1.8"/>'
        if len(series) > 1:
            body += text(WIDTH - RIGHT - 8, TOP + 16 + 16 * i, name, "end").replace(
                "<text", f'<text style="fill:{COLOURS[i % 2]}"'
            )
    body += text((WIDTH + LEFT) / 2, HEIGHT - 3, x) + text(2, 11, y, "start")
    return figure(body, label=f"{y} over {x}")


def bars(names: Sequence[str], series: dict[str, Sequence[float]], *, unit: str) -> Markup:
    """Groups of horizontal bars, one group a name, one bar a series; series are scaled each to its own largest."""
    left, row = max(150, min(280, 7 * max(map(len, names), default=0))), 18
    height = TOP + (row * len(series) + 6) * len(names) + 24
    body, y = "", float(TOP)
    tops = {name: max(max(values, default=0), 1e-9) for name, values in series.items()}
    for i, name in enumerate(names):
        body += text(left - 8, y + row * len(series) / 2 + 4, name, "end")
        for j, (kind, values) in enumerate(series.items()):
            length = (WIDTH - left - 90) * values[i] / tops[kind]
            body += (
                f'<rect x="{left}" y="{y:.1f}" width="{max(length, 0.5):.1f}" height="{row - 4}"'
                f' fill="{COLOURS[j % 2]}"/>'
            )
            body += text(
                left + length + 6, y + row - 7, f"{values[i]:,.4g}" if values[i] % 1 else f"{values[i]:,.0f}", "start"
            )
            y += row
        y += 6
    body += text(left, height - 6, unit, "start")
    x = left + 8.0 * len(unit)
    for j, kind in enumerate(series if len(series) > 1 else ()):
        body += f'<rect x="{x:.0f}" y="{height - 15:.0f}" width="10" height="10" fill="{COLOURS[j % 2]}"/>'
        body += text(x + 14, height - 6, kind, "start")
        x += 36 + 8.0 * len(kind)
    return figure(body, height=int(height), label=unit)


def spans(rows: Sequence[tuple[int, int]], total: int, *, unit: str) -> Markup:
    """Where each (start, end) lies in 0..total, one above the other: overlaps and gaps show.

    Zoomed in where they take up a small part of it.
    """
    low, high = min(row[0] for row in rows), max(row[1] for row in rows)
    if high - low > total / 4:
        low, high = 0, total
    width, row_height = 1080, 7
    height = row_height * len(rows) + 26
    scale = (width - 20) / max(high - low, 1)
    body = (
        f'<rect x="10" y="0" width="{width - 20}" height="{row_height * len(rows)}" fill="var(--card)"'
        ' stroke="var(--line)"/>'
    )
    for i, (start, end) in enumerate(rows):
        body += (
            f'<rect x="{10 + (start - low) * scale:.2f}" y="{i * row_height + 1}"'
            f' width="{max((end - start) * scale, 1.5):.2f}" height="{row_height - 2}" fill="var(--bar)">'
            f"<title>{start:,} to {end:,}</title></rect>"
        )
    body += text(10, height - 6, f"{low:,}", "start")
    body += text(width - 10, height - 6, f"{high:,} of {total:,} {unit}", "end")
    return figure(body, width=width, height=height, label=f"windows in {total:,} {unit}")


def short(value: float) -> str:
    """1000 -> 1k."""
    for size, letter in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:g}{letter}"
    return f"{value:g}"
