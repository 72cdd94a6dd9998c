"""What all spiders share: start from the frontier, turn each answer or failure into one item."""

import asyncio
import logging
import sqlite3
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import scrapy
from scrapy import signals
from scrapy.exceptions import StopDownload
from scrapy.http import Request, Response

from crawl import options
from crawl.failing import in_words
from crawl.items import Item
from crawl.queueing.ledger import Ending, Link
from crawl.settings import scrapy_settings
from crawl.state import State
from crawl.web import answers
from errors import RequestError, RunError

LISTING_BYTES = 52_428_800  # what sitemaps.org allows for one sitemap


class CrawlSpider(scrapy.Spider):
    """One crawl of one folder. Subclasses say where to begin (`begin`) and may read listings (`read_listing`)."""

    follow = True  # do links of pages lead on?
    state: State
    alone: bool  # started by `scrapy crawl`

    @classmethod
    def from_crawler(cls, crawler: Any, *args: Any, state: State | None = None, **kwargs: Any) -> "CrawlSpider":
        """With `state` from crawl.runner; with `scrapy crawl` the -a words are the settings, and -a output=FOLDER the
        folder.
        """
        alone = state is None
        if state is None:
            state = _state_from_words(cls.name, kwargs)
            kwargs = {}
        crawler.crawl_state = state
        for key, value in scrapy_settings(state.settings, str(state.folder)).items():
            crawler.settings.set(key, value, priority="spider")
        spider = super().from_crawler(crawler, *args, **kwargs)
        assert isinstance(spider, cls)
        spider.state, spider.alone = state, alone
        crawler.signals.connect(spider.check_headers, signals.headers_received)
        crawler.signals.connect(spider.close_state, signals.engine_stopped)
        return spider

    def begin(self) -> Iterator[Link]:
        """The addresses to begin with; asked for once in the life of a crawl."""
        for url in self.state.settings["start_urls"]:
            address = self.state.rules.as_linked(url)
            if address:
                yield Link(address)

    def read_listing(self, item: Item, response: Response) -> None:
        """Fill `item.links` from a sitemap or feed. Raises ValueError when it is neither."""
        raise ValueError("this spider reads no listings")

    async def start(self) -> AsyncIterator[Any]:
        """Fills an empty frontier; Scrapy then asks the scheduler."""
        self.warming = asyncio.ensure_future(self.warm_up())
        try:
            if self.state.frontier.meta("begun") is None:
                self.state.queue.add(self.begin())
                self.state.frontier.remember("begun", "yes")
        except (sqlite3.Error, OSError) as error:  # Scrapy would log it, and end well
            self.state.fail(error)
            return
        for request in self.extra():
            yield request

    async def warm_up(self) -> None:
        """Start the extraction processes; without them there is no crawl."""
        try:
            await self.state.pool.warm_up()
        except RunError as error:
            self.state.fail(error)

    def extra(self) -> Iterator[Any]:
        """Requests or items besides those of the frontier: none, unless a subclass has some."""
        return iter(())

    def parse(self, response: Response) -> Iterator[Item]:
        """An answer came."""
        entry = response.meta["entry"]
        self.state.downloading[entry.host] -= 1
        try:
            item = answers.read(self.state, response, entry)
            if item.page is not None and entry.kind != "page":
                self._read_listing(item, response)
            elif item.page is not None:
                item.follow = self.follow
        except Exception:  # a bug here must not lose the address
            self.logger.exception("Cannot read the answer of %s", entry.url)
            item = Item(entry, ending=Ending("failed", "error"))
        yield item

    def failed(self, failure: Any) -> Iterator[Item]:
        """No answer came."""
        entry = failure.request.meta["entry"]
        self.state.downloading[entry.host] -= 1
        item = answers.failed(self.state, failure.value, entry)
        if item.ending and item.ending.reason == "error":
            self.logger.error("Cannot fetch %s: %r", entry.url, failure.value)
        yield item

    def _read_listing(self, item: Item, response: Response) -> None:
        item.page = None
        try:
            self.read_listing(item, response)
            item.ending = Ending("listing", "read")
        except ValueError as error:
            self.logger.warning("%s is no listing: %s", item.entry.url, error)
            item.ending = Ending("listing", "unreadable")

    def list_link(self, item: Item, url: str, kind: str = "page", response: Response | None = None) -> None:
        """Add an address that a listing names, if the rules let it. `response`: what it is relative to, if anything."""
        if response is not None:
            with suppress(ValueError):  # of what is no address: it is counted below, and the others are read
                url = response.urljoin(url.strip())
        address = self.state.rules.as_linked(url.strip())
        reason = "not_http" if address is None else self.state.rules.judge(address)
        if kind != "page" and reason in ("not_included", "not_a_page"):
            reason = None
        if reason:
            item.skipped[reason] = item.skipped.get(reason, 0) + 1
        elif address:
            # pages of a listing are beginnings; listings of listings go deeper, so that they end
            item.links.append(Link(address, 0 if kind == "page" else item.entry.depth + 1, kind))

    def check_headers(self, headers: Any, request: Request) -> None:
        """Do not download what will not be used: films, archives, images under a harmless address."""
        entry = request.meta.get("entry")
        if entry is not None and headers.get("Content-Type") and not answers.accepted(entry.kind, headers):
            raise StopDownload(fail=False)

    def close_state(self) -> None:
        """The engine has stopped: close the ledger and write what people read."""
        from crawl.report import finish

        finish(self.state)
        if self.alone and self.state.error is not None:
            print(in_words(self.state.error, self.state.folder), file=sys.stderr)
            self.crawler.spider = None  # by which alone Scrapy's command sees that it is to end with 1


def _state_from_words(name: str, words: dict[str, Any]) -> State:
    """Open a crawl for `scrapy crawl`. Raises SystemExit: 2 for a wrong request, 1 for a full disk, after saying so."""
    logging.getLogger("scrapy").setLevel(logging.WARNING)
    folder = Path(str(words.pop("output", None) or f"outputs/crawl/{name}"))
    try:
        given = options.parse([f"{key}={value}" for key, value in words.items()])
        return State(options.check(given | {"spider": name}), folder)
    except RequestError as error:
        print(error, file=sys.stderr)  # Scrapy would print a traceback and exit with 1
        raise SystemExit(2) from None
    except (OSError, sqlite3.Error) as error:
        print(in_words(error, folder), file=sys.stderr)
        raise SystemExit(1) from None
