"""The numbers of a crawl, counted in its ledger: manifest.json, and what the card and the page show."""

import importlib.metadata
import platform
import sqlite3
from typing import TYPE_CHECKING, Any

from crawl.report.words import EDGES
from strict_json import value_of

if TYPE_CHECKING:
    from crawl.state import State

PACKAGES = ("scrapy", "twisted", "lxml", "trafilatura", "ftfy", "datasketch", "scrapy-redis", "pyarrow", "warcio")
TOP_SITES = 200  # sites named in the manifest


def manifest(state: "State") -> dict[str, Any]:
    """All counts from the ledger itself, so that they hold whatever happened on the way."""
    connection = state.frontier.connection
    by_reason = _by_reason(connection)
    kept = sum(by_reason.get("kept", {}).values())
    dropped, failed = by_reason.get("dropped", {}), by_reason.get("failed", {})
    return {
        "status": _status(state),
        "stopped_by": state.stopping,
        "fetched": kept + sum(dropped.values()) + sum(failed.values()),
        "kept": kept,
        "dropped": dropped,
        "failed": failed,
        "refused": by_reason.get("refused", {}),
        "listings": by_reason.get("listing", {}),
        "skipped": dict(sorted(state.frontier.skipped.items())),
        "queued": _one(connection, "SELECT count(*) FROM pages WHERE state = 0"),
        "not_modified": _one(connection, "SELECT coalesce(sum(not_modified), 0) FROM pages"),
        "bytes": _one(connection, "SELECT coalesce(sum(size), 0) FROM pages"),
        "characters": _one(connection, "SELECT coalesce(sum(chars), 0) FROM pages WHERE outcome = 'kept'"),
        "words": _one(connection, "SELECT coalesce(sum(words), 0) FROM pages WHERE outcome = 'kept'"),
        "lengths": _lengths(connection),
        "languages": _languages(connection),
        "sites": _sites(connection),
        "robots": _robots(connection),
        "started_at": state.started_at,
        "ended_at": state.now(),
        "user_agent": state.settings["user_agent"].replace("{contact}", state.settings["contact"] or ""),
        "files": dict(sorted(state.files.sizes.items())),
        "settings": state.settings,
        "versions": versions(),
    }


def versions() -> dict[str, str]:
    """Python and the packages that shape the result."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def samples(connection: sqlite3.Connection) -> dict[str, list[dict[str, str]]]:
    """The pages to look at, by reason; "kept" for the corpus."""
    found: dict[str, list[dict[str, str]]] = {}
    for reason, url, title, text in connection.execute(
        "SELECT reason, url, title, text FROM samples ORDER BY reason, hash"
    ):
        found.setdefault(reason, []).append({"url": url, "title": title, "text": text})
    return found


def _status(state: "State") -> str:
    if state.stopping == "interrupted":
        return "interrupted"
    return "finished" if state.stopping is None else "stopped"


def _by_reason(connection: sqlite3.Connection) -> dict[str, dict[str, int]]:
    found: dict[str, dict[str, int]] = {}
    query = (
        "SELECT outcome, coalesce(reason, ''), count(*) FROM pages WHERE state = 2 GROUP BY 1, 2 ORDER BY 1, 3 DESC, 2"
    )
    for outcome, reason, n in connection.execute(query):
        found.setdefault(outcome, {})[reason] = n
    return found


def _lengths(connection: sqlite3.Connection) -> list[int]:
    """How many kept documents lie between two neighbours of EDGES, in words."""
    bins = [0] * (len(EDGES) + 1)
    for words, n in connection.execute("SELECT words, count(*) FROM pages WHERE outcome = 'kept' GROUP BY 1"):
        bins[sum(words >= edge for edge in EDGES)] += n
    return bins


def _languages(connection: sqlite3.Connection) -> dict[str, int]:
    query = (
        "SELECT coalesce(language, 'unknown'), count(*) FROM pages WHERE outcome = 'kept' GROUP BY 1 ORDER BY 2 DESC"
    )
    return dict(connection.execute(query).fetchall())


def _sites(connection: sqlite3.Connection) -> list[dict[str, Any]]:
    query = f"""SELECT host, count(*), sum(outcome = 'kept'), sum(outcome = 'dropped'), sum(outcome = 'failed'),
        sum(CASE WHEN outcome = 'kept' THEN words ELSE 0 END) FROM pages
        WHERE outcome IN ('kept', 'dropped', 'failed') GROUP BY 1 ORDER BY 2 DESC LIMIT {TOP_SITES}"""
    names = ("site", "fetched", "kept", "dropped", "failed", "words")
    return [dict(zip(names, row, strict=True)) for row in connection.execute(query)]


def _robots(connection: sqlite3.Connection) -> dict[str, Any]:
    rows = connection.execute("SELECT key, value FROM meta WHERE key LIKE 'robots %' ORDER BY key LIMIT 1000")
    return {key.removeprefix("robots "): value_of(value) for key, value in rows}


def _one(connection: sqlite3.Connection, query: str) -> int:
    return connection.execute(query).fetchone()[0]
