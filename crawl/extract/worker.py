"""What happens to a page outside the crawler process: find its links, extract and judge its text. Pure, and bounded
in time.

`start` runs once in each worker process, `work` once a page.
"""

import os
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from lxml import etree, html

from crawl.document import Document, Drop, Page
from crawl.web.urls import Rules, join

MAX_LINKS = 5000  # of one page: a page with more is a trap, or a site map that sitemap.xml serves better
LINK_PATHS = etree.XPath(
    "//a[@href]|//area[@href]|//frame[@src]|//iframe[@src]|//link[@href][@rel='next' or @rel='prev']"
    "|//base[@href]|//meta[@http-equiv and @content]|//meta[@name and @content]"
)
_state: dict = {}


@dataclass
class Worked:
    """What comes back from a worker."""

    result: Document | Drop
    links: list[str] = field(default_factory=list)  # as linked, allowed, each once
    skipped: dict[str, int] = field(default_factory=dict)  # links not followed, by reason


class TooSlowError(Exception):
    """Extraction took longer than crawl.extract_timeout_s."""


def start(settings: dict, domains: list[str], parent: int) -> None:
    """Prepare a worker process: import what is slow to import, leave signals to the parent, and die with it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_die_with, args=(parent,), daemon=True).start()
    from crawl.extract.process import process

    _state.update(settings=settings, rules=Rules(settings, domains), process=process)


def work(page: Page, follow: bool) -> Worked:
    """Links and text of one page; `follow` says whether its links are wanted.

    Raises TooSlowError when the page's time is over.
    """
    settings = _state["settings"]
    with _limit(settings["extract_timeout_s"]):
        found = Found()
        if page.content_type != "text/plain":
            found = find_links(page, _state["rules"] if follow else None, settings["obey_meta_robots"])
        if found.noindex:
            return Worked(Drop("noindex"), found.links, dict(found.skipped))
        return Worked(_state["process"](page, settings), found.links, dict(found.skipped))


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


@contextmanager
def _limit(seconds: float) -> Iterator[None]:
    """An alarm clock for Python code; the pool's own clock covers what this cannot interrupt."""

    def ring(_signum: int, _frame: object) -> None:
        raise TooSlowError

    if not hasattr(signal, "setitimer") or threading.current_thread() is not threading.main_thread():
        yield
        return
    old = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, old)


def _die_with(parent: int) -> None:
    """A crawler that is killed must not leave workers behind."""
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1) if sys.platform != "win32" else None
