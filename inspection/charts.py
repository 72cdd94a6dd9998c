"""Charts as SVG in a string: nothing to import, nothing to load; colours come from the page."""

from __future__ import annotations

import html
import math
from collections.abc import Callable, Mapping, Sequence

from markupsafe import Markup

from inspection.numbers import number, short, tick_label, ticks

WIDTH, HEIGHT, LEFT, BOTTOM, TOP, RIGHT = 560, 300, 76, 44, 28, 28
COLOURS = ("var(--bar)", "var(--bar2)", "var(--bar3)", "var(--bar4)")
MARKED = 12  # points of a chart at most, to be drawn as dots too
NAME = 28  # letters of a bar's name; longer ones are whole under the pointer
DASHES = ("", "7 4", "2 3", "9 3 2 3")  # series of one colour differ in these

Point = tuple[float, float]
Marks = Sequence[tuple[float, str]]  # places of an axis, with their labels
Place = Callable[[float], float]


def figure(body: str, *, width: int = WIDTH, height: int = HEIGHT, label: str, series: Sequence[str] = ()) -> Markup:
    """With a legend below it where there are several `series`."""
    keys = "".join(
        f'<span><svg width="26" height="10" aria-hidden="true"><line x1="0" y1="5" x2="26" y2="5" {stroke(i)}/></svg>'
        f" {html.escape(name)}</span>"
        for i, name in enumerate(series if len(series) > 1 else ())
    )
    legend = f'<figcaption class="keys">{keys}</figcaption>' if keys else ""
    return Markup(  # made of numbers and of what is escaped here
        f'<figure class="chart"><svg viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img"'
        f' aria-label="{html.escape(label)}">{body}</svg>{legend}</figure>'
    )


def text(x: float, y: float, words: str, anchor: str = "middle", kind: str = "") -> str:
    named = f' class="{kind}"' if kind else ""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{named}>{html.escape(words)}</text>'


def stroke(i: int) -> str:
    """Colour and dashes of the i-th series."""
    dash = DASHES[i // len(COLOURS) % len(DASHES)]
    return f'stroke="{COLOURS[i % len(COLOURS)]}" stroke-width="2"' + (f' stroke-dasharray="{dash}"' if dash else "")


def axes(across: Marks, up: Marks, at_x: Place, at_y: Place, *, x: str, y: str) -> str:
    """Rules with their labels, and the names of both axes."""
    body, floor = "", HEIGHT - BOTTOM
    for value, label in across:
        at = at_x(value)
        body += f'<line x1="{at:.1f}" y1="{TOP}" x2="{at:.1f}" y2="{floor}" stroke="var(--line)"/>'
        body += text(at, floor + 17, label)
    for value, label in up:
        at = at_y(value)
        zero = "var(--soft)" if value == 0 else "var(--line)"
        body += f'<line x1="{LEFT}" y1="{at:.1f}" x2="{WIDTH - RIGHT}" y2="{at:.1f}" stroke="{zero}"/>'
        body += text(LEFT - 7, at + 4, label, "end")
    return body + text((WIDTH + LEFT - RIGHT) / 2, HEIGHT - 6, x, kind="axis") + text(2, 14, y, "start", kind="axis")


def scale(low: float, high: float, start: float, end: float) -> Place:
    """From low..high to start..end; one value alone to the middle."""
    if not high > low:
        return lambda _: (start + end) / 2
    return lambda value: start + (end - start) * (value - low) / (high - low)


def lines(series: Mapping[str, Sequence[Point]], at_x: Place, at_y: Place) -> str:
    body = ""
    for i, points in enumerate(series.values()):
        path = " ".join(f"{at_x(a):.1f},{at_y(b):.1f}" for a, b in points)
        body += f'<polyline points="{path}" fill="none" {stroke(i)}/>'
    return body


def log_log(series: dict[str, Sequence[Point]], *, x: str, y: str) -> Markup:
    """Lines of (x, y), both positive, on logarithmic axes from 1 on, with a rule at each power of ten."""
    points = [point for one in series.values() for point in one]
    end = math.log10(max(max(p[0] for p in points), 10))
    low, high = math.log10(min(p[1] for p in points)), math.log10(max(p[1] for p in points))
    low, high = math.floor(low), max(math.ceil(high), math.floor(low) + 1)
    at_x, at_y = scale(0, end, LEFT, WIDTH - RIGHT), scale(low, high, HEIGHT - BOTTOM, TOP)
    across, up = ([(k, short(10.0**k)) for k in powers] for powers in (range(int(end) + 1), range(low, high + 1)))
    logs = {name: [(math.log10(a), math.log10(b)) for a, b in one] for name, one in series.items()}
    body = axes(across, up, at_x, at_y, x=x, y=y) + lines(logs, at_x, at_y)
    return figure(body, label=f"{y} over {x}", series=list(series))


def line(
    series: Mapping[str, Sequence[Point]], *, x: str, y: str, intervals: Sequence[tuple[float, float, float]] = ()
) -> Markup:
    """Lines of (x, y) on plain axes with round numbers; `intervals`: (x, low, high), as bars across them."""
    points = [point for one in series.values() for point in one]
    heights = [b for _, b in points] + [b for _, *bounds in intervals for b in bounds]
    low, high = min(heights), max(heights)
    pad = 0.04 * (high - low) or 0.05 * abs(high) or 1.0
    low, high = low - pad, high + pad
    left, right = min(a for a, _ in points), max(a for a, _ in points)
    at_x, at_y = scale(left, right, LEFT + 8, WIDTH - RIGHT), scale(low, high, HEIGHT - BOTTOM, TOP)
    whole = all(float(a).is_integer() for a, _ in points)
    across, up = (labelled(ticks(left, right, most=7, whole=whole)), labelled(ticks(low, high)))
    body = axes(across, up, at_x, at_y, x=x, y=y) + lines(series, at_x, at_y)
    for a, bottom, top in intervals:
        body += (
            f'<line x1="{at_x(a):.1f}" y1="{at_y(bottom):.1f}" x2="{at_x(a):.1f}" y2="{at_y(top):.1f}" {stroke(0)}/>'
        )
    for a, b in points if len(points) <= MARKED else ():
        body += f'<circle cx="{at_x(a):.1f}" cy="{at_y(b):.1f}" r="4" fill="{COLOURS[0]}"/>'
    return figure(body, label=f"{y} over {x}", series=list(series))


def labelled(marks: Sequence[float]) -> Marks:
    step = marks[1] - marks[0] if len(marks) > 1 else abs(marks[0]) if marks else 0.0
    return [(value, tick_label(value, step)) for value in marks]


def bars(names: Sequence[str], series: dict[str, Sequence[float]], *, unit: str) -> Markup:
    """Groups of horizontal bars, one group a name, one bar a series; series are scaled each to its own largest."""
    left, row, top = 12 + 11 * min(NAME, max(map(len, names), default=0)), 22, 26
    height = top + (row * len(series) + 6) * len(names)
    body, y = text(2, 14, unit, "start", kind="axis"), float(top)
    tops = {name: max(max(values, default=0), 1e-9) for name, values in series.items()}
    for i, name in enumerate(names):
        shown = name if len(name) <= NAME else f"{name[: NAME - 1]}…"
        body += f"<g>{text(left - 8, y + row * len(series) / 2 + 4, shown, 'end')}"
        body += f"<title>{html.escape(name)}</title></g>" if shown != name else "</g>"
        for j, (kind, values) in enumerate(series.items()):
            length = max((WIDTH - left - 90) * values[i] / tops[kind], 0.5)
            colour = COLOURS[j % len(COLOURS)]
            body += f'<rect x="{left}" y="{y:.1f}" width="{length:.1f}" height="{row - 4}" fill="{colour}"/>'
            body += text(left + length + 6, y + row - 7, number(values[i]), "start")
            y += row
        y += 6
    return figure(body, height=int(height), label=unit, series=list(series))


def spans(rows: Sequence[tuple[int, int]], total: int, *, unit: str) -> Markup:
    """Where each (start, end) lies in 0..total, one above the other: overlaps and gaps show.

    Zoomed in where they take up a small part of it.
    """
    low, high = min(row[0] for row in rows), max(row[1] for row in rows)
    if high - low > total / 4:
        low, high = 0, total
    side, row_height, floor = WIDTH - 20, 7, 7 * len(rows)
    at = scale(low, high, 10, WIDTH - 10)
    body = f'<rect x="10" y="0" width="{side}" height="{floor}" fill="var(--card)" stroke="var(--line)"/>'
    for i, (start, end) in enumerate(rows):
        body += (
            f'<rect x="{at(start):.2f}" y="{i * row_height + 1}" width="{max(at(end) - at(start), 1.5):.2f}"'
            f' height="{row_height - 2}" fill="{COLOURS[0]}"><title>{start:,} to {end:,}</title></rect>'
        )
    body += text(10, floor + 17, f"{low:,}", "start") + text(WIDTH - 10, floor + 17, f"{high:,} of {total:,}", "end")
    body += text(WIDTH / 2, floor + 38, unit, kind="axis")
    return figure(body, height=floor + 44, label=f"windows in {total:,} {unit}")
