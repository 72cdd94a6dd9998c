"""Pace: AutoThrottle that never goes below a Crawl-delay, and what Retry-After asks for."""

from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from typing import Any

from scrapy.extensions.throttle import AutoThrottle


class Throttle(AutoThrottle):
    """Scrapy's AutoThrottle with a floor for each host: what its robots.txt asks for."""

    def _adjust_delay(self, slot: Any, latency: float, response: Any) -> None:
        if self.crawler.settings["CRAWL"]["autothrottle"]:
            super()._adjust_delay(slot, latency, response)
        host = response.request.meta.get("download_slot") if response.request else None
        slot.delay = max(slot.delay, self.crawler.crawl_state.crawl_delays.get(host, 0.0))


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
    date = date if date.tzinfo else date.replace(tzinfo=timezone.utc)
    return max(0.0, (date - datetime.now(timezone.utc)).total_seconds())
