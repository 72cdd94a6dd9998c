"""A page becomes a document or a drop with a reason: decode, extract. Pure; runs in the worker processes."""

import hashlib
import re

import trafilatura
from lxml import etree, html

from crawl.document import Document, Drop, Page
from crawl.extract_decode import decode
from crawl.urls import site_of

# what surrounds a text on every page of a site, by what the page itself calls it
AROUND = [
    "//nav | //footer | //*[@role='navigation' or @role='contentinfo' or @role='search' or @role='banner']",
    "//*[contains(concat(' ', normalize-space(@class), ' '), ' footer ')]",
    "//a[@class='headerlink']",
]
LINES = re.compile(r"\n{3,}")


def process(page: Page, settings: dict) -> Document | Drop:
    """The document of a page, or why there is none. Never raises because of what is in the page."""
    text = decode(page.body, page.encoding)
    title = date = language = None
    if page.content_type == "text/plain":
        main = text
    else:
        main, title, date, language = _main_text(text)
    main = LINES.sub("\n\n", main.replace("\r\n", "\n").replace("\0", "")).strip()
    if not main:
        return Drop("no_text")
    digest = hashlib.sha256(main.encode("utf-8", "replace")).hexdigest()
    document = Document(
        page.url, main, title, date, language, page.fetched_at, digest, site_of(page.url), page.content_type
    )
    wanted = settings["languages"]
    return Drop("language", document) if wanted and language not in wanted else document


def _main_text(text: str) -> tuple[str, str | None, str | None, str | None]:
    """Main text, title, date and declared language of an HTML page; an empty text where there is none to find."""
    try:
        tree = html.document_fromstring(text.encode("utf-8", "replace"), parser=html.HTMLParser(encoding="utf-8"))
    except (etree.LxmlError, ValueError, AssertionError):
        return "", None, None, None
    language = (tree.get("lang") or "").split("-")[0].lower() or None
    title = " ".join((tree.findtext(".//title") or "").split()) or None
    # fast: trafilatura's own rules, without two further extractors that cost three times as much
    main = trafilatura.extract(tree, fast=True, include_comments=False, deduplicate=False, prune_xpath=AROUND)
    return main or "", title, None, language
