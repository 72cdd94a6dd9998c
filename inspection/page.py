"""One self-contained HTML page: sections of facts, tables, charts and tokens. No file beside it, no network.

Tokens go into the page as numbers with a table of their texts, and a script draws them when they come into view: a
thousand documents open at once and stay readable.
"""

from __future__ import annotations

import html
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from inspection.maps import Maps

ASSETS = Path(__file__).parent


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
    about: str
    sections: list[str] = field(default_factory=list)
    texts: dict[int, str] = field(default_factory=dict)  # id -> text, for all tokens on the page
    specials: list[int] = field(default_factory=list)
    groups: list[list[dict[str, Any]]] = field(default_factory=list)
    maps: list[dict[str, Any]] = field(default_factory=list)
    routes: list[dict[str, Any]] = field(default_factory=list)

    def add(self, title: str, body: str, note: str = "") -> None:
        """A section; `body` is HTML, `title` and `note` are text."""
        number = len(self.sections)
        told = f'<p class="note">{html.escape(note)}</p>' if note else ""
        self.sections.append(f'<section id="s{number}"><h2>{html.escape(title)}</h2>{told}{body}</section>')

    def add_tokens(self, title: str, runs: Iterable[Tokens], *, note: str = "", folded: bool = False) -> None:
        """Runs of tokens, each under its own title; `folded`: all but the first closed."""
        self.groups.append([run.packed() for run in runs])
        number = len(self.groups) - 1
        self.add(title, f'<div class="runs" data-group="{number}" data-folded="{int(folded)}"></div>', note)

    def add_maps(self, title: str, maps: Maps, *, note: str = "") -> None:
        """Square maps side by side, the one that is clicked also large."""
        self.maps.append(maps.packed())
        self.add(title, f'<div class="maps" data-maps="{len(self.maps) - 1}"></div>', note)

    def add_routes(self, title: str, routes: dict[str, Any], *, note: str = "") -> None:
        """A text once for each layer, coloured by where its tokens go, see routes.js."""
        self.routes.append(routes)
        self.add(title, f'<div class="routes" data-routes="{len(self.routes) - 1}"></div>', note)

    def write(self, path: Path) -> None:
        data: dict[str, Any] = {"texts": self.texts, "specials": self.specials, "groups": self.groups}
        scripts = ["page.js"]
        for name, drawn in (("maps", self.maps), ("routes", self.routes)):
            if drawn:
                data[name] = drawn
                scripts.append(f"{name}.js")
        script = "\n".join((ASSETS / name).read_text() for name in scripts)
        # "</script>" or "<!--" in a text would end the script
        packed = json.dumps(data, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c")
        headings = [section.split("<h2>")[1].split("</h2>")[0] for section in self.sections]
        links = "".join(f'<a href="#s{i}">{heading}</a>' for i, heading in enumerate(headings))
        page = (
            "<!doctype html>\n"
            f'<html lang="en"><head><meta charset="utf-8"><title>{html.escape(self.title)}</title>\n'
            '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
            f"<style>\n{(ASSETS / 'page.css').read_text()}</style></head><body>\n"
            f"<header><h1>{html.escape(self.title)}</h1><p>{html.escape(self.about)}</p><nav>{links}</nav></header>\n"
            f"<main>\n{chr(10).join(self.sections)}\n</main>\n"
            f'<script id="data" type="application/json">{packed}</script>\n'
            f"<script>\n{script}</script>\n</body></html>\n"
        )
        path.write_bytes(page.encode("utf-8", "replace"))  # a lone surrogate becomes "?"


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Numbers to the right, with thousands marked; texts to the left."""
    lines = "".join("<tr>" + "".join(cell(value) for value in row) + "</tr>" for row in rows)
    names = "".join(f"<th>{html.escape(name)}</th>" for name in head)
    return f'<div class="wide"><table><thead><tr>{names}</tr></thead><tbody>{lines}</tbody></table></div>'


def cell(value: object) -> str:
    if isinstance(value, int | float) and not isinstance(value, bool):
        shown = f"{value:,}" if isinstance(value, int) else f"{value:,.4g}"
        return f'<td class="n">{shown}</td>'
    return f"<td>{html.escape(str(value))}</td>"


def facts(pairs: dict[str, object]) -> str:
    """Name and value, line by line."""
    rows = "".join(f"<dt>{html.escape(name)}</dt><dd>{html.escape(str(value))}</dd>" for name, value in pairs.items())
    return f"<dl>{rows}</dl>"
