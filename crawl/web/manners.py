"""Pace: AutoThrottle that never goes below a Crawl-delay, and what Retry-After asks for."""

from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

from scrapy.extensions.throttle import AutoThrottle


class Throttle(AutoThrottle):
    """Scrapy's AutoThrottle with a floor for each host: what its robots.txt asks for."""

    def _response_downloaded(self, response: Any, request: Any, spider: Any) -> None:
        key, slot = self._get_slot(request, spider)
        if slot is None:
            return
        if self.crawler.settings["CRAWL"]["autothrottle"]:
            super()._response_downloaded(response, request, spider)
        state = self.crawler.crawl_state  # type: ignore[attr-defined]  # set by CrawlSpider
        slot.delay = max(slot.delay, state.crawl_delays.get(key, 0.0))


def retry_after(value: bytes | None) -> float | None:
    """Seconds that a Retry-After header asks for (a number or a date), or None without one that can be read."""
    if not value:
        return None
    text = value.decode("latin-1").strip()
    if text.isdigit():
        return float(text)
    try:
        date = parsedate_to_datetime(text)
    except (ValueError, TypeError):
        return None
    date = date if date.tzinfo else date.replace(tzinfo=UTC)
    return max(0.0, (date - datetime.now(UTC)).total_seconds())
