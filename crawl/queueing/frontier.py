"""The state of a crawl: every address once, in SQLite, with what became of it.

    queued (0)  ->  taken (in memory only)  ->  done (2): kept | dropped | failed | refused | listing
        ^                   |
        +--- retry, kill ---+

One transaction per finished page holds its links, its duplicates state, its record's place and its outcome. What is
taken is not written down: after a kill it is simply still queued. Write-ahead logging makes a commit one append to a
file.
"""

import sqlite3
import time
from collections import Counter, deque
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import urlsplit

from crawl.queueing.ledger import TABLES, Ending, Entry, Link
from crawl.queueing.lock import hold
from crawl.web.urls import canonical, trap_key

QUEUED, DONE = 0, 2
BATCH = 64  # addresses of one host read ahead


class Frontier:
    """Queue and ledger of one crawl, alone in its folder."""

    def __init__(self, path: Path, settings: dict):
        self.settings = settings
        self.strip = tuple(pattern.lower() for pattern in settings["strip_params"])
        self.lock = hold(path.parent)
        self.connection = sqlite3.connect(path, isolation_level=None, timeout=1)
        self.connection.execute("PRAGMA journal_mode = WAL")
        self.connection.execute(
            "PRAGMA synchronous = NORMAL"
        )  # a kill loses nothing; a power cut the last pages, whole
        self.connection.executescript(TABLES)
        self.connection.execute("BEGIN IMMEDIATE")
        self.ready: dict[str, deque[Entry]] = {}  # per host, read ahead
        self.taken: dict[int, Entry] = {}  # read ahead or in flight
        self.in_flight = 0
        self.skipped: Counter[str] = Counter(self._read_counts())
        self.counts: Counter[str] = Counter()
        self.reasons: Counter[tuple[str, str]] = Counter()
        self.bytes = self.queued = 0
        self.read_outcomes()

    # -- what is known

    def meta(self, key: str) -> str | None:
        """A remembered value: settings, start time."""
        row = self.connection.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
        return row[0] if row else None

    def remember(self, key: str, value: str) -> None:
        """Remember a value, at once."""
        self.connection.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, value))
        self.commit()

    def is_done(self, url: str) -> bool:
        """Has this address come to its end?"""
        row = self.connection.execute("SELECT state FROM pages WHERE url = ?", (url,)).fetchone()
        return bool(row and row[0] == DONE)

    def entry(self, url: str) -> Entry | None:
        """Take one address by name, if it is not done."""
        query = "SELECT id, url, host, kind, depth, redirects, tries FROM pages WHERE url = ? AND state = 0"
        row = self.connection.execute(query, (url,)).fetchone()
        if row is None or row[0] in self.taken:
            return None
        entry = self.taken[row[0]] = Entry(*row)
        return entry

    def leads_back(self, url: str, target: str, most: int) -> bool:
        """Does a redirect from `url` to `target`, and on from there, come back to `url`?"""
        for _ in range(most + 1):
            if target == url:
                return True
            row = self.connection.execute("SELECT target FROM pages WHERE url = ?", (target,)).fetchone()
            if not row or not row[0]:
                return False
            target = row[0]
        return True

    @property
    def fetched(self) -> int:
        """Addresses asked for and ended, redirects included."""
        return self.counts["kept"] + self.counts["dropped"] + self.counts["failed"]

    @property
    def pages(self) -> int:
        """What max_pages counts: all that was fetched but redirects, which cost next to nothing."""
        return self.fetched - self.reasons["dropped", "redirect"]

    # -- queue

    def add(self, links: Iterable[Link]) -> int:
        """Queue the addresses that are new and in no trap; part of the open transaction. Returns how many."""
        return sum(self._add_one(link) for link in links)

    def _add_one(self, link: Link) -> bool:
        name = self.name(link.url)
        if self._is_known(link.url, "" if link.redirects else name):
            return False
        if link.depth and (kind := self.trapped(link.url)):
            self.skipped[kind] += 1
            return False
        host = urlsplit(link.url).hostname or ""
        row = (link.url, host, link.kind, link.depth, link.redirects)
        self.connection.execute("INSERT INTO pages(url, host, kind, depth, redirects) VALUES (?, ?, ?, ?, ?)", row)
        if name != link.url:
            self.connection.execute("INSERT OR IGNORE INTO names VALUES (?)", (name,))
        self.queued += 1
        self.ready.setdefault(host, deque())
        return True

    def name(self, url: str) -> str:
        """The canonical form by which an address is compared with others."""
        return canonical.__wrapped__(url, self.strip) or url  # no cache: addresses come here once

    def _is_known(self, url: str, name: str) -> bool:
        """Is it here as linked, or under its name? What a page redirects to may have the page's own name."""
        query = "SELECT 1 FROM pages WHERE url IN (?1, ?2) UNION ALL SELECT 1 FROM names WHERE name = ?2"
        return self.connection.execute(query, (url, name)).fetchone() is not None

    def trapped(self, url: str) -> str | None:
        """Counts an address with its like; names the trap once there are too many of them."""
        trap = trap_key(url)
        if trap is None:
            return None
        kind, key = trap
        limit = self.settings["max_calendar_pages" if kind == "calendar" else "max_query_variants"]
        row = self.connection.execute("SELECT n FROM traps WHERE key = ?", (key,)).fetchone()
        if row and row[0] >= limit:
            return f"trap_{kind}"
        self.connection.execute("INSERT INTO traps VALUES (?, 1) ON CONFLICT(key) DO UPDATE SET n = n + 1", (key,))
        return None

    def hosts(self) -> list[str]:
        """Hosts that may have addresses waiting, the one served longest ago first."""
        if not self.ready and self.queued > len(self.taken):
            for (host,) in self.connection.execute("SELECT DISTINCT host FROM pages WHERE state = 0"):
                self.ready[host] = deque()
        return list(self.ready)

    def take(self, host: str) -> Entry | None:
        """The next address of a host whose time has come, or None. Nearest to the start first."""
        waiting = self.ready.pop(host, deque())
        if not waiting:
            waiting.extend(self._read_ahead(host))
        if not waiting:
            if self._waits_for_retry(host):
                self.ready[host] = waiting
            return None
        entry = waiting.popleft()
        self.in_flight += 1
        self.ready[host] = waiting  # back in at the end: hosts take turns
        return entry

    def waiting(self, left_alone: list[str]) -> int:
        """Addresses still to be asked for, those on their way and on hosts left alone not counted."""
        if not left_alone:
            return self.queued - self.in_flight
        marks = ",".join("?" * len(left_alone))
        query = f"SELECT count(*) FROM pages WHERE state = 0 AND host NOT IN ({marks})"
        return self.connection.execute(query, left_alone).fetchone()[0] - self.in_flight

    def _read_ahead(self, host: str) -> list[Entry]:
        rows = self.connection.execute(
            "SELECT id, url, host, kind, depth, redirects, tries FROM pages"
            " WHERE state = 0 AND host = ? AND ready_at <= ? ORDER BY depth, id LIMIT ?",
            (host, time.time(), BATCH + len(self.taken)),
        )
        entries = [Entry(*row) for row in rows if row[0] not in self.taken][:BATCH]
        self.taken.update((entry.id, entry) for entry in entries)
        return entries

    def _waits_for_retry(self, host: str) -> bool:
        later = "SELECT 1 FROM pages WHERE state = 0 AND host = ? AND ready_at > ? LIMIT 1"
        return self.connection.execute(later, (host, time.time())).fetchone() is not None

    # -- endings

    def finish(
        self, entry: Entry, ending: Ending, links: Iterable[Link] = (), skipped: dict[str, int] | None = None
    ) -> None:
        """An address has come to its end: everything about it in one transaction, and commit."""
        self.add(links)
        values = tuple(vars(ending).values())
        columns = ", ".join(f"{name} = ?" for name in vars(ending))
        self.connection.execute(f"UPDATE pages SET state = {DONE}, {columns} WHERE id = ?", (*values, entry.id))
        self.skipped.update(skipped or {})
        self.commit()
        self._let_go(entry)
        self.queued -= 1
        self.counts[ending.outcome] += 1
        self.reasons[ending.outcome, ending.reason or ""] += 1
        self.bytes += ending.size

    def retry(self, entry: Entry, wait_s: float) -> None:
        """Back into the queue, to be asked for again later."""
        self.connection.execute(
            "UPDATE pages SET tries = tries + 1, ready_at = ? WHERE id = ?", (time.time() + wait_s, entry.id)
        )
        self.commit()
        self._let_go(entry)
        self.ready.setdefault(entry.host, deque())

    def undo(self, entry: Entry) -> None:
        """Forget an address that has not come to its end here (it is with another crawler), and anything
        uncommitted.
        """
        self._roll_back()
        self.connection.execute("BEGIN IMMEDIATE")
        self.connection.execute("DELETE FROM pages WHERE id = ?", (entry.id,))
        self.connection.execute("DELETE FROM names WHERE name = ?", (self.name(entry.url),))
        self._let_go(entry)
        self.queued -= 1
        self.commit()

    def _let_go(self, entry: Entry) -> None:
        if self.taken.pop(entry.id, None) is not None:
            self.in_flight -= 1

    def commit(self) -> None:
        """End the open transaction and begin the next."""
        rows = list(self.skipped.items())
        self.connection.executemany("INSERT OR REPLACE INTO counts VALUES (?, ?)", rows)
        self.connection.execute("COMMIT")
        self.connection.execute("BEGIN IMMEDIATE")

    def close(self) -> None:
        """Leave the database in one file, with nothing pending."""
        self.commit()
        self.connection.execute("COMMIT")
        self.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        self.connection.close()
        self.lock.close()

    def abandon(self) -> None:
        """Close without what is not committed."""
        self._roll_back()
        self.connection.close()
        self.lock.close()

    def _roll_back(self) -> None:
        """A full disk has done so already."""
        if self.connection.in_transaction:
            self.connection.execute("ROLLBACK")

    # -- reading the ledger at start

    def _read_counts(self) -> dict[str, int]:
        return dict(self.connection.execute("SELECT key, n FROM counts").fetchall())

    def read_outcomes(self) -> None:
        """Count again what has become of the addresses."""
        self.counts.clear()
        self.reasons.clear()
        self.bytes = 0
        self.queued = self._one("SELECT count(*) FROM pages WHERE state = 0")
        rows = self.connection.execute(
            f"SELECT outcome, coalesce(reason, ''), count(*), sum(size) FROM pages WHERE state = {DONE} GROUP BY 1, 2"
        )
        for outcome, reason, n, size in rows:
            self.counts[outcome] += n
            self.reasons[outcome, reason] += n
            self.bytes += size

    def _one(self, query: str) -> int:
        return self.connection.execute(query).fetchone()[0]
