"""Lines that a site puts around every text ("Subscribe to our letter", "Back to all stories"): known by repeating.

After the idea of CCNet (Wenzek et al. 2020, section 3.1, https://arxiv.org/abs/1911.00359), which removes paragraphs
that occur on other pages. Here only the edges of a text are looked at, and only lines seen on several pages of the same
site go: in the middle a repeated line is mostly meant ("New in version 3.8").
"""

import dataclasses
import hashlib
import sqlite3

from crawl.document import Document

TABLE = "CREATE TABLE IF NOT EXISTS dedup_lines(key INTEGER PRIMARY KEY, pages INTEGER NOT NULL)"
EDGE = 5  # lines at the beginning, and as many at the end
MIN_LINE = 12  # characters; shorter ones are headings and labels of the text itself


class SiteLines:
    """`strip(document)` takes such lines away, and counts the edges of the document for those that follow.

    All that is remembered lies in the crawl's SQLite file; the caller commits.
    """

    def __init__(self, connection: sqlite3.Connection, pages: int):
        self.connection, self.pages = connection, pages
        connection.execute(TABLE)

    def strip(self, document: Document) -> Document:
        """The document without lines that stood at the edges of `pages` earlier ones of its site; `text` may be ""."""
        lines = document.text.split("\n")
        full = [at for at, line in enumerate(lines) if line.strip()]
        edge = {at for at in full[:EDGE] + full[-EDGE:] if len(lines[at].strip()) >= MIN_LINE}
        keys = {at: _key(document.site, lines[at].strip()) for at in edge}
        known = self._count(set(keys.values()))
        junk = {at for at, key in keys.items() if known[key] >= self.pages}
        if not junk:
            return document
        text = "\n".join(line for at, line in enumerate(lines) if at not in junk).strip("\n")
        while "\n\n\n" in text:
            text = text.replace("\n\n\n", "\n\n")
        return dataclasses.replace(
            document, text=text, sha256=hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()
        )

    def _count(self, keys: set[int]) -> dict[int, int]:
        """On how many earlier pages each of them stood; this page is counted from now on."""
        marks = ",".join("?" * len(keys))
        rows = self.connection.execute(f"SELECT key, pages FROM dedup_lines WHERE key IN ({marks})", tuple(keys))
        known = dict.fromkeys(keys, 0) | dict(rows.fetchall())
        self.connection.executemany(
            "INSERT INTO dedup_lines VALUES (?, 1) ON CONFLICT(key) DO UPDATE SET pages = pages + 1",
            [(key,) for key in keys],
        )
        return known


def _key(site: str, line: str) -> int:
    digest = hashlib.blake2b(f"{site}\n{line}".encode("utf-8", "replace"), digest_size=8).digest()
    return int.from_bytes(digest, "big", signed=True)
