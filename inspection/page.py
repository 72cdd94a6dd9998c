"""Every HTML page of ours: one template, one style sheet, one `table`. A page is one file and needs no network.

Text is escaped wherever it is put in (Jinja's autoescape); only `Markup` is taken for HTML, and `fragment` makes it.
Tokens go into the page as numbers with a table of their texts, and a script draws them when they come into view: a
thousand documents open at once and stay readable.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from jinja2 import Environment, StrictUndefined, Template
from markupsafe import Markup

from inspection.maps import Maps
from inspection.numbers import number

ASSETS = Path(__file__).parent
HTML = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
HTML.policies["json.dumps_kwargs"] = {"ensure_ascii": False, "separators": (",", ":")}
TABLE = """<div class="wide {{ kind }}"><table>
{% if head %}<thead><tr>{% for name in head %}
<th{% if rows and rows[0][loop.index0].kind.startswith("n") %} class="n"{% endif %}>{{ name }}</th>
{% endfor %}</tr></thead>{% endif %}
<tbody>{% for row in rows %}<tr>{% for cell in row %}<td
{%- if cell.kind %} class="{{ cell.kind }}"{% endif %}
{%- if cell.share is not none %} style="--share:{{ "%.3f"|format(cell.share) }}"{% endif %}>{{ cell.text }}</td>
{%- endfor %}</tr>
{% endfor %}</tbody></table></div>"""
FACTS = "<dl>{% for name, value in pairs %}<dt>{{ name }}</dt><dd>{{ value }}</dd>{% endfor %}</dl>"


def fragment(source: str, **values: Any) -> Markup:
    """HTML from a Jinja template; every value is escaped that is not `Markup`."""
    return Markup(_template(source).render(values))  # rendered with autoescape


@cache
def _template(source: str) -> Template:
    return HTML.from_string(source)


class Section(NamedTuple):
    title: str
    body: str
    note: str


class Cell(NamedTuple):
    """Of a table. `kind`: its classes ("n": a number, to the right; "long": wraps). `share`: how dark, 0 to 1."""

    text: object
    kind: str = ""
    share: float | None = None


@dataclass
class Tokens:
    """A run of tokens to show. All lists are as long as `ids`, or None.

    `targets`: the id that each should predict, -100: none. `weights`: of each target in the loss. `documents`: number
    of the document of each. `again`: how many of the first tokens also lie in the window before.
    """

    title: str
    ids: list[int]
    targets: list[int] | None = None
    weights: list[float] | None = None
    documents: list[int] | None = None
    again: int = 0

    def packed(self) -> dict[str, Any]:
        found = {
            "t": self.title, "i": self.ids, "y": self.targets, "w": self.weights, "d": self.documents, "a": self.again
        }  # fmt: skip
        return {key: value for key, value in found.items() if value not in (None, 0)}


@dataclass
class Page:
    """Sections are added from top to bottom, then `write`."""

    title: str
    about: str = ""
    lead: str = ""  # below it, `Markup` of any kind
    sections: list[Section] = field(default_factory=list)
    texts: dict[int, str] = field(default_factory=dict)  # id -> text, for all tokens on the page
    specials: list[int] = field(default_factory=list)
    groups: list[list[dict[str, Any]]] = field(default_factory=list)
    maps: list[dict[str, Any]] = field(default_factory=list)
    routes: list[dict[str, Any]] = field(default_factory=list)

    def add(self, title: str, body: str, note: str = "") -> None:
        """A section; a `body` that is not `Markup` is shown as text."""
        self.sections.append(Section(title, body, note))

    def add_tokens(self, title: str, runs: Iterable[Tokens], *, note: str = "", folded: bool = False) -> None:
        """Runs of tokens, each under its own title; `folded`: all but the first closed."""
        self.groups.append([run.packed() for run in runs])
        box = Markup('<div class="runs" data-group="{}" data-folded="{}"></div>')
        self.add(title, box.format(len(self.groups) - 1, int(folded)), note)

    def add_maps(self, title: str, maps: Maps, *, note: str = "") -> None:
        """Square maps side by side, the one that is clicked also large."""
        self.maps.append(maps.packed())
        self.add(title, Markup('<div class="maps" data-maps="{}"></div>').format(len(self.maps) - 1), note)

    def add_routes(self, title: str, routes: dict[str, Any], *, note: str = "") -> None:
        """A text once for each layer, coloured by where its tokens go, see routes.js."""
        self.routes.append(routes)
        self.add(title, Markup('<div class="routes" data-routes="{}"></div>').format(len(self.routes) - 1), note)

    def html(self) -> str:
        drawn = {"groups": self.groups, "maps": self.maps, "routes": self.routes}
        data = {"texts": self.texts, "specials": self.specials, **{k: v for k, v in drawn.items() if v}}
        scripts = ["page", *(name for name in ("maps", "routes") if drawn[name])] if any(drawn.values()) else []
        return _template(_asset("page.html")).render(
            page=self,
            data=data,
            style=_asset("page.css"),
            script=Markup("\n").join(_asset(f"{name}.js") for name in scripts),
        )

    def write(self, path: Path) -> None:
        path.write_bytes(self.html().encode("utf-8", "replace"))  # a lone surrogate becomes "?"


def _asset(name: str) -> Markup:
    return Markup((ASSETS / name).read_text(encoding="utf-8"))  # a file of ours


def table(head: Sequence[str], rows: Iterable[Sequence[object]], *, kind: str = "") -> Markup:
    """Numbers to the right, texts to the left; too wide, it scrolls in itself with its first column in place.

    `kind`: a class of the whole.
    """
    return fragment(TABLE, head=head, rows=[[_cell(value) for value in row] for row in rows], kind=kind)


def _cell(value: object) -> Cell:
    if isinstance(value, Cell):
        return value
    if isinstance(value, int | float) and not isinstance(value, bool):
        return Cell(number(value), "n")
    return Cell(value)


def facts(pairs: Mapping[str, object]) -> Markup:
    """Name and value, line by line."""
    return fragment(FACTS, pairs=pairs.items())


def front_page() -> str:
    """The page of task=serve: in the same template, with a script that asks the server for everything it shows."""
    return _template(_asset("page.html")).render(
        page=Page("nanolab", sections=[Section("", _asset("front.html"), "")]),
        data={},
        style=_asset("page.css") + _asset("front.css"),
        script=_asset("front.js"),
    )
