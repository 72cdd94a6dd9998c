"""The links of a page, as linked, and what its meta tags forbid."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from lxml import etree, html

from crawl.document import Page
from crawl.web.urls import Rules, join

MAX_LINKS = 5000  # of one page: a page with more is a trap, or a site map that sitemap.xml serves better
LINK_PATHS = etree.XPath(
    "//a[@href]|//area[@href]|//frame[@src]|//iframe[@src]|//link[@href][@rel='next' or @rel='prev']"
    "|//base[@href]|//meta[@http-equiv and @content]|//meta[@name and @content]"
)


@dataclass
class Found:
    """The links of a page and what its meta tags forbid."""

    links: list[str] = field(default_factory=list)
    skipped: Counter[str] = field(default_factory=Counter)
    noindex: bool = False


def find_links(page: Page, rules: Rules | None, obey_meta_robots: bool) -> Found:
    """Links worth following, in the order of the page; with `rules` None only the meta tags are read."""
    found = Found()
    words = page.headers.get("x-robots-tag", "").lower() if obey_meta_robots else ""
    elements = _elements(page)
    base = page.url
    for element in elements:
        if element.tag == "base":
            base = join(page.url, element.get("href") or "") or base
        elif element.tag == "meta" and obey_meta_robots and element.get("name", "").lower() == "robots":
            words += "," + element.get("content", "").lower()
    found.noindex = "noindex" in words or "none" in words.replace(" ", "").split(",")
    if rules is None or "nofollow" in words or "none" in words.replace(" ", "").split(","):
        return found
    seen = {rules.canonical(page.url)}
    encoding = (elements[0].getroottree().docinfo.encoding if elements else None) or "utf-8"
    for raw in _addresses(elements):
        _judge(raw, base, rules, seen, found, encoding)
    return found


def _elements(page: Page) -> list:
    if not page.body.strip():
        return []
    encoding = page.encoding
    if encoding:
        try:
            "".encode(encoding)
        except LookupError:
            encoding = None
    try:
        parser = html.HTMLParser(encoding=encoding, huge_tree=True)
        tree = html.document_fromstring(page.body, parser=parser)
    except (etree.ParserError, etree.XMLSyntaxError, ValueError, LookupError, AssertionError):
        return []
    return LINK_PATHS(tree)


def _addresses(elements: list) -> Iterator[str]:
    for element in elements:
        if element.tag == "meta":
            if element.get("http-equiv", "").lower() == "refresh" and "url=" in element.get("content").lower():
                yield element.get("content").split("=", 1)[1].strip(" '\"")
        elif element.tag != "base" and "nofollow" not in element.get("rel", "").lower().split():
            yield element.get("href") or element.get("src") or ""


def _judge(raw: str, base: str, rules: Rules, seen: set[str | None], found: Found, encoding: str) -> None:
    raw = raw.strip()
    if not raw or raw.startswith("#") or len(found.links) >= MAX_LINKS:
        return
    url = rules.as_linked(join(base, raw.split("#", 1)[0]) or "", encoding)
    key = rules.canonical(url) if url else raw[:100]
    if key in seen:
        return
    seen.add(key)
    reason = "not_http" if url is None else rules.judge(url)
    if reason:
        found.skipped[reason] += 1
    elif url:
        found.links.append(url)
