"""One page -> one document, or the reason why not: extract, clean, mask, judge. Pure, so it runs in any process.

Page -> extract -> clean -> language -> filters -> mask -> Document (with the signature that finds near duplicates)
"""

import hashlib
from urllib.parse import urlsplit

from crawl.clean import clean
from crawl.clean.personal import mask
from crawl.dedup.signatures import signature
from crawl.document import Document, Drop, Page
from crawl.extract.page import extract
from crawl.filters import judge
from crawl.filters.language import detect
from crawl.filters.text import Text


def process(page: Page, settings: dict) -> Document | Drop:
    """The document of a page; a Drop carries the document it would have been. `settings` are those of
    crawl/settings.py.
    """
    found = extract(page, settings)
    text = clean(found.text, settings)
    if not text.strip():
        return Drop("no_text")
    language = detect(text, found.language)
    keep, reason = judge(Text(text, language), settings)
    text, masked = mask(text, settings)
    title, _ = mask(clean(found.title or "", settings), settings)
    document = Document(
        url=page.url,
        text=text,
        title=title or None,
        date=found.date,
        language=language,
        fetched_at=page.fetched_at,
        sha256=hashlib.sha256(text.encode("utf-8", "replace")).hexdigest(),
        site=(urlsplit(page.url).hostname or "").removeprefix("www."),
        content_type=page.content_type,
        masked=masked,
        signature=signature(text) if keep and settings["dedup"]["near_duplicates"] else (),
    )
    return document if keep else Drop(reason or "filtered", document)
