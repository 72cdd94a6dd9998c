"""Tables: which of them hold data, and their rows as lines of text (`a | b | c`)."""

import re

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


def table_rows(table: _Element) -> list[str]:
    """One line a row, cells separated by ` | `; empty rows and junk left out."""
    lines = []
    for row in table.iter("caption", "tr"):
        if is_junk(row):
            continue
        if row.tag == "caption":
            lines.append(_cell(row))
            continue
        cells = [_cell(cell) for cell in row if cell.tag in ("td", "th") and not is_junk(cell)]
        if any(cells):
            lines.append(" | ".join(cells))
    return [line for line in lines if line]


def _cell(cell: _Element) -> str:
    parts: list[str] = []
    stack: list[tuple[_Element, bool]] = [(cell, False)]
    while stack:
        element, tail = stack.pop()
        if tail:
            parts.append(element.tail or "")
            continue
        if element is not cell:
            stack.append((element, True))
            if not isinstance(element.tag, str) or is_junk(element):
                continue
        if element.tag in ("br", "p", "div", "li"):
            parts.append(" ")
        parts.append(element.text or "")
        stack.extend((child, False) for child in reversed(element))
    return SPACES.sub(" ", "".join(parts)).strip()
