"""Tables: which of them hold data, and their rows as lines of text (`a | b | c`)."""

import re
from collections.abc import Callable

from lxml.etree import _Element

from crawl.extract.junk import is_junk

MAX_CELL = 400  # characters; longer cells hold prose, so the table is there for the layout of the page
MAX_CELLS = 20_000  # of one table
BLOCKS_IN_CELL = ("table", "h1", "h2", "h3", "pre", "article", "section", "form", "blockquote")
SPACES = re.compile(r"\s+")


def is_data_table(table: _Element) -> bool:
    """True for tables whose rows belong on lines; False for tables that only place things on the page."""
    if table.get("role") in ("presentation", "none") or _nested(table):
        return False
    rows = 0
    widest = 0
    for row in table.iter("tr"):
        rows += 1
        cells = [cell for cell in row if cell.tag in ("td", "th")]
        widest = max(widest, len(cells))
        for cell in cells:
            paragraphs = sum(1 for _ in cell.iter("p", "br"))
            if paragraphs > 2 or len("".join(cell.itertext())) > MAX_CELL:
                return False
        if rows * widest > MAX_CELLS:
            return True
    return widest > 1 and rows > 1


def _nested(table: _Element) -> bool:
    return any(element is not table for element in table.iter(*BLOCKS_IN_CELL))


def table_rows(table: _Element, cell_text: Callable[[_Element], str]) -> list[str]:
    """One line a row, cells separated by ` | `; empty rows and junk left out."""
    lines = []
    for row in table.iter("caption", "tr"):
        if not is_junk(row):
            cells = [row] if row.tag == "caption" else [cell for cell in row if cell.tag in ("td", "th")]
            found = [SPACES.sub(" ", cell_text(cell)).strip() for cell in cells if not is_junk(cell)]
            lines += [" | ".join(found)] if any(found) else []
    return lines
