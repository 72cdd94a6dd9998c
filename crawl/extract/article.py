"""Articles (news, blogs): their text as trafilatura finds it, in our blocks.

Pages labelled elsewhere say which engine is better where (docs/findings.md): on articles trafilatura beats any walk of
ours; on reference pages (documentation, forums, shops, tables, code) it loses what belongs to the text.
"""

import logging
import re
from itertools import pairwise

from lxml.etree import _Element
from lxml.html import HtmlElement
from trafilatura import bare_extraction

from crawl.extract.blocks import Block, blocks
from crawl.extract.find import find_all, find_first

SAYS_ARTICLE = (
    ".//meta[@property='og:type'][@content='article' or @content='blog' or @content='post']",
    ".//meta[@property='article:published_time']",
    ".//*[@itemprop='articleBody']",
)
JSON_ARTICLE = re.compile(r'"@type"\s*:\s*\[?\s*"(?:\w*Article|BlogPosting|Report)"')
TAGS = {"row": "tr", "cell": "td", "item": "li", "quote": "blockquote", "lb": "br", "hi": "b", "ref": "a", "list": "ul"}
MAX_DEPTH = 250  # elements inside each other; beyond it trafilatura takes a time that grows with the square
PARAGRAPH = 80  # characters from which a <p> is a paragraph of the text and no caption
# White space of code on its way through trafilatura, which collapses the plain one: two punctuation marks of Sutton
# SignWriting, printable and not to be met. https://www.unicode.org/charts/PDF/U1D800.pdf
KEPT = {"\n": "\U0001da89", " ": "\U0001da8a"}
CODE = re.compile("|".join(KEPT.values()))

logging.getLogger("trafilatura").setLevel(logging.CRITICAL)  # it reports every page without text as an error
logging.getLogger("htmldate").setLevel(logging.CRITICAL)


def is_article(tree: HtmlElement) -> bool:
    """Does the page say that it is one, in Open Graph or schema.org?"""
    if any(find_first(tree, path) is not None for path in SAYS_ARTICLE):
        return True
    scripts = find_all(tree, ".//script[@type='application/ld+json']")
    return any(JSON_ARTICLE.search(script.text or "") for script in scripts)


def article_blocks(tree: HtmlElement) -> list[Block]:
    """The blocks of what trafilatura takes for the main text; none when it finds none. Changes the tree.

    Its deduplication is off: it remembers earlier pages, so the same page would give another text later.
    """
    if find_first(tree, "./" + "/*" * MAX_DEPTH) is not None:
        return []
    _join_bodies(tree)
    listings = [(element, element.text or "") for element in find_all(tree, ".//pre")]
    for element, text in listings:
        element.text = re.sub(r"[\n ]", lambda match: KEPT[match[0]], text)
    try:
        found = bare_extraction(tree, fast=True, include_comments=False, deduplicate=False)
    except Exception:  # it meets pages nobody thought of; then the other ways must do
        found = None
    for element, text in listings:
        element.text = text
    if found is None or isinstance(found, dict) or found.body is None:
        return []
    return [_with_lines(block) for block in blocks(_as_html(found.body))]


def _join_bodies(tree: HtmlElement) -> None:
    """Put the parts of a text together that stand in several elements of one class inside an <article>, with pictures
    and adverts in between: trafilatura takes the first of them.
    """
    parts: dict[tuple[_Element, str], list[_Element]] = {}
    for paragraph in find_all(tree, f".//article//p[string-length() >= {PARAGRAPH}]"):
        parent = paragraph.getparent()
        name = parent.get("class") if parent is not None else None
        if parent is None or not name or re.search(r"comment|teaser|related|card|promo", name, re.I):
            continue
        article = next(paragraph.iterancestors("article"))
        bodies = parts.setdefault((article, name), [])
        if parent not in bodies[-1:]:
            bodies.append(parent)
    for bodies in parts.values():
        if all(first not in second.iterancestors() for first, second in pairwise(bodies)):
            for body in bodies[1:]:
                bodies[0].extend(list(body))


def _as_html(body: _Element) -> _Element:
    """Trafilatura's own vocabulary (after TEI) -> HTML."""
    for element in body.iter("*"):
        rend = element.get("rend") or ""
        if element.tag == "head":
            element.tag = rend if re.fullmatch("h[1-6]", rend) else "h2"
        elif element.tag == "item" and rend[:2] in ("dt", "dd"):
            element.tag = rend[:2]
        else:
            element.tag = TAGS.get(str(element.tag), element.tag)
    return body


def _with_lines(block: Block) -> Block:
    if CODE.search(block.text):
        if KEPT["\n"] in block.text and block.kind == "p":
            block.kind = "code"
        for plain, kept in KEPT.items():
            block.text = block.text.replace(kept, plain)
    return block
