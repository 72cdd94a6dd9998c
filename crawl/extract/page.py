"""One page -> its main text, title, date and language. Pure: the same bytes give the same answer, in any process, any
number of times.

bytes --decode--> text --lxml--> tree --code, notation--> tree as seen --main, tidy--> blocks --render--> text
"""

import re

from lxml import etree, html
from lxml.html import HtmlElement

from crawl.document import Extracted, Page
from crawl.extract import code, notation
from crawl.extract import meta as extract_meta
from crawl.extract.blocks import Block
from crawl.extract.find import count
from crawl.extract.main import main_blocks
from crawl.web.decode import decode

# lxml accepts none of these: https://www.w3.org/TR/xml/#charsets
NOT_XML = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff\ud800-\udfff]")
XML_DECLARATION = re.compile(r"^\s*<\?xml[^>]*\?>")
LISTING = re.compile(r"<pre\b[^>]*>", re.I)
LOOKS_LIKE_HTML = re.compile(r"<(?:!doctype\s+html|html|body|head)\b", re.I)
MAX_ELEMENTS = 200_000  # of one page; python3-doc's largest has under 60,000


def extract(page: Page, settings: dict) -> Extracted:
    """The main text of a page; `text` is "" when there is none. Never raises for what a page holds."""
    text = decode(page.body, page.encoding)
    if page.content_type == "text/plain" and not LOOKS_LIKE_HTML.search(text[:1000]):
        return Extracted(None, plain_text(text))
    tree = parse(text)
    if tree is None:
        return Extracted(None, "")
    title, date, language = extract_meta.title(tree), extract_meta.date(tree), extract_meta.language(tree)
    code.settle(tree)
    notation.settle(tree)
    return Extracted(title, render(main_blocks(tree, settings["extract"]["engine"], title or "")), date, language)


def parse(text: str) -> HtmlElement | None:
    """The tree of a page, however broken; None when there is nothing in it."""
    text = NOT_XML.sub(" ", XML_DECLARATION.sub("", text))
    if not text.strip():
        return None
    text = LISTING.sub(r"\g<0><code>", text)  # libxml2 ends a <pre> where a table or list begins, but no <code>
    parser = html.HTMLParser(remove_comments=True, remove_pis=True, huge_tree=True)
    try:
        tree = html.document_fromstring(text, parser=parser)
    except (etree.ParserError, etree.XMLSyntaxError, ValueError, AssertionError):
        return None
    if count(tree) > MAX_ELEMENTS:
        return None
    return tree


def plain_text(text: str) -> str:
    """A text file as it stands: line ends made \\n, pages (form feeds) made paragraphs."""
    return NOT_XML.sub("", text.replace("\r\n", "\n").replace("\r", "\n").replace("\f", "\n\n"))


def render(found: list[Block]) -> str:
    """Blocks as text: a blank line between paragraphs; items of a list on lines that follow each other."""
    parts: list[str] = []
    previous: Block | None = None
    for block in found:
        is_item = block.kind == "item"
        if previous is not None:
            parts.append("\n" if is_item and previous.kind == "item" else "\n\n")
        marker = "  " * max(0, block.level - 1) + "- " if is_item else ""
        parts.append(marker + block.text)
        previous = block
    return "".join(parts)
