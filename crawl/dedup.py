"""Texts that the crawl holds already, remembered in the crawl's database, so across restarts and kills."""

import sqlite3

from crawl.document import Document, Drop


class Dedup:
    """Shares the crawl's connection and never commits: a text is seen in the transaction that stores its page."""

    def __init__(self, connection: sqlite3.Connection, settings: dict):
        self.connection = connection
        connection.execute("CREATE TABLE IF NOT EXISTS dedup_exact(sha256 TEXT PRIMARY KEY) WITHOUT ROWID")

    def check(self, document: Document) -> Document | Drop:
        """The document, or a drop if its text came before."""
        query = "INSERT OR IGNORE INTO dedup_exact VALUES (?)"
        fresh = self.connection.execute(query, (document.sha256,)).rowcount == 1
        return document if fresh else Drop("duplicate_exact", document)
