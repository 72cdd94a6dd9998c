"""Hands Scrapy the next address of the frontier, host by host in turn, and holds back what must wait.

Scrapy's own scheduler keeps its queue where a kill can lose it; this one keeps nothing at all.
"""

import time
from typing import Any

from scrapy import Request
from scrapy.core.scheduler import BaseScheduler

from crawl.queueing.ledger import Entry, Link
from crawl.spiders.base import LISTING_BYTES
from crawl.state import State

AHEAD = 8  # pages that may wait for each extraction process


class Scheduler(BaseScheduler):
    """The bridge between Scrapy's engine and the frontier."""

    def __init__(self, crawler: Any):
        self.crawler = crawler
        self.state: State = crawler.crawl_state
        self.paused: dict[str, float] = {}  # host -> when it may be asked again
        self.until = time.monotonic() + 60 * (self.state.settings["max_minutes"] or float("inf"))
        self.state.pause = self.pause
        self.offline = self.state.settings["spider"] == "warc"  # its addresses are read from files, never asked for
        # hosts that wait become ready without any event: look more often than every 5 s
        crawler.engine._SLOT_HEARTBEAT_INTERVAL = 0.25

    @classmethod
    def from_crawler(cls, crawler: Any) -> "Scheduler":
        return cls(crawler)

    def enqueue_request(self, request: Request) -> bool:
        """Requests that a spider of one's own yields go into the frontier like links."""
        url = self.state.rules.as_linked(request.url)
        if url is None or self.state.rules.judge(url) is not None:
            return False
        return bool(self.state.queue.add([Link(url, request.meta.get("depth", 0))]))

    def has_pending_requests(self) -> bool:
        """Will there be more to ask for, perhaps later?"""
        return not self.offline and not self._over() and self.state.queue.waiting(self._left_alone()) > 0

    def next_request(self) -> Request | None:
        """The next address whose host is ready, or None."""
        try:
            return self._next_request()
        except Exception as error:  # Scrapy would log it and wait for ever
            self.state.fail(error)
            return None

    def _next_request(self) -> Request | None:
        if self.offline or self._over() or self._enough_on_its_way():
            return None
        for host in self.state.queue.hosts():
            if self.paused.get(host, 0) > time.monotonic() or self._busy(host):
                continue
            entry = self.state.queue.take(host)
            if entry is not None:
                self.state.downloading[host] += 1
                return self._request(entry)
        return None

    def pause(self, host: str, seconds: float) -> None:
        """Leave a host alone for a while; for the rest of this run when that is longer than one cares to wait."""
        if seconds > self.state.settings["max_retry_after_s"]:
            seconds = float("inf")
        until = time.monotonic() + seconds
        self.paused[host] = max(until, self.paused.get(host, 0))
        slot = self.crawler.engine.downloader.slots.get(host)
        if slot and seconds != float("inf"):
            slot.lastseen = max(slot.lastseen, until - slot.delay)  # requests that already wait in the downloader

    def _request(self, entry: Entry) -> Request:
        spider = self.crawler.spider
        headers = self.state.previous.headers(entry.url) if self.state.previous and entry.kind == "page" else {}
        meta: dict = {"entry": entry}
        if entry.kind != "page":
            meta["download_maxsize"] = LISTING_BYTES
        return Request(
            entry.url, callback=spider.parse, errback=spider.failed, dont_filter=True, headers=headers, meta=meta
        )

    def _over(self) -> bool:
        if self.state.stopping is None:
            if time.monotonic() > self.until:
                self.state.stop("max_minutes")
            elif reason := self.state.spent():
                self.state.stop(reason)
        return self.state.stopping is not None

    def _enough_on_its_way(self) -> bool:
        """Is as much on its way as the budget allows, or as extraction can take without pages piling up in memory?"""
        taken, settings = self.state.queue.in_flight, self.state.settings
        most = settings["concurrency"] + AHEAD * settings["processes"]
        return taken >= most or self.state.queue.pages + taken >= settings["max_pages"]

    def _busy(self, host: str) -> bool:
        # with a Crawl-delay, requests would only queue up in the downloader
        most = 1 if self.state.crawl_delays.get(host) else self.state.settings["concurrency_per_domain"]
        return self.state.downloading[host] >= most

    def _left_alone(self) -> list[str]:
        return [host for host, until in self.paused.items() if until == float("inf")]
