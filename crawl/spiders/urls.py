"""Ask for a list of addresses, and follow nothing."""

from collections.abc import Iterator
from pathlib import Path

from crawl.queueing.ledger import Link
from crawl.spiders.base import CrawlSpider


class UrlsSpider(CrawlSpider):
    """Addresses from `crawl.urls_file`, one a line; empty lines and lines that begin with # are skipped."""

    name = "urls"
    follow = False

    def begin(self) -> Iterator[Link]:
        yield from super().begin()
        with open(Path(self.state.settings["urls_file"]), encoding="utf-8", errors="replace") as lines:
            for line in lines:
                text = line.strip()
                if not text or text.startswith("#"):
                    continue
                url = self.state.rules.as_linked(text)
                reason = "not_http" if url is None else self.state.rules.judge(url, listed=True)
                if reason:
                    self.state.frontier.skipped[reason] += 1
                elif url:
                    yield Link(url)
