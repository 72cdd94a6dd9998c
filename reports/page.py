"""One HTML file with everything in it: answer, table, figures, every run, commands. No script, no network."""

import re
from collections.abc import Iterable, Sequence

from markupsafe import Markup

from inspection import page as pages
from inspection.page import Cell, Page, fragment
from reports import figures, within
from reports.comparison import Comparison
from reports.tables import Row, arm_rows, run_rows, shown_columns
from reports.views import sections

LEAD = """<p class="answer">{{ answer }}</p>
{% for note in notes %}<p class="warning">{{ note }}</p>{% endfor %}"""
NUMBER = r"[-+]?[\d,]+(\.\d+)?(e[-+]?\d+)?"
DASHED = "Solid: mean over seeds, as far as all of them go. Dashed: each seed that goes on alone, to its own end."
SMALL_PRINT = (
    "Interval: Student's t over seeds. Difference: paired over equal seeds, two-sided t-test, p corrected for the "
    "number of comparisons (Holm 1979). Bands in the curves run from the lowest to the highest seed. "
    "Ranked by {}, {} is better."
)


def page(comparison: Comparison, *, title: str, commands: Sequence[str]) -> str:
    """Routing and boosted stages have sections of their own, where the runs have them."""
    made = Page(title, lead=fragment(LEAD, answer=within.answer(comparison), notes=comparison.notes))
    if (found := within.within(comparison)) is not None:
        figure = _figure(within.figure(comparison, found))
        made.add(f"At each {found.factor}", figure + table(within.rows(comparison, found)))
    made.add("Settings, best first", table(arm_rows(comparison)))
    left_out = len(comparison.arms) - figures.MOST_ARMS
    only = f"The best {figures.MOST_ARMS} settings; {left_out} more are in the tables." if left_out > 0 else ""
    for name, figure in _figures(comparison):
        made.add(name, figure, f"{only} {DASHED}".strip() if name.startswith("Against") else only)
    for section in sections(comparison):
        drawn = [Markup("<h3>{}</h3>").format(name) + _figure(svg) for name, svg in section.figures.items()]
        made.add(section.title, Markup().join([table(section.rows), *drawn]), section.note)
    made.add("Every run", table(run_rows(comparison)))
    ranked = SMALL_PRINT.format(comparison.metric, "lower" if comparison.lower_is_better else "higher")
    repeat = Markup("<pre>{}</pre><p><small>{}</small></p>").format("\n".join(commands), ranked)
    made.add("To repeat it", repeat)
    return made.html()


def table(rows: Sequence[Row]) -> Markup:
    """Columns of numbers to the right."""
    columns = shown_columns(rows)
    kinds = {name: "long" if name == "error" else "n" * _counts(rows, name) for name in columns}
    return pages.table(columns, [[Cell(row.get(name, ""), kinds[name]) for name in columns] for row in rows])


def _counts(rows: Sequence[Row], name: str) -> bool:
    """Whether all that stands below a name are numbers."""
    return all(re.fullmatch(NUMBER, row[name]) for row in rows if row.get(name))


def _figure(svg: str | None) -> Markup:
    """Matplotlib's drawing, which is HTML already and escapes its texts."""
    return Markup('<figure class="paper">{}</figure>').format(Markup(svg)) if svg else Markup()


def _figures(comparison: Comparison) -> Iterable[tuple[str, Markup]]:
    drawn = {
        "Means and intervals": figures.bars(comparison),
        "Against tokens": figures.curves(comparison, "tokens"),
        "Against time": figures.curves(comparison, "seconds"),
    }
    yield from ((name, _figure(svg)) for name, svg in drawn.items() if svg)
    if (fitted := figures.scaling(comparison)) is not None:
        svg, law = fitted
        text = f"{comparison.metric} = {law.scale:.4g} · N^-{law.exponent:.4f}, 95 % interval of the exponent "
        text += f"{law.low:.4f} to {law.high:.4f}, {law.n} sizes."
        yield "Scaling", _figure(svg) + Markup("<p>{}</p>").format(text)
