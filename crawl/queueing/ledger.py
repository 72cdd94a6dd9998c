"""The tables of crawl.sqlite, and the rows that go in and out of them."""

import json
import zlib
from dataclasses import dataclass

from strict_json import value_of

TABLES = """
CREATE TABLE IF NOT EXISTS meta(key TEXT PRIMARY KEY, value TEXT);
CREATE TABLE IF NOT EXISTS pages(
    id INTEGER PRIMARY KEY, url TEXT NOT NULL UNIQUE, host TEXT NOT NULL, kind TEXT NOT NULL, depth INTEGER NOT NULL,
    redirects INTEGER NOT NULL DEFAULT 0, state INTEGER NOT NULL DEFAULT 0, tries INTEGER NOT NULL DEFAULT 0,
    ready_at REAL NOT NULL DEFAULT 0, outcome TEXT, reason TEXT, file TEXT, offset INTEGER, length INTEGER,
    size INTEGER NOT NULL DEFAULT 0, chars INTEGER NOT NULL DEFAULT 0, words INTEGER NOT NULL DEFAULT 0, language TEXT,
    title TEXT, target TEXT, etag TEXT, modified TEXT, links BLOB, not_modified INTEGER NOT NULL DEFAULT 0);
CREATE INDEX IF NOT EXISTS pages_queued ON pages(host, depth, id) WHERE state = 0;
CREATE INDEX IF NOT EXISTS pages_outcome ON pages(outcome, reason);
CREATE TABLE IF NOT EXISTS names(name TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS traps(key TEXT PRIMARY KEY, n INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS counts(key TEXT PRIMARY KEY, n INTEGER NOT NULL);
"""


@dataclass
class Entry:
    """One address of the frontier, on its way."""

    id: int
    url: str
    host: str
    kind: str  # page | sitemap | feed
    depth: int
    redirects: int
    tries: int


@dataclass
class Link:
    """An address to add."""

    url: str  # as linked; two are the same where their canonical forms are
    depth: int = 0
    kind: str = "page"
    redirects: int = 0


@dataclass
class Ending:
    """What became of an address; the columns of its row."""

    outcome: str  # kept | dropped | failed | refused | listing
    reason: str | None = None
    file: str | None = None
    offset: int | None = None
    length: int | None = None
    size: int = 0  # bytes received
    chars: int = 0
    words: int = 0
    language: str | None = None
    title: str | None = None
    target: str | None = None  # where a redirect leads
    etag: str | None = None
    modified: str | None = None
    links: bytes | None = None
    not_modified: int = 0


def pack_links(links: list[str]) -> bytes:
    """Links of a page in little space: a page that has not changed is not sent again, but its links still lead on."""
    return zlib.compress(json.dumps(links).encode(), 1)


def unpack_links(packed: bytes | None) -> list[str]:
    """The reverse of pack_links."""
    return value_of(zlib.decompress(packed)) if packed else []
