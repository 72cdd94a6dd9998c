"""One HTML file with everything in it: answer, table, figures, every run, commands. No script, no network."""

import html
from collections.abc import Sequence

from reports import figures, within
from reports.comparison import Comparison
from reports.tables import Row, arm_rows, run_rows, shown_columns
from reports.views import Section, sections

STYLE = """
:root { color-scheme: light dark; --line: #8884; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin-top: 2.2rem; }
.answer { font-size: 1.1rem; border-left: 4px solid #0072B2; padding: .4rem 0 .4rem 1rem; }
.note { border-left: 4px solid #E69F00; padding-left: 1rem; }
.wide { overflow-x: auto; } table { border-collapse: collapse; font-size: .85rem; font-variant-numeric: tabular-nums; }
th, td { text-align: left; padding: .3rem .7rem .3rem 0; border-bottom: 1px solid var(--line); white-space: nowrap; }
td.error { white-space: normal; min-width: 12rem; }
figure { margin: 1rem 0; background: #fff; border-radius: 6px; padding: .5rem; overflow-x: auto; }
figure svg { width: 100%; min-width: 34rem; height: auto; display: block; }
pre { overflow-x: auto; background: #8881; padding: .7rem; border-radius: 6px; font-size: .85rem; }
"""


def page(comparison: Comparison, *, title: str, commands: Sequence[str]) -> str:
    """Routing and boosted stages have sections of their own, where the runs have them."""
    parts = [f"<h1>{html.escape(title)}</h1>", f'<p class="answer">{html.escape(within.answer(comparison))}</p>']
    parts += [f'<p class="note">{html.escape(note)}</p>' for note in comparison.notes]
    parts += _within(comparison)
    parts += ["<h2>Settings, best first</h2>", table(arm_rows(comparison)), *_figures(comparison)]
    parts += [part for section in sections(comparison) for part in _section(section)]
    parts += ["<h2>Every run</h2>", table(run_rows(comparison))]
    parts += ["<h2>To repeat it</h2>", f"<pre>{html.escape(chr(10).join(commands))}</pre>", _small_print(comparison)]
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{html.escape(title)}</title><style>{STYLE}</style></head>\n<body>\n"
        + "\n".join(parts)
        + "\n</body></html>\n"
    )


def _within(comparison: Comparison) -> list[str]:
    if (found := within.within(comparison)) is None:
        return []
    drawn = within.figure(comparison, found)
    heading = f"<h2>At each {html.escape(found.factor)}</h2>"
    return [heading, f"<figure>{drawn}</figure>" if drawn else "", table(within.rows(comparison, found))]


def table(rows: Sequence[Row]) -> str:
    columns = shown_columns(rows)
    head = "".join(f"<th>{html.escape(column)}</th>" for column in columns)
    body = "".join(f"<tr>{''.join(_cell(row, column) for column in columns)}</tr>\n" for row in rows)
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead>\n<tbody>{body}</tbody></table></div>'


def _cell(row: Row, column: str) -> str:
    kind = ' class="error"' if column == "error" else ""
    return f"<td{kind}>{html.escape(row.get(column, ''))}</td>"


def _figures(comparison: Comparison) -> list[str]:
    drawn = {
        "Means and intervals": figures.bars(comparison),
        "Against tokens": figures.curves(comparison, "tokens"),
        "Against time": figures.curves(comparison, "seconds"),
    }
    parts = [f"<h2>{name}</h2><figure>{svg}</figure>" for name, svg in drawn.items() if svg]
    if (fitted := figures.scaling(comparison)) is not None:
        svg, law = fitted
        text = f"{comparison.metric} = {law.scale:.4g} · N^-{law.exponent:.4f}, 95 % interval of the exponent "
        text += f"{law.low:.4f} to {law.high:.4f}, {law.n} sizes."
        parts.append(f"<h2>Scaling</h2><figure>{svg}</figure><p>{text}</p>")
    return parts


def _section(section: Section) -> list[str]:
    parts = [f"<h2>{html.escape(section.title)}</h2>", f"<p>{html.escape(section.note)}</p>", table(section.rows)]
    return parts + [f"<h3>{html.escape(name)}</h3><figure>{svg}</figure>" for name, svg in section.figures.items()]


def _small_print(comparison: Comparison) -> str:
    return (
        "<p><small>Interval: Student's t over seeds. Difference: paired over equal seeds, two-sided t-test, p "
        "corrected for the number of comparisons (Holm 1979). "
        "Bands in the curves run from the lowest to the highest seed. "
        f"Ranked by {html.escape(comparison.metric)}, {'lower' if comparison.lower_is_better else 'higher'} is better."
        "</small></p>"
    )
