"""Documents from local WARC and WET files, so that Common Crawl can be used: same filters, same output, nobody
asked.
"""

import asyncio
import glob
import io
import os
import sqlite3
import zlib
from collections.abc import AsyncIterator
from typing import Any, BinaryIO

from crawl.document import Page
from crawl.items import Item
from crawl.queueing.ledger import Ending, Entry, Link
from crawl.spiders.base import CrawlSpider
from crawl.web.answers import KEPT_HEADERS, PAGE_TYPES
from errors import RequestError, RunError

AHEAD = 64  # pages given to the pipelines before their turn


class StoppedError(Exception):
    """The crawl is to end: no further record is wanted."""


class Stoppable(io.BufferedReader):
    """A file that can be left at every block: a line of gigabytes keeps nobody from stopping the crawl."""

    def __init__(self, name: str, state: Any):
        super().__init__(io.FileIO(name))
        self.state = state

    def read(self, size: int | None = -1, /) -> bytes:
        if self.state.stopping:
            raise StoppedError
        return super().read(size)


class WarcSpider(CrawlSpider):
    """Responses of WARC files through extraction; conversions of WET files as plain text."""

    name = "warc"
    follow = False

    async def start(self) -> AsyncIterator[Any]:
        await self.warm_up()
        for pattern in self.state.settings["warc_files"]:
            for name in sorted(glob.glob(pattern)):
                try:
                    with Stoppable(name, self.state) as stream:
                        async for item in self._items_of(stream):
                            yield item
                except StoppedError:
                    return
                except (sqlite3.Error, RunError) as error:
                    self.state.fail(error)
                except Exception as error:  # warcio raises whatever its parsers do; Scrapy would log it, and end well
                    plain = type(error).__name__ == "ArchiveLoadFailed" or isinstance(error, OSError)
                    reason = str(error)[:300] if plain else "a record in it is damaged"
                    self.state.fail(RequestError(f"The WARC file {name} cannot be read: {reason}"))

    async def _items_of(self, stream: BinaryIO) -> AsyncIterator[Item]:
        from warcio.archiveiterator import ArchiveIterator  # optional: Scrapy loads this file for every spider

        records, record, item = ArchiveIterator(stream), None, None
        for number, record in enumerate(records):
            if number % AHEAD == 0:
                await asyncio.sleep(0)  # a long file of other records: signals and timers have their turn
            item = self._item(record)
            while item is not None and self._full():
                await asyncio.sleep(0.01)
            if self.state.stopping or self.state.spent():
                raise StoppedError
            if item is not None:
                self.state.frontier.in_flight += 1
                yield item
        cut = record is not None and _lacks_bytes(record)
        if cut or records.offset < os.fstat(stream.fileno()).st_size:
            self.logger.warning("%s ends in the midst of a record, which is left out: fetch it again", stream.name)
            if not cut or item is None:  # no page of ours, whose ending says it
                self.state.frontier.skipped["broken_off"] += 1

    def _full(self) -> bool:
        """Are enough pages on their way, or all that the budget allows?"""
        if self.state.stopping or self.state.spent():
            return False
        frontier = self.state.frontier
        return frontier.in_flight >= min(AHEAD, self.state.settings["max_pages"] - frontier.pages)

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
            while len(body) <= most and record.raw_stream.read(1 << 16):
                pass
        except StoppedError:
            raise
        except (OSError, EOFError, zlib.error):
            item.ending = Ending("failed", "bad_compression")
            return item
        except Exception:  # warcio's, at a header that is missing
            item.ending = Ending("failed", "damaged")
            return item
        item.bytes = len(body)
        if len(body) <= most and _lacks_bytes(record):
            item.ending = Ending("failed", "broken_off")
        elif status != 200:
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


def _lacks_bytes(record: Any) -> bool:
    """Of a record that was read to its end: has the file ended before the length that it announces, or before that?"""
    return getattr(record.raw_stream, "limit", 1) > 0


def _http(record: Any) -> tuple[int, dict[str, str]]:
    """Status and headers of the answer in a WARC record; a WET conversion has none and counts as 200."""
    if record.http_headers is None:
        return 200, {}
    code = record.http_headers.get_statuscode()
    headers = {name.lower(): value for name, value in record.http_headers.headers}
    return int(code) if code and code.isdigit() else 0, {
        name: headers[name] for name in KEPT_HEADERS if name in headers
    }
