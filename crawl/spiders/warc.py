"""Documents from local WARC and WET files, so that Common Crawl can be used: same filters, same output, nobody
asked.
"""

import asyncio
import glob
import zlib
from collections.abc import AsyncIterator, Iterator
from typing import Any

from crawl.document import Page
from crawl.items import Item
from crawl.queueing.ledger import Ending, Entry, Link
from crawl.spiders.base import CrawlSpider
from crawl.web.answers import KEPT_HEADERS, PAGE_TYPES
from errors import RequestError

AHEAD = 64  # pages given to the pipelines before their turn


class WarcSpider(CrawlSpider):
    """Responses of WARC files through extraction; conversions of WET files as plain text."""

    name = "warc"
    follow = False

    async def start(self) -> AsyncIterator[Any]:
        from warcio.exceptions import ArchiveLoadFailed  # optional: Scrapy loads this file for every spider

        await self.warm_up()
        try:
            for item in self._items():
                while self._full():
                    await asyncio.sleep(0.01)
                if self.state.stopping or self.state.spent():
                    return
                self.state.frontier.in_flight += 1
                yield item
        except ArchiveLoadFailed as error:
            self.state.fail(RequestError(f"A WARC file cannot be read: {str(error)[:300]}"))

    def _full(self) -> bool:
        """Are enough pages on their way, or all that the budget allows?"""
        if self.state.stopping or self.state.spent():
            return False
        frontier = self.state.frontier
        return frontier.in_flight >= min(AHEAD, self.state.settings["max_pages"] - frontier.pages)

    def _items(self) -> Iterator[Item]:
        from warcio.archiveiterator import ArchiveIterator

        for pattern in self.state.settings["warc_files"]:
            for name in sorted(glob.glob(pattern)):
                with open(name, "rb") as stream:
                    for record in ArchiveIterator(stream):
                        item = self._item(record)
                        if item is not None:
                            yield item

    def _item(self, record: Any) -> Item | None:
        """None for records that are no documents, and for addresses that are done already."""
        if record.rec_type not in ("response", "conversion"):
            return None
        url = self.state.rules.as_linked(record.rec_headers.get_header("WARC-Target-URI") or "")
        if url is None or self.state.frontier.is_done(url):
            return None
        if reason := self.state.rules.judge(url):
            self.state.frontier.skipped[reason] += 1
            return None
        self.state.frontier.add([Link(url)])
        entry = self.state.frontier.entry(url)
        return self._read(record, entry) if entry else None

    def _read(self, record: Any, entry: Entry) -> Item:
        item = Item(entry)
        status, headers = _http(record)
        kind = (
            "text/plain"
            if record.rec_type == "conversion"
            else headers.get("content-type", "text/html").split(";")[0].strip()
        )
        most = self.state.settings["max_page_bytes"]
        try:
            body = record.content_stream().read(most + 1)
        except (OSError, EOFError, zlib.error):
            item.ending = Ending("failed", "bad_compression")
            return item
        item.bytes = len(body)
        if status != 200:
            item.ending = Ending("failed", f"http_{status}")
        elif len(body) > most:
            item.ending = Ending("failed", "too_large")
        elif kind.lower() not in PAGE_TYPES:
            item.ending = Ending("dropped", "content_type")
        elif not body.strip():
            item.ending = Ending("dropped", "empty")
        else:
            charset = (
                headers.get("content-type", "").lower().partition("charset=")[2].split(";")[0].strip(" '\"") or None
            )
            charset = "utf-8" if record.rec_type == "conversion" else charset
            item.page = Page(
                entry.url, body, charset, kind.lower(), headers, record.rec_headers.get_header("WARC-Date") or ""
            )
        return item


def _http(record: Any) -> tuple[int, dict[str, str]]:
    """Status and headers of the answer in a WARC record; a WET conversion has none and counts as 200."""
    if record.http_headers is None:
        return 200, {}
    code = record.http_headers.get_statuscode()
    headers = {name.lower(): value for name, value in record.http_headers.headers}
    return int(code) if code and code.isdigit() else 0, {
        name: headers[name] for name in KEPT_HEADERS if name in headers
    }
