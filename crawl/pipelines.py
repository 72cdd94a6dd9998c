"""The item pipelines: extract in worker processes; then find duplicates and write down, in one transaction.

Duplicates and writing are one step on purpose: were they two, the end of another page could commit that a text has
been seen before its own page is done, and after a kill the page would be a duplicate of itself. Scrapy's DropItem is
not used: a dropped page must reach the last pipeline, where its reason is counted.
"""

import logging
import sqlite3
from typing import Any

from crawl.document import Document, Drop
from crawl.items import Item
from crawl.processing.pool import ExtractError
from crawl.queueing.ledger import Ending, Link, pack_links
from crawl.state import State
from errors import RunError

logger = logging.getLogger(__name__)
TITLE_LENGTH = 200  # characters of a title kept in the ledger


class _Pipeline:
    def __init__(self, crawler: Any):
        self.crawler = crawler

    @classmethod
    def from_crawler(cls, crawler: Any) -> "_Pipeline":
        return cls(crawler)

    @property
    def state(self) -> State:
        """The open crawl; the scheduler opens it before any item comes."""
        return self.crawler.crawl_state


class ExtractPipeline(_Pipeline):
    """Page -> Document or Drop, and its links."""

    async def process_item(self, item: Item) -> Item:
        if item.page is None or item.result is not None:
            return item
        try:
            worked = await self.state.pool.run(item.page, item.follow)
        except ExtractError as failure:
            item.ending = Ending("failed", failure.reason)
            return item
        except OSError as error:  # no room for temporary files, or no more files: the page is not to blame
            item.retry_s = 0.0
            self.state.fail(error)
            return item
        except Exception:  # a bug in extraction must not lose the address
            logger.exception("Cannot extract %s", item.entry.url)
            item.ending = Ending("failed", "extractor_error")
            return item
        item.result, item.skipped = worked.result, worked.skipped
        depth = item.entry.depth + 1
        if depth <= self.state.settings["max_depth"]:
            item.links = [Link(url, depth) for url in worked.links]
        elif worked.links:
            item.skipped["too_deep"] = len(worked.links)
        return item


class StorePipeline(_Pipeline):
    """Duplicates, record, then the transaction that knows of both."""

    def process_item(self, item: Item) -> Item:
        try:
            if item.retry_s is not None:
                self.state.queue.retry(item.entry, item.retry_s)
            else:
                self._finish(item)
        except (RunError, OSError, sqlite3.Error) as error:
            self.state.fail(error)  # Scrapy would log it and go on, without a place to write to
        return item

    def _finish(self, item: Item) -> None:
        ending = item.ending or self._store(item)
        ending.size, ending.etag, ending.modified = item.bytes, item.etag, item.modified
        ending.not_modified = int(item.not_modified)
        if ending.etag or ending.modified:
            ending.links = pack_links([link.url for link in item.links])
        if item.entry.kind != "page" and ending.outcome in ("failed", "dropped"):
            ending.outcome = "listing"  # sitemaps and feeds are no pages
        self.state.queue.finish(item.entry, ending, item.links, item.skipped)

    def _store(self, item: Item) -> Ending:
        result = item.result
        if isinstance(result, Document):
            result = self.state.dedup.check(result)
        document = result if isinstance(result, Document) else result.document if result else None
        if document is not None:
            reason = result.reason if isinstance(result, Drop) else "kept"
            self.state.samples.offer(reason, document.url, document.title, document.text)
        if isinstance(result, Document):
            return self._ending("kept", None, result, self.state.files.append_document(result.line()))
        assert isinstance(result, Drop)
        place: tuple = (None, None, None)
        if result.document is not None and self.state.settings["keep_dropped"]:
            place = self.state.files.append(f"dropped/{result.reason}/documents.jsonl", result.document.line())
        return self._ending("dropped", result.reason, result.document, place)

    @staticmethod
    def _ending(outcome: str, reason: str | None, document: Document | None, place: tuple) -> Ending:
        ending = Ending(outcome, reason, *place)
        if document is not None:
            ending.chars, ending.words = len(document.text), len(document.text.split())
            ending.language, ending.title = document.language, (document.title or "")[:TITLE_LENGTH]
        return ending
