"""robots.txt, obeyed as RFC 9309 says, with Crawl-delay, which Scrapy alone ignores.

    2xx           rules of the first 512 KiB          4xx                      everything allowed
    redirect      followed, five at most              5xx, 429, unreachable    nothing allowed

Crawl-delay and Request-rate set the pace of the host; a delay beyond max_crawl_delay_s closes it.
"""

import asyncio
import json
import sqlite3
import sys
from collections import OrderedDict
from typing import Any
from urllib.parse import urlsplit

from protego import Protego
from scrapy import Request, signals
from scrapy.exceptions import StopDownload

from crawl.web.guard import Refused
from crawl.web.urls import join

MAX_BYTES = 512 * 1024  # RFC 9309, 2.5: at least 500 KiB
MAX_HOSTS = 1000  # parsed files kept in memory; the oldest are asked for again
REDIRECTS = 5  # RFC 9309, 2.3.1.2


class RobotsMiddleware:
    """Asks for robots.txt once a host, before anything else of it."""

    def __init__(self, crawler: Any):
        self.crawler = crawler
        self.settings = crawler.settings["CRAWL"]
        self.token = self.settings["user_agent"].split("/")[0]  # product token, RFC 9309 2.2.1
        self.rules: OrderedDict[str, asyncio.Task] = OrderedDict()
        crawler.signals.connect(self._cut, signals.bytes_received)

    @classmethod
    def from_crawler(cls, crawler: Any) -> "RobotsMiddleware":
        return cls(crawler)

    async def process_request(self, request: Request) -> None:
        """Raises Refused when robots.txt forbids the address, cannot be had, or asks for too slow a pace."""
        if "entry" not in request.meta or not self.settings["obey_robots"]:
            return
        parts = urlsplit(request.url)
        origin = f"{parts.scheme}://{parts.netloc}"
        if origin not in self.rules:
            self.rules[origin] = asyncio.ensure_future(self._load(origin, parts.hostname or ""))
            while len(self.rules) > MAX_HOSTS:
                self.rules.popitem(last=False)
        robots = await asyncio.shield(self.rules[origin])
        if robots is None:
            raise Refused("robots_unavailable")
        if self._delay(robots) > self.settings["max_crawl_delay_s"]:
            raise Refused("crawl_delay_too_long")
        if not robots.can_fetch(request.url, self.token):
            raise Refused("robots")

    async def _load(self, origin: str, host: str) -> Protego | None:
        """Rules of a host, or None when RFC 9309 says to assume that everything is forbidden."""
        status, body = None, b""
        for attempt in range(1 + self.settings["retries"]):
            if attempt:
                await asyncio.sleep(self.settings["retry_wait_s"] * 2 ** (attempt - 1))
            status, body = await self._fetch(f"{origin}/robots.txt")
            if status is not None and status < 500 and status != 429:
                break
        robots, decision = self._read(status, body)
        delay = self._delay(robots) if robots else 0.0
        if delay:
            self._slow_down(host, delay)
        note = {"status": status, "decision": decision, "crawl_delay_s": delay or None}
        try:
            self.crawler.crawl_state.frontier.remember(f"robots {origin}", json.dumps(note))
        except sqlite3.Error as error:
            self.crawler.crawl_state.fail(error)
        return robots

    async def _fetch(self, url: str) -> tuple[int | None, bytes]:
        for _ in range(REDIRECTS + 1):
            headers = {"Accept-Encoding": "identity"}  # so that a cut file is still text
            try:
                request = Request(url, headers=headers, meta={"robots": 0, "dont_cache": True}, priority=1000)
                response = await self.crawler.engine.download_async(request)
            except Exception:  # refused, unreachable, broken: all mean that there are no rules to obey
                return None, b""
            if response.status not in (301, 302, 303, 307, 308):
                return response.status, response.body
            url = join(url, response.headers.get("Location", b"").decode("latin-1")) or ""  # no address: broken
        return 404, b""  # more redirects than anyone must follow count as no file

    @staticmethod
    def _read(status: int | None, body: bytes) -> tuple[Protego | None, str]:
        if status is None or status >= 500 or status == 429:
            return None, "all forbidden"
        if status >= 400:
            return Protego.parse(""), "all allowed"
        return Protego.parse(body[:MAX_BYTES].decode("utf-8", "replace").lstrip("\ufeff")), "rules"

    def _delay(self, robots: Protego) -> float:
        delay = robots.crawl_delay(self.token) or 0.0
        rate = robots.request_rate(self.token)
        try:
            return max(delay, rate.seconds / rate.requests if rate and rate.requests else 0.0)
        except OverflowError:  # of a number with hundreds of digits
            return sys.float_info.max

    def _slow_down(self, host: str, delay: float) -> None:
        """The host's pace, for the slot that exists and for one that Scrapy may make later."""
        self.crawler.crawl_state.crawl_delays[host] = delay
        pace = max(delay, self.settings["delay_s"])
        downloader = self.crawler.engine.downloader
        downloader.per_slot_settings[host] = {"delay": pace, "concurrency": 1, "jitter": 0.0}
        slot = downloader.slots.get(host)
        if slot:
            slot.delay, slot.concurrency, slot.jitter = pace, 1, 0.0

    @staticmethod
    def _cut(data: bytes, request: Request, spider: Any) -> None:
        """Stop reading a huge robots.txt; what came before is obeyed."""
        if "robots" in request.meta:
            request.meta["robots"] += len(data)
            if request.meta["robots"] > MAX_BYTES:
                raise StopDownload(fail=False)
