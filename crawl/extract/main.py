"""Which blocks of a page are its main text.

1. Where the page says so itself (`articleBody`, `<main>`, `role=main`, one `<article>`), that part is taken.
2. Otherwise trafilatura decides: blocks whose text is in its answer, what stands between them, and what is left of an
   element that is mostly theirs.
3. Where it finds nothing, the blocks that are not mostly links.

Trafilatura only points at text; the text itself always comes from our own walk of the page, which keeps the line
breaks of code and tables and visits every node once.
"""

import logging
import re
from collections.abc import Sequence
from itertools import islice, pairwise

from lxml.etree import _Element
from lxml.html import HtmlElement
from trafilatura import bare_extraction

from crawl.extract.blocks import Block, blocks
from crawl.extract.find import find_all, find_first
from crawl.extract.junk import Strictness

MIN_DECLARED = 250  # characters; trafilatura's own MIN_EXTRACTED_SIZE, below which it looks for more
DECLARED = (
    ".//*[@itemprop='articleBody']",
    ".//main",
    ".//*[@role='main']",
)
FORUM = re.compile(r"DiscussionForumPosting|QAPage|schema\.org/Question", re.I)
FORUM_NAMES = re.compile(r"forum|thread|viewtopic|discussion|phpbb|vbulletin|discourse|question-page", re.I)
MAX_DEPTH = 250  # elements inside each other; beyond it trafilatura takes a time that grows with the square
MAX_GAP = 12  # blocks between two that trafilatura chose that are taken along
SHORT = 25  # characters, white space not counted, that may occur anywhere by accident

logging.getLogger("trafilatura").setLevel(logging.CRITICAL)  # it reports every page without text as an error
logging.getLogger("htmldate").setLevel(logging.CRITICAL)


def main_blocks(tree: HtmlElement, engine: str = "auto") -> list[Block]:
    """The blocks of the main text; `engine` is auto, trafilatura (skips 1.) or plain (skips 2.)."""
    strictness = Strictness.COMMENTS if is_forum(tree) else Strictness.ALL
    found: list[Block] = []
    if engine != "trafilatura":
        root = declared(tree)
        found = _lenient_if_needed(root, strictness) if root is not None else []
        if size(found) >= MIN_DECLARED:
            return found
    everything = _lenient_if_needed(tree, strictness)
    if engine != "plain" and everything and max(map(_depth, everything)) <= MAX_DEPTH:
        voted = vote(everything, trafilatura_text(tree))
        if size(voted) > size(found):
            return voted
    return found or [block for block in everything if block.link_density < 0.5]


def _depth(block: Block) -> int:
    return sum(1 for _ in block.element.iterancestors())


def size(found: list[Block]) -> int:
    """Characters of text."""
    return sum(len(block.text) for block in found)


def _lenient_if_needed(root: _Element, strictness: Strictness) -> list[Block]:
    """Names lie: where they would leave nothing worth having, only tags and roles count."""
    found = blocks(root, strictness)
    if size(found) >= MIN_DECLARED:
        return found
    more = blocks(root, Strictness.NOTHING)
    return more if size(more) >= MIN_DECLARED and size(found) < size(more) / 4 else found


def is_forum(tree: HtmlElement) -> bool:
    """Is the discussion itself the text of this page?"""
    if any(FORUM.search(script.text or "") for script in find_all(tree, ".//script[@type='application/ld+json']")):
        return True
    if find_first(tree, ".//*[@itemtype='https://schema.org/QAPage']") is not None:
        return True
    body = find_first(tree, ".//body")
    names = f"{body.get('class', '')} {body.get('id', '')}" if body is not None else ""
    return bool(FORUM_NAMES.search(names))


def declared(tree: HtmlElement) -> _Element | None:
    """The element that the page itself marks as its main text, or None."""
    for path in DECLARED:
        candidates = find_all(tree, path)
        if candidates:
            return _narrow(max(candidates, key=lambda element: len("".join(element.itertext()))))
    articles = _outermost(find_all(tree, ".//article"))
    return articles[0] if len(articles) == 1 else _common(articles) if articles else None


def _narrow(root: _Element) -> _Element:
    """<main> often holds one <article> and, beside it, what has nothing to do with it."""
    articles = _outermost(find_all(root, ".//article"))
    if len(articles) == 1:
        whole, part = (sum(map(len, element.itertext())) for element in (root, articles[0]))
        if part > whole / 2:
            return articles[0]
    return root


def _outermost(elements: Sequence[_Element]) -> list[_Element]:
    inside = set(elements)
    return [element for element in elements if not any(parent in inside for parent in element.iterancestors())]


def _common(elements: list[_Element]) -> _Element | None:
    """The nearest element that holds all of them, unless that is the whole page."""
    for parent in elements[0].iterancestors():
        if all(parent in element.iterancestors() for element in elements[1:]):
            return parent if parent.tag not in ("body", "html") else None
    return None


def trafilatura_text(tree: HtmlElement) -> str:
    """What trafilatura takes for the main text; "" when it finds none.

    Its deduplication is off: it remembers earlier pages, so the same page would give another text later.
    """
    try:
        found = bare_extraction(tree, include_comments=True, include_tables=True, deduplicate=False)
    except Exception:  # it meets pages nobody thought of; then the other ways must do
        return ""
    if found is None or isinstance(found, dict):
        return ""
    return "\n".join(text for body in (found.body, found.commentsbody) if body is not None for text in body.itertext())


def vote(found: list[Block], text: str) -> list[Block]:
    """The blocks whose text is in `text`, and what stands between two of them."""
    haystack = "".join(text.split())
    if not haystack:
        return []
    sure = [at for at, block in enumerate(found) if _is_in(block, haystack)]
    chosen = set(sure)
    for before, after in pairwise(sure):
        if after - before <= MAX_GAP:
            chosen.update(at for at in range(before, after) if found[at].link_density < 0.5)
    return [found[at] for at in sorted(chosen | _beside(found, chosen))]


def _beside(found: list[Block], chosen: set[int]) -> set[int]:
    """What shares an element with blocks that were chosen, where these are most of it: the list below a paragraph."""
    inside: dict[_Element, list[int]] = {}
    for at, block in enumerate(found):
        for element in islice(block.element.iterancestors("div", "section", "article", "td"), 1):
            inside.setdefault(element, []).append(at)
    more: set[int] = set()
    for members in inside.values():
        taken = sum(len(found[at].text) for at in members if at in chosen)
        if taken > sum(len(found[at].text) for at in members) / 2:
            more.update(at for at in members if found[at].link_density < 0.5)
    return more


def _is_in(block: Block, haystack: str) -> bool:
    if block.kind in ("code", "table"):
        pieces = ["".join(piece.split()) for piece in re.split(r"[\n|]", block.text)]
        pieces = [piece for piece in pieces if len(piece) > 1]
        return sum(piece in haystack for piece in pieces) > len(pieces) / 2
    key = "".join(block.text.split())
    return len(key) >= SHORT and key in haystack
