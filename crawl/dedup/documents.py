"""Exact and near duplicates within a crawl. All that is remembered lives in the crawl's SQLite file, none of it in
memory.

The caller commits: a text counts as seen only together with the record of its page, so that after a kill no page is a
duplicate of itself.
"""

import sqlite3

import numpy as np

from crawl.dedup.lines import SiteLines
from crawl.dedup.signatures import band_keys, signature
from crawl.document import Document, Drop

TABLES = """
CREATE TABLE IF NOT EXISTS dedup_texts(id INTEGER PRIMARY KEY, sha256 BLOB NOT NULL UNIQUE, signature BLOB);
CREATE TABLE IF NOT EXISTS dedup_bands(key INTEGER NOT NULL, id INTEGER NOT NULL, PRIMARY KEY(key, id)) WITHOUT ROWID;
"""
MAX_CANDIDATES = 50  # texts compared with, of those that share a band


class Dedup:
    """`check(document)` answers the document, without lines that its site repeats, or a Drop (`duplicate`,
    `near_duplicate`, `boilerplate`); it remembers what it kept.
    """

    def __init__(self, connection: sqlite3.Connection, settings: dict):
        self.connection, self.settings = connection, settings["dedup"]
        for statement in TABLES.split(";"):
            connection.execute(statement)
        self.lines = SiteLines(connection, self.settings["site_lines"])

    def check(self, document: Document) -> Document | Drop:
        """Never commits. A document without signature, of a page that has not changed, was seen to before."""
        if self.settings["site_lines"] and (document.signature or not self.settings["near_duplicates"]):
            stripped = self.lines.strip(document)
            if not stripped.text:
                return Drop("boilerplate", document)
            document = stripped
        digest = bytes.fromhex(document.sha256)
        if self.settings["exact_duplicates"] and self._seen(digest):
            return Drop("duplicate", document)
        values = document.signature if self.settings["near_duplicates"] else ()
        keys = band_keys(values) if values else []
        if keys and self._is_near(values, keys):
            return Drop("near_duplicate", document)
        self._remember(digest, values, keys)
        return document

    def _seen(self, digest: bytes) -> bool:
        return self.connection.execute("SELECT 1 FROM dedup_texts WHERE sha256 = ?", (digest,)).fetchone() is not None

    def _is_near(self, values: tuple[int, ...], keys: list[int]) -> bool:
        marks = ",".join("?" * len(keys))
        rows = self.connection.execute(
            f"SELECT signature FROM dedup_texts WHERE id IN "
            f"(SELECT DISTINCT id FROM dedup_bands WHERE key IN ({marks}) LIMIT ?)",
            (*keys, MAX_CANDIDATES),
        )
        mine = np.array(values, dtype=np.uint32)
        return any(
            float(np.mean(np.frombuffer(row[0], dtype=np.uint32) == mine)) >= self.settings["similarity"]
            for row in rows
        )

    def _remember(self, digest: bytes, values: tuple[int, ...], keys: list[int]) -> None:
        packed = np.array(values, dtype=np.uint32).tobytes() if values else None
        cursor = self.connection.execute(
            "INSERT OR IGNORE INTO dedup_texts(sha256, signature) VALUES (?, ?)", (digest, packed)
        )
        if cursor.rowcount:
            rows = [(key, cursor.lastrowid) for key in keys]
            self.connection.executemany("INSERT OR IGNORE INTO dedup_bands VALUES (?, ?)", rows)


__all__ = ["Dedup", "signature"]
