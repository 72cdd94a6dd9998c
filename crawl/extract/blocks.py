"""A tree of HTML -> the blocks of text a reader sees, in order: paragraphs, headings, list items, tables, code.

Each text node is visited once and lands in one block, so nothing can come out twice, however elements are nested.
What is never text (scripts, navigation, adverts, ...) is not entered; `extract_junk.py` says what that is.
"""

import re
from collections.abc import Generator, Iterator
from dataclasses import dataclass

from lxml.etree import _Element

from crawl.extract.junk import is_junk, words
from crawl.extract.table import is_data_table, table_rows

BLOCKS = words(
    "address article aside blockquote body caption center dd details dialog dir div dl dt fieldset figcaption "
    "figure footer form h1 h2 h3 h4 h5 h6 header hgroup hr html legend li main menu nav ol p section summary "
    "table tbody td tfoot th thead tr ul"
)
HEADINGS = {"h1": 1, "h2": 2, "h3": 3, "h4": 4, "h5": 5, "h6": 6}
SPACES = re.compile(r"[^\S\n]+")  # HTML collapses white space; \n stands for <br> here
BREAKS = re.compile(r" *\n *")
PARAGRAPH_BREAK = re.compile(r"\n\n+")


@dataclass(slots=True)
class Block:
    """A piece of text that stands on lines of its own."""

    kind: str  # p | heading | item | code | table
    text: str
    element: _Element  # the innermost block-level element it stands in
    level: int = 0  # of a heading or a list item
    link_chars: int = 0  # characters inside <a>

    @property
    def link_density(self) -> float:
        """Share of the text that is link; 0 = none, 1 = all."""
        return min(1.0, self.link_chars / max(1, len(self.text)))


def blocks(root: _Element) -> list[Block]:
    """The blocks under `root`, in order."""
    return list(_Walk(root).run())


class _Walk:
    """Depth first with a stack of its own: a hostile page may nest deeper than Python recurses."""

    def __init__(self, root: _Element):
        self.root = root
        self.parts: list[str] = []  # of the block being collected
        self.link_chars = 0
        self.links = 0  # open <a>
        self.lists = 0  # open <ul> and <ol>

    def run(self) -> Iterator[Block]:
        stack: list[tuple[_Element, bool]] = [(self.root, False)]
        place = self.root  # innermost open block-level element
        while stack:
            element, leaving = stack.pop()
            if leaving:
                place = yield from self._leave(element, place)
                continue
            tag = element.tag
            if not isinstance(tag, str) or (element is not self.root and is_junk(element)):
                self._text(element.tail if element is not self.root else None)
            elif tag == "pre" or (tag == "table" and is_data_table(element)):
                yield from self._flush(place)
                yield from self._whole(element, tag)
                self._text(element.tail if element is not self.root else None)
            else:
                if tag in BLOCKS:
                    yield from self._flush(place)
                    place = element
                self._enter(element, tag)
                stack.append((element, True))
                stack.extend((child, False) for child in reversed(element))
        yield from self._flush(place)

    def _enter(self, element: _Element, tag: str) -> None:
        if tag == "a":
            self.links += 1
        elif tag in ("ul", "ol"):
            self.lists += 1
        elif tag == "br":
            self.parts.append("\n")
        self._text(element.text)

    def _leave(self, element: _Element, place: _Element) -> Generator[Block, None, _Element]:
        tag = element.tag
        if tag == "a":
            self.links -= 1
        elif tag in ("ul", "ol"):
            self.lists -= 1
        if tag in BLOCKS:
            yield from self._flush(place)
            parent = element.getparent()
            place = element if parent is None or element is self.root else _block_of(parent)
        if element is not self.root:
            self._text(element.tail)
        return place

    def _text(self, text: str | None) -> None:
        if text:
            text = text.replace("\n", " ")
            self.parts.append(text)
            if self.links:
                self.link_chars += len(text.strip())

    def _whole(self, element: _Element, tag: str) -> Iterator[Block]:
        if tag == "table":
            text = "\n".join(table_rows(element, lambda cell: " ".join(part.text for part in blocks(cell))))
            links = sum(len("".join(link.itertext())) for link in element.iter("a"))
            if text:
                yield Block("table", text, element, link_chars=links)
            return
        if element.text:
            yield Block("code", element.text, element)

    def _flush(self, place: _Element) -> Iterator[Block]:
        if not self.parts:
            return
        text = BREAKS.sub("\n", SPACES.sub(" ", "".join(self.parts))).strip().removesuffix("¶").rstrip()
        links, self.parts, self.link_chars = self.link_chars, [], 0
        if not text:
            return
        kind, level = self._kind(place)
        for part in PARAGRAPH_BREAK.split(text):  # <br><br> is how a paragraph ends on many pages
            if part.strip():
                yield Block(kind, part.strip(), place, level, round(links * len(part) / len(text)))

    def _kind(self, place: _Element) -> tuple[str, int]:
        for element in (place, *place.iterancestors()):
            if element.tag in HEADINGS:
                return "heading", HEADINGS[element.tag]
            if element.tag in ("li", "dt", "dd"):
                return ("item", self.lists) if element.tag == "li" and self.lists else ("p", 0)
            if element.tag not in ("p", "div", "span") or element is self.root:
                break
        return "p", 0


def _block_of(element: _Element) -> _Element:
    while element.tag not in BLOCKS and (parent := element.getparent()) is not None:
        element = parent
    return element
