"""One line while a crawl runs: pages a second, kept, dropped, failed, queue, time."""

import sys
import time
from typing import Any

from scrapy import signals
from scrapy.exceptions import NotConfigured
from scrapy.utils.asyncio import create_looping_call


class Progress:
    """Prints to standard error every progress_s seconds, on one line where a person watches."""

    def __init__(self, crawler: Any):
        self.every = crawler.settings["CRAWL"]["progress_s"]
        if not self.every:
            raise NotConfigured
        self.state = crawler.crawl_state
        self.begun, self.before = time.monotonic(), self.state.frontier.fetched
        self.loop = create_looping_call(self.show)
        crawler.signals.connect(self.open, signals.spider_opened)
        crawler.signals.connect(self.close, signals.spider_closed)

    @classmethod
    def from_crawler(cls, crawler: Any) -> "Progress":
        return cls(crawler)

    def open(self) -> None:
        self.loop.start(self.every, now=False)

    def close(self) -> None:
        if self.loop.running:
            self.loop.stop()
        self.show(last=True)

    def show(self, last: bool = False) -> None:
        """Print the line."""
        frontier, seconds = self.state.frontier, time.monotonic() - self.begun
        rate = (frontier.fetched - self.before) / max(seconds, 1e-9)
        counts = frontier.counts
        line = (
            f"crawl {int(seconds) // 60:3d}:{int(seconds) % 60:02d}  {frontier.fetched} fetched ({rate:.1f}/s)"
            f"  kept {counts['kept']}  dropped {counts['dropped']}  failed {counts['failed']}"
            f"  refused {counts['refused']}  queue {frontier.queued}"
        )
        terminal = sys.stderr.isatty()
        print(
            f"\r{line}\033[K" if terminal else line,
            end="" if terminal and not last else "\n",
            file=sys.stderr,
            flush=True,
        )
