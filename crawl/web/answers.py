"""What an answer, or the lack of one, means for an address: a page, a redirect, another try, or an end with a name."""

import zlib
from typing import Any

from scrapy import exceptions as scrapy_errors
from scrapy.http import Response
from scrapy.utils import _compression  # it alone knows which packages decompress

from crawl.document import Page
from crawl.items import Item
from crawl.queueing.ledger import Ending, Entry, Link
from crawl.state import State, now
from crawl.web.guard import GuardedResolver, Refused
from crawl.web.manners import retry_after
from crawl.web.urls import join

REDIRECTS = (301, 302, 303, 307, 308)
RETRY = (408, 425, 429)  # and 5xx
PAGE_TYPES = ("text/html", "application/xhtml+xml", "text/plain")
LISTING_TYPES = (
    *PAGE_TYPES, "application/xml", "text/xml", "application/rss+xml", "application/atom+xml", "application/rdf+xml",
    "application/gzip", "application/x-gzip", "application/octet-stream",
)  # fmt: skip
KEPT_HEADERS = ("content-language", "last-modified", "x-robots-tag", "content-type")
# Scrapy's words for what went wrong, and ours; the first that fits.
FAILURES: list[tuple[type[BaseException], str, bool]] = [
    (scrapy_errors.DownloadTimeoutError, "timeout", True),
    (scrapy_errors.CannotResolveHostError, "no_such_host", True),
    (scrapy_errors.DownloadConnectionRefusedError, "connection_refused", True),
    (scrapy_errors.DownloadCancelledError, "too_large", False),
    (scrapy_errors.ResponseDataLossError, "broken_off", True),
    (scrapy_errors.DownloadFailedError, "connection_lost", True),
    (scrapy_errors.UnsupportedURLSchemeError, "not_http", False),
    (zlib.error, "bad_compression", False),
    (EOFError, "bad_compression", False),
    (_compression.brotli.error, "bad_compression", False),
    (_compression.zstd.ZstdError, "bad_compression", False),
    (scrapy_errors.IgnoreRequest, "too_large_decompressed", False),  # the only reason of Scrapy's that is left
    (OSError, "bad_compression", False),
]


def media_type(headers: Any) -> str:
    """Lower-case media type of a Content-Type header; text/html where none is given, as browsers do."""
    value = (headers.get("Content-Type") or b"").decode("latin-1").split(";")[0].strip().lower()
    return value or "text/html"


def accepted(kind: str, headers: Any) -> bool:
    """Is this a type of answer that an entry of this kind can use?"""
    return media_type(headers) in (PAGE_TYPES if kind == "page" else LISTING_TYPES)


def read(state: State, response: Response, entry: Entry) -> Item:
    """The item for an answer with a body to be worked on, or with the end or retry that its status means."""
    item = Item(entry, bytes=len(response.body))
    status = response.status
    if status == 304 and state.previous:
        _not_modified(state, item)
    elif status in REDIRECTS and response.headers.get("Location"):
        _redirect(state, response, item)
    elif status in RETRY or status >= 500:
        _retry(state, item, f"http_{status}", retry_after(response.headers.get("Retry-After")), status in (429, 503))
    elif not 200 <= status < 300:
        item.ending = Ending("failed", f"http_{status}")
    elif not accepted(entry.kind, response.headers):
        item.ending = Ending("dropped", "content_type")
    elif not response.body.strip():
        item.ending = Ending("dropped", "empty")
    else:
        item.page = page_of(response)
        item.etag = _text(response.headers.get("ETag"))
        item.modified = _text(response.headers.get("Last-Modified"))
    return item


def page_of(response: Response) -> Page:
    """The answer as plain data."""
    names = {name.lower().decode("latin-1") for name in response.headers}
    headers = {name: _text(response.headers.get(name)) or "" for name in KEPT_HEADERS if name in names}
    charset = headers.get("content-type", "").lower().partition("charset=")[2].split(";")[0].strip(" '\"")
    return Page(response.url, response.body, charset or None, media_type(response.headers), headers, now())


def failed(state: State, error: BaseException, entry: Entry) -> Item:
    """The item for a request that brought no answer."""
    item = Item(entry)
    host = entry.host
    if isinstance(error, Refused):
        item.ending = Ending("refused", error.reason)
    elif isinstance(error, scrapy_errors.CannotResolveHostError) and host in GuardedResolver.refused:
        item.ending = Ending("refused", "private_address")
    else:
        reason, again = next(
            ((name, again) for kind, name, again in FAILURES if isinstance(error, kind)), ("error", False)
        )
        if again:
            _retry(state, item, reason, None, False)
        else:
            item.ending = Ending("failed", reason)
    return item


def _retry(state: State, item: Item, reason: str, asked: float | None, pause: bool) -> None:
    """Put the address back for later, or end it under `reason`; 429 and 503 hold back the whole host."""
    settings = state.settings
    wait = asked if asked is not None else settings["retry_wait_s"] * 2**item.entry.tries
    if pause:
        state.pause(item.entry.host, wait)
    if item.entry.tries < settings["retries"]:
        item.retry_s = wait
    else:
        item.ending = Ending("failed", reason)


def _redirect(state: State, response: Response, item: Item) -> None:
    """A redirect ends as a drop of that name; where it leads is an address of its own, judged like any link."""
    entry = item.entry
    target = join(response.url, (response.headers.get("Location") or b"").decode("utf-8", "replace"))
    url = state.rules.as_linked(target or "")
    item.ending = Ending("dropped", "redirect", target=url)
    if url is None:
        item.skipped["not_http"] = 1
    elif reason := state.rules.judge(url, listed=True):
        item.skipped[reason] = 1
    elif state.frontier.leads_back(entry.url, url, state.settings["max_redirects"]):
        item.ending = Ending("failed", "redirect_loop")
    elif entry.redirects >= state.settings["max_redirects"]:
        item.ending = Ending("failed", "too_many_redirects")
    else:
        item.links = [Link(url, entry.depth, entry.kind, entry.redirects + 1)]


def _not_modified(state: State, item: Item) -> None:
    """What the earlier crawl made of the page holds still."""
    assert state.previous is not None
    row = state.previous.row(item.entry.url)
    if row is None:
        item.ending = Ending("failed", "http_304")
        return
    item.not_modified, item.etag, item.modified = True, row["etag"], row["modified"]
    item.links = [Link(url, item.entry.depth + 1) for url in state.previous.links(row)]
    if row["outcome"] == "kept":
        item.result = state.previous.document(row)
    else:
        item.ending = Ending("dropped", row["reason"], chars=row["chars"], words=row["words"])


def _text(value: bytes | None) -> str | None:
    return value.decode("latin-1") if value else None
