"""A few random pages of each end, for people to look at: chosen as pages come, without keeping the others.

The pages with the smallest hash of their address stay: a uniform sample, the same whatever the order or the restarts.
"""

import hashlib
import sqlite3

EACH = 5  # pages of one reason
KEPT = 20  # pages of the corpus
TEXT = 1500  # characters of a page
TABLE = """CREATE TABLE IF NOT EXISTS samples(
    reason TEXT, hash TEXT, url TEXT, title TEXT, text TEXT, PRIMARY KEY(reason, hash))"""


class Samples:
    """Shares the crawl's connection and never commits."""

    def __init__(self, connection: sqlite3.Connection):
        self.connection = connection
        connection.execute(TABLE)
        self.hashes: dict[str, list[str]] = {}
        for reason, value in connection.execute("SELECT reason, hash FROM samples"):
            self.hashes.setdefault(reason, []).append(value)

    def offer(self, reason: str, url: str, title: str | None, text: str) -> None:
        """Take the page if its hash is among the smallest of its reason ("kept" for the corpus)."""
        value = hashlib.sha256(url.encode()).hexdigest()
        chosen = self.hashes.setdefault(reason, [])
        most = KEPT if reason == "kept" else EACH
        if len(chosen) >= most:
            largest = max(chosen)
            if value >= largest:
                return
            chosen.remove(largest)
            self.connection.execute("DELETE FROM samples WHERE reason = ? AND hash = ?", (reason, largest))
        chosen.append(value)
        row = (reason, value, url, title or "", text[:TEXT].encode("utf-8", "replace").decode())
        self.connection.execute("INSERT OR REPLACE INTO samples VALUES (?, ?, ?, ?, ?)", row)
