"""Which blocks of a page are its main text, and which engine finds them.

1. A page that says it is an article: trafilatura.
2. Otherwise, where the page declares its main part (`<main>`, `role=main`, one `<article>`): all of that part but what
   is junk by its names.
3. Otherwise trafilatura, if it finds about what is left of the whole page without links and junk; else that.
"""

from lxml.etree import _Element
from lxml.html import HtmlElement

from crawl.extract.article import article_blocks, is_article
from crawl.extract.blocks import Block, blocks
from crawl.extract.find import find_all
from crawl.extract.tidy import tidy

MIN_DECLARED = 250  # characters; trafilatura's own MIN_EXTRACTED_SIZE, below which it looks for more
DECLARED = (".//*[@itemprop='articleBody']", ".//main", ".//*[@role='main']")
TOLD = 40  # characters from which a declared part is taken at its word; "Loading ..." is not
LEAST = 0.7  # share of the plain text that trafilatura must find; with more than all of it, it took the whole page


def main_blocks(tree: HtmlElement, engine: str, title: str | None) -> list[Block]:
    """The blocks of the main text; `engine` is auto, trafilatura (always that) or plain (never)."""
    if engine == "trafilatura" or (engine == "auto" and is_article(tree)):
        found = tidy(article_blocks(tree), title)
        if found or engine == "trafilatura":
            return found
    root = declared(tree)
    part = tidy(blocks(root)) if root is not None else []
    if size(part) >= MIN_DECLARED:
        return part
    plain = tidy([block for block in blocks(tree) if block.link_density < 0.5])
    if engine == "auto":
        found = tidy(article_blocks(tree), title)
        if LEAST * size(plain) < size(found) <= size(plain):
            return found
    is_told = root is not None and len("".join(root.itertext()).strip()) >= TOLD  # but a list of links
    return part if part or is_told else plain


def size(found: list[Block]) -> int:
    """Characters of text."""
    return sum(len(block.text) for block in found)


def declared(tree: HtmlElement) -> _Element | None:
    """The element that the page itself marks as its main text, or None."""
    for path in DECLARED:
        if candidates := find_all(tree, path):
            return max(candidates, key=lambda element: len("".join(element.itertext())))
    articles = set(find_all(tree, ".//article"))
    outermost = [element for element in articles if articles.isdisjoint(element.iterancestors())]
    return outermost[0] if len(outermost) == 1 else None
