"""Which blocks of a page are its main text, and which engine finds them.

1. A page that says it is an article: trafilatura.
2. Otherwise, where the page declares its main part (`<main>`, `role=main`, one `<article>`): all of that part but what
   is junk by its names.
3. Otherwise trafilatura, if it finds about what is left of the whole page without links and junk; else that.
"""

import re
from collections.abc import Sequence

from lxml.etree import _Element
from lxml.html import HtmlElement

from crawl.extract.article import article_blocks, is_article
from crawl.extract.blocks import Block, blocks
from crawl.extract.find import find_all, find_first
from crawl.extract.junk import Strictness
from crawl.extract.tidy import tidy

MIN_DECLARED = 250  # characters; trafilatura's own MIN_EXTRACTED_SIZE, below which it looks for more
DECLARED = (".//*[@itemprop='articleBody']", ".//main", ".//*[@role='main']")
FORUM = re.compile(r"DiscussionForumPosting|QAPage|schema\.org/Question", re.I)
FORUM_NAMES = re.compile(r"forum|thread|viewtopic|discussion|phpbb|vbulletin|discourse|question-page", re.I)
TOLD = 40  # characters from which a declared part is taken at its word; "Loading ..." is not
LEAST = 0.7  # share of the plain text that trafilatura must find; with more than all of it, it took the whole page


def main_blocks(tree: HtmlElement, engine: str, title: str | None) -> list[Block]:
    """The blocks of the main text; `engine` is auto, trafilatura (always that) or plain (never)."""
    if engine == "trafilatura" or (engine == "auto" and is_article(tree)):
        found = tidy(article_blocks(tree), title)
        if found or engine == "trafilatura":
            return found
    forum = is_forum(tree)
    strictness = Strictness.COMMENTS if forum else Strictness.ALL
    root = declared(tree)
    part = tidy(blocks(root, strictness), is_forum=forum) if root is not None else []
    if size(part) >= MIN_DECLARED:
        return part
    plain = [block for block in blocks(tree, strictness) if block.link_density < 0.5]
    plain = tidy(plain, is_forum=forum)
    if engine == "auto" and not forum:
        found = tidy(article_blocks(tree), title)
        if LEAST * size(plain) < size(found) <= size(plain):
            return found
    is_told = root is not None and len("".join(root.itertext()).strip()) >= TOLD  # but a list of links
    return part if part or is_told else plain


def size(found: list[Block]) -> int:
    """Characters of text."""
    return sum(len(block.text) for block in found)


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
