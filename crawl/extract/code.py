"""Code with its lines and indentation as a reader sees them on the screen, whatever elements make the lines.

`<div>`, `<p>`, `<li>`, spans set as blocks, `<br>`, rows of tables: each ends a line. Gutters of line numbers and copy
buttons are left out. `settle` writes the result back as the one text of a <pre>.
"""

import re
from itertools import islice, pairwise

from lxml.etree import _Element
from lxml.html import HtmlElement

from crawl.extract.find import find_all
from crawl.extract.junk import is_junk, words

LINES = words(
    "address article blockquote center dd div dl dt figure footer h1 h2 h3 h4 h5 h6 header hr li main ol p pre section "
    "table tr ul listing"
)
LISTINGS = ".//pre | .//listing | .//xmp | .//plaintext | .//code[.//br or .//div or .//p or .//li or .//tr] | .//*[@style][contains(@style, 'white-space')] | .//table[.//td[@data-line-number] or .//td[contains(@class, 'num')]] | .//div[count(div[contains(@class, 'line')]) > 1]"  # noqa: E501
PRESERVED = re.compile(r"white-space(?:-collapse)?\s*:\s*(?:pre|preserve|break-spaces)(?![\w-])", re.I)
AS_BLOCK = re.compile(r"display\s*:\s*(?:block|flex|grid|table-row|list-item)", re.I)
BLOCK_RULE = re.compile(r"([^{}]*)\{[^{}]*display\s*:\s*(?:block|flex|grid|table-row|list-item)[^{}]*\}", re.I)
CLASS = re.compile(r"\.([\w-]+)\s*(?:,|$)")
LINE_NAME = re.compile(r"(?:^|[\s_-])(?:line|row|loc)(?:$|\s)", re.I)  # code-line, token-line, view-line, line
CODE_NAME = re.compile(r"(?:^|[\s_-])(?:code|fragment|highlight(?:er)?|syntaxhighlighter|source)(?:$|[\s_-])", re.I)
NUMBER_NAME = re.compile(
    r"gutter|line[-_]?no|line[-_]?num|(?:blob|code|ln)-num|(?:^|[\s-])(?:lnt?|lnr|lnum)(?:$|\s)", re.I
)
COPY_NAME = re.compile(r"copy|clipboard|tooltip|toolbar|sr-only", re.I)
TABLE = words("td th tbody thead tfoot colgroup col")
UNSELECTABLE = re.compile(r"user-select\s*:\s*none", re.I)
NUMBER = re.compile(r"\s*(\d+)[\s.:|]*")
NUMBERS = re.compile(r"[\s\d.:|]*")
SPACES = re.compile(r"[ \t\r\n\f]+")


def settle(tree: HtmlElement) -> None:
    """Give every listing of a page one text with its lines, inside a <pre>; gutters disappear."""
    listings = [element for element in find_all(tree, LISTINGS) if _is_listing(element)]
    if not listings:
        return
    block_names = _set_as_blocks(tree)
    inside = set(listings)
    texts = [
        (element, code_text(element, block_names))
        for element in listings
        if not any(parent in inside for parent in element.iterancestors())
    ]
    for element, text in texts:
        tail = element.tail
        element.clear(keep_tail=True)
        element.tag, element.text, element.tail = "pre", text, tail
    for (first, numbers), (second, _) in pairwise(texts):  # a gutter is a listing of its own beside the listing
        if _counts(numbers.split("\n")) and _beside(first, second):
            first.text = ""


def _is_listing(element: _Element) -> bool:
    if element.tag in ("pre", "listing", "xmp", "plaintext", "code"):
        return True
    if element.tag == "table":
        return any(_is_gutter(cell) for cell in element.iter("td"))
    if element.tag == "div" and sum(bool(LINE_NAME.search(child.get("class", ""))) for child in element) > 1:
        outer = [element, *islice(element.iterancestors(), 2)]
        return any(CODE_NAME.search(place.get("class", "")) for place in outer)  # and no poem
    return element.tag in ("div", "p", "td") and bool(PRESERVED.search(element.get("style", "")))


def _beside(first: _Element, second: _Element) -> bool:
    row = next(first.iterancestors("tr"), None)
    if row is None:
        row = first.getparent()
    return row is not None and row in second.iterancestors()


def _counts(lines: list[str]) -> bool:
    """Are these line numbers, one after the other?"""
    found = [int(line) if line.strip().isdecimal() else -1 for line in lines if line.strip()]
    return bool(found) and found[0] >= 0 and all(b == a + 1 for a, b in pairwise(found))


def _set_as_blocks(tree: HtmlElement) -> frozenset[str]:
    """Class names that the style sheets inside the page set as blocks."""
    sheets = "\n".join(style.text or "" for style in find_all(tree, ".//style"))
    return frozenset(name for rule in BLOCK_RULE.findall(sheets[:200_000]) for name in CLASS.findall(rule.strip()))


def code_text(element: _Element, block_names: frozenset[str] = frozenset()) -> str:
    """The text of a listing with its line breaks and indentation."""
    lines = _Listing(element, block_names).lines()
    while lines and not lines[0]:
        del lines[0]
    while lines and not lines[-1]:
        del lines[-1]
    return "\n".join(lines)


class _Listing:
    """One walk through a listing, with a stack of its own: a hostile page may nest deeper than Python recurses."""

    def __init__(self, root: _Element, block_names: frozenset[str]):
        self.root, self.block_names = root, block_names
        self.parts: list[str] = []
        self.at_start = True  # of a line
        self.preserves = root.tag != "code" or bool(PRESERVED.search(root.get("style", "")))
        self.in_lines = "\n" not in "".join(root.itertext()).strip()  # then elements named lines make the lines
        self.numbers = _numbered(root)
        self.behind: list[str] = []  # what stands right behind the line numbers

    def lines(self) -> list[str]:
        """Its lines, without spaces at their ends."""
        stack: list[tuple[_Element, bool]] = [(self.root, False)]
        while stack:
            element, leaving = stack.pop()
            if leaving or not isinstance(element.tag, str) or (element is not self.root and self._is_left_out(element)):
                self._leave(element, leaving)
                continue
            if (self._ends_line(element) and not self.at_start) or element.tag == "br":
                self._newline()
            elif element.tag in ("td", "th") and not self.at_start:
                self._write(" ")
            self._write(element.text, before=element[0] if len(element) else None)
            stack.append((element, True))
            stack.extend((child, False) for child in reversed(element))
        lines = "".join(self.parts).replace("\xa0", " ").expandtabs(8).split("\n")
        gap = bool(self.behind) and all(text.startswith(" ") for text in self.behind)
        return [line.removeprefix(" ").rstrip() if gap else line.rstrip() for line in lines]

    def _leave(self, element: _Element, was_in: bool) -> None:
        if element is self.root:
            return
        is_blank_line = not len(element) and not element.text and (element.tag == "li" or self._is_line(element))
        if was_in and self._ends_line(element) and (not self.at_start or is_blank_line):
            self._newline()
        self._write(element.tail, after=element, before=element.getnext())

    def _write(self, text: str | None, after: _Element | None = None, before: _Element | None = None) -> None:
        """White space beside a block or in a table only formats the source: one line break of it is none."""
        if not text:
            return
        text = text.replace("\r\n", "\n").replace("\r", "\n")
        beside = any(element is not None and self._stands_alone(element) for element in (after, before))
        if not text.strip() and beside:
            inline = before is not None and not self._stands_alone(before)
            text = "\n" * (text.count("\n") - 1) + (text.rpartition("\n")[2] if inline else "")
        elif not self.preserves:
            text = SPACES.sub(" ", text)
            text = text.lstrip(" ") if self.at_start else text
        if text:
            self.parts.append(text)
            self.at_start = text.endswith("\n")

    def _newline(self) -> None:
        self.parts.append("\n")
        self.at_start = True

    def _stands_alone(self, element: _Element) -> bool:
        return element.tag in TABLE or self._ends_line(element)

    def _ends_line(self, element: _Element) -> bool:
        if element.tag in LINES:
            return True
        if not isinstance(element.tag, str) or element.tag == "br" or element.tag in TABLE:
            return False
        names = element.get("class", "").split()
        if AS_BLOCK.search(element.get("style", "")) or not self.block_names.isdisjoint(names):
            return True
        return self.in_lines and self._is_line(element)

    @staticmethod
    def _is_line(element: _Element) -> bool:
        return bool(LINE_NAME.search(element.get("class", ""))) or "data-line" in element.attrib

    def _is_left_out(self, element: _Element) -> bool:
        if element in self.numbers or _is_gutter(element):
            if (text := _text_behind(element)) is not None:
                self.behind.append(text)
            return True
        if COPY_NAME.search(element.get("class", "")) and len("".join(element.itertext())) < 40:
            return True
        return is_junk(element, by_name=False)  # names are those of a highlighter: "comment", "tag", "title"


def _text_behind(element: _Element) -> str | None:
    """What a line begins with behind its number; None at the end of all."""
    if element.tail or element.tag in TABLE:
        return element.tail or ""
    following = element.getnext()
    return None if following is None else "".join(following.itertext())


def _is_gutter(element: _Element) -> bool:
    """Line numbers by name, or numbers that cannot be selected with the mouse."""
    attributes = element.attrib
    if not attributes or element.tag in ("pre", "code"):
        return False
    text = "".join(element.itertext()).strip()
    if "data-line-number" in attributes and text in ("", attributes["data-line-number"]):
        return not text or element.tag != "span" or not LINE_NAME.search(attributes.get("class", ""))
    if UNSELECTABLE.search(attributes.get("style", "")) or NUMBER_NAME.search(attributes.get("class", "")):
        return bool(NUMBERS.fullmatch(text))
    return False


def _numbered(root: _Element) -> set[_Element]:
    """Cells, anchors and bare spans that hold nothing but numbers counting up, each at the beginning of a line."""
    found: dict[str, list[tuple[int, _Element]]] = {}
    for element in root.iter("span", "a", "td", "th", "b", "i", "div"):
        if element.get("class") and element.tag not in ("a", "td", "th"):
            continue  # a number that a highlighter marked
        match = NUMBER.fullmatch("".join(element.itertext())) if len(element) < 2 and _leads(element, root) else None
        if match:
            found.setdefault(str(element.tag), []).append((int(match[1]), element))
    counting = [group for group in found.values() if len(group) > 1 and _counts([str(number) for number, _ in group])]
    return {element for group in counting for _, element in group}


def _leads(element: _Element, root: _Element) -> bool:
    """Does something else follow it, and does it begin a line?"""
    previous, parent = element.getprevious(), element.getparent()
    if parent is None or (element.getnext() is None and not (element.tail or "").strip()):
        return False
    if previous is None:
        return not (parent.text or "").strip() and (
            parent is root or parent.tag in LINES or parent.tag in ("code", "span")
        )
    return previous.tag in LINES or previous.tag == "br" or (previous.tail or "").rstrip(" \t").endswith("\n")
