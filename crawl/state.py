"""An open crawl: its folder, ledger, record files, duplicates and worker processes; opened and closed as one."""

import json
import sqlite3
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import folders
from crawl.dedup.documents import Dedup
from crawl.failing import is_of_the_disk
from crawl.options import differences
from crawl.previous import Previous
from crawl.processing.pool import Pool
from crawl.queueing.files import Files
from crawl.queueing.frontier import Frontier
from crawl.samples import Samples
from crawl.web.urls import Rules
from errors import RequestError
from strict_json import value_of


def now() -> str:
    """The time as it is written into records and manifests."""
    return datetime.now(UTC).isoformat(timespec="seconds")


class State:
    """Everything a crawl has open. `stop(reason)` ends it cleanly: nothing new is asked for, what is on its way is
    finished.
    """

    def __init__(self, settings: dict, folder: Path):
        """Open or go on with the crawl in `folder`.

        Raises RequestError when the folder holds another crawl, or another process is at work in it.
        """
        self.settings, self.folder = settings, folder
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError):
            raise RequestError(f"{folder} is a file, or lies below one. Expected a folder, or one to make.") from None
        if not (folder / "crawl.sqlite").exists():
            refuse_taken(folder)
        self.frontier = self._open_frontier()
        self.started_at = self.frontier.meta("started_at") or now()
        self._remember()
        self.files = Files(folder, self.frontier.connection, settings["shard_bytes"])
        self.frontier.read_outcomes()  # after the files: recovery may have put pages back
        self.samples = Samples(self.frontier.connection)
        self.dedup = Dedup(self.frontier.connection, settings)
        self.frontier.commit()
        self.domains = allowed_domains(settings)
        self.rules = Rules(settings, self.domains)
        self.previous = Previous(settings["previous"]) if settings["previous"] else None
        self.pool = Pool(settings, self.domains)
        self.downloading: Counter[str] = Counter()  # requests on their way, by host
        self.crawl_delays: dict[str, float] = {}  # what robots.txt of a host asks for
        self.queue: Any = self.frontier  # the same interface, shared or not
        if settings["queue"] == "redis":
            self.queue = self._open_redis()
        self.stopping: str | None = None  # reason, once the crawl is to end
        self.closed = False
        self.manifest: dict = {}
        self.now = now
        self.error: Exception | None = None
        self.pause: Callable[[str, float], None] = lambda host, seconds: None  # the scheduler puts its own here

    def _open_frontier(self) -> Frontier:
        path = self.folder / "crawl.sqlite"
        try:
            return Frontier(path, self.settings)
        except sqlite3.OperationalError as error:
            if is_of_the_disk(error):
                raise
            raise RequestError(f"Cannot open {path}: {error}.") from None
        except sqlite3.DatabaseError as error:
            raise RequestError(
                f"{path} is damaged or no crawl ({error}). Name another folder, or remove it to start over."
            ) from None

    def _open_redis(self) -> Any:
        from crawl.queueing.redis_queue import RedisQueue  # optional: needs scrapy-redis

        try:
            return RedisQueue(self.frontier, self.settings, self.folder.name, self.crawl_delays)
        except RequestError:
            self.frontier.close()
            raise

    def _remember(self) -> None:
        known = self.frontier.meta("settings")
        if known is None:
            try:
                refuse_taken(self.folder)  # a ledger that knows of nothing: killed in its first moment, or somebody's
            except RequestError:
                self.frontier.close()
                raise
            self.frontier.remember("started_at", self.started_at)
        else:
            changed = differences(value_of(known), self.settings)
            if changed:
                self.frontier.close()
                raise RequestError(
                    f"{self.folder} holds another crawl, with other settings:\n  " + "\n  ".join(changed)
                    + "\nGive the old settings to go on with it, or name another folder."
                )  # fmt: skip
        self.frontier.remember("settings", json.dumps(self.settings))

    def stop(self, reason: str) -> None:
        """Ask for nothing new; the first reason counts."""
        self.stopping = self.stopping or reason

    def fail(self, error: Exception) -> None:
        """Stop because going on makes no sense; the error is raised when the crawl has ended."""
        self.error = self.error or error
        self.stop("failed")

    def spent(self) -> str | None:
        """Which budget is used up, or None; pages on their way count."""
        settings = self.settings
        if self.queue.pages >= settings["max_pages"]:
            return "max_pages"
        return "max_bytes" if self.frontier.bytes >= settings["max_bytes"] else None

    def close(self) -> None:
        """Close everything; the folder is whole afterwards, finished or not."""
        self.pool.close()
        try:
            self.files.close()
            if self.error is None:
                self.frontier.remember("ended_at", now())
                self.frontier.close()
        except (OSError, sqlite3.Error) as error:
            self.fail(error)
        if self.error is not None:
            self.frontier.abandon()


def refuse_taken(folder: Path) -> None:
    """Before a crawl begins. Raises RequestError for anything in `folder` but what a run writes before it, or a ledger:
    documents without a ledger are no crawl to go on with, and would be taken for what a kill has left.
    """
    folders.refuse_strangers(folder, "begun crawl", key="run_dir", why="a crawl begins in a folder of its own")


def allowed_domains(settings: dict) -> list[str]:
    """Hosts that may be asked: those given, or those of the start addresses; [] = any (spider=urls, which follows
    nothing).
    """
    if settings["allowed_domains"]:
        return sorted(settings["allowed_domains"])
    if settings["spider"] in ("urls", "warc"):
        return []
    return sorted({(urlsplit(url).hostname or "").removeprefix("www.") for url in settings["start_urls"]})
