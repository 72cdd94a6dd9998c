"""What a page says about itself: title, date, language. Plain look-ups; what is not stated is not guessed."""

import re

from lxml.html import HtmlElement

from crawl.extract.find import find_all, find_first

DATE = re.compile(r"\b((?:19|20)\d\d)-(\d\d)-(\d\d)")
JSON_DATE = re.compile(r'"datePublished"\s*:\s*"([^"]{10,40})"')
DATE_PATHS = (
    ".//meta[@property='article:published_time']",
    ".//meta[@itemprop='datePublished']",
    ".//meta[@name='date']",
    ".//meta[@name='DC.date.issued']",
    ".//meta[@name='citation_publication_date']",
    ".//*[@itemprop='datePublished']",
)
SPACES = re.compile(r"\s+")
MAX_TITLE = 300  # characters


def title(tree: HtmlElement) -> str | None:
    """The title of the text: og:title, the only <h1>, or <title>."""
    meta = find_first(tree, ".//meta[@property='og:title']")
    heads = find_all(tree, ".//h1")
    name = find_first(tree, ".//head/title")
    if name is None:
        name = find_first(tree, ".//title")
    choices = [
        meta.get("content") if meta is not None else None,
        "".join(heads[0].itertext()) if len(heads) == 1 else None,
        name.text if name is not None else None,
        "".join(heads[0].itertext()) if heads else None,
    ]
    for choice in choices:
        text = SPACES.sub(" ", choice or "").strip(" ¶#\u200b")
        if text:
            return text[:MAX_TITLE]
    return None


def date(tree: HtmlElement) -> str | None:
    """Day of publication as YYYY-MM-DD, where the page states one for machines."""
    for path in DATE_PATHS:
        element = find_first(tree, path)
        if element is not None:
            found = iso_date(element.get("content") or element.get("datetime") or element.text or "")
            if found:
                return found
    for script in find_all(tree, ".//script[@type='application/ld+json']"):
        match = JSON_DATE.search(script.text or "")
        if match and (found := iso_date(match[1])):
            return found
    times = find_all(tree, ".//article//time[@datetime]") or find_all(tree, ".//time[@pubdate]")
    return iso_date(times[0].get("datetime") or "") if times else None


def iso_date(text: str) -> str | None:
    """The first plausible YYYY-MM-DD in `text`."""
    match = DATE.search(text.replace("/", "-"))
    if match and 1 <= int(match[2]) <= 12 and 1 <= int(match[3]) <= 31:
        return "-".join(match.groups())
    return None


def language(tree: HtmlElement) -> str | None:
    """The declared language, as ISO 639-1."""
    root = tree.getroottree().getroot()
    name = root.get("lang") or root.get("{http://www.w3.org/XML/1998/namespace}lang") or root.get("xml:lang") or ""
    match = re.match(r"[a-z]{2}(?![a-z])", name.strip().lower())
    return match[0] if match else None
