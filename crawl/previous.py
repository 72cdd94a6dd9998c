"""An earlier crawl, to ask only for what changed since: ETag and Last-Modified go out, a 304 brings the old record
back.
"""

import sqlite3
from pathlib import Path

from crawl.document import Document
from crawl.queueing.ledger import unpack_links
from strict_json import value_of


class Previous:
    """The ledger and records of an earlier crawl, read only."""

    def __init__(self, folder: str):
        self.folder = Path(folder)
        path = self.folder / "crawl.sqlite"
        self.connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
        self.connection.row_factory = sqlite3.Row

    def row(self, url: str) -> sqlite3.Row | None:
        """What became of an address then, if it can be asked for conditionally."""
        return self.connection.execute(
            "SELECT * FROM pages WHERE url = ? AND outcome IN ('kept', 'dropped')"
            " AND (etag NOT NULL OR modified NOT NULL)",
            (url,),
        ).fetchone()

    def headers(self, url: str) -> dict[str, str]:
        """The conditions to send with a request."""
        row = self.row(url)
        if row is None:
            return {}
        conditions = {"If-None-Match": row["etag"], "If-Modified-Since": row["modified"]}
        return {name: value for name, value in conditions.items() if value}

    def document(self, row: sqlite3.Row) -> Document:
        """The record of a page that was kept."""
        with open(self.folder / row["file"], "rb") as file:
            file.seek(row["offset"])
            record = value_of(file.read(row["length"]))
        known = {name: record[name] for name in Document.__dataclass_fields__ if name in record}
        return Document(**known)

    def links(self, row: sqlite3.Row) -> list[str]:
        """Where the page led."""
        return unpack_links(row["links"])
