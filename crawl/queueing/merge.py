"""Put the workers of a shared crawl (queue=redis) together: each address once, each text once, one manifest."""

import sqlite3
from dataclasses import fields
from pathlib import Path

import folders
from crawl.failing import in_words
from crawl.queueing.ledger import Ending, Link
from crawl.queueing.lock import hold
from crawl.report import finish
from crawl.state import State
from errors import RequestError
from strict_json import value_of

COLUMNS = ", ".join(field.name for field in fields(Ending))


def merge(folder: Path) -> dict:
    """Write the merged crawl into `folder`, from folder/workers/*; returns its manifest.

    Raises RequestError when there are no workers, or one of them is still at work; RunError where the disk is full.
    """
    ledgers = sorted(folder.glob("workers/*/crawl.sqlite"))
    if not ledgers:
        raise RequestError(f"{folder} holds no workers/*/crawl.sqlite: nothing to merge.")
    for ledger in ledgers:
        hold(ledger.parent).close()
    _clear(folder)
    settings = value_of(_read(ledgers[0], "SELECT value FROM meta WHERE key = 'settings'")[0][0])
    try:
        state = State({**settings, "queue": "local"}, folder)
        state.frontier.connection.execute("CREATE TABLE texts(sha256 TEXT PRIMARY KEY)")
        for ledger in ledgers:
            _merge_one(state, ledger)
        manifest = finish(state)
    except (OSError, sqlite3.Error) as error:
        raise in_words(error, folder) from error
    if state.error is not None:
        raise in_words(state.error, folder)
    return manifest


def _clear(folder: Path) -> None:
    """Merging starts afresh each time. Raises RequestError for a folder that holds what no merging has written."""
    ledger = folder / "crawl.sqlite"
    merged = ledger.is_file() and bool(_read(ledger, "SELECT name FROM sqlite_master WHERE name = 'texts'"))
    if ledger.is_file() and not merged:
        raise RequestError(f"{ledger} is of a crawl itself, not put together from workers/: move it away first.")
    allowed: tuple[folders.Kind, ...] = ("begun crawl", "merged crawl") if merged else ("begun crawl",)
    folders.refuse_strangers(folder, *allowed, key="FOLDER", why="what is merged is written there")
    folders.remove(folder, "merged crawl", itself=False)


def _merge_one(state: State, ledger: Path) -> None:
    for row in _read(ledger, f"SELECT url, kind, redirects, {COLUMNS} FROM pages WHERE state = 2 ORDER BY id"):
        url, kind, redirects, *rest = row
        if state.frontier.is_done(url):
            continue  # stored by two crawlers: one was killed after storing and before saying so
        state.frontier.add([Link(url, 0, kind, redirects)])
        entry = state.frontier.entry(url)
        assert entry is not None
        ending = Ending(*rest)
        if ending.file is not None:
            _copy(state, ledger.parent, ending)
        state.frontier.finish(entry, ending)
    _merge_notes(state, ledger)


def _copy(state: State, worker: Path, ending: Ending) -> None:
    """Copy a record; a text that another worker has kept already becomes a drop."""
    assert ending.file is not None
    assert ending.offset is not None
    assert ending.length is not None
    with open(worker / ending.file, "rb") as file:
        file.seek(ending.offset)
        line = file.read(ending.length)
    if ending.outcome == "kept":
        inserted = state.frontier.connection.execute(
            "INSERT OR IGNORE INTO texts VALUES (?)", (value_of(line)["sha256"],)
        ).rowcount
        if not inserted:
            ending.outcome, ending.reason = "dropped", "duplicate_other_worker"
    if ending.outcome == "kept":
        place = state.files.append_document(line)
    elif state.settings["keep_dropped"]:
        place = state.files.append(f"dropped/{ending.reason}/documents.jsonl", line)
    else:
        ending.file = ending.offset = ending.length = None
        return
    ending.file, ending.offset, ending.length = place


def _merge_notes(state: State, ledger: Path) -> None:
    for key, value in _read(ledger, "SELECT key, value FROM meta WHERE key LIKE 'robots %' OR key = 'started_at'"):
        if key == "started_at":
            state.started_at = min(state.started_at, value)
        else:
            state.frontier.remember(key, value)
    state.frontier.skipped.update(dict(_read(ledger, "SELECT key, n FROM counts")))
    for reason, _, url, title, text in _read(ledger, "SELECT * FROM samples"):
        state.samples.offer(reason, url, title, text)


def _read(ledger: Path, query: str) -> list[tuple]:
    connection = sqlite3.connect(f"file:{ledger}?mode=ro", uri=True)
    try:
        return connection.execute(query).fetchall()
    except sqlite3.OperationalError as error:
        raise RequestError(f"Cannot read {ledger}: {error}.") from None
    finally:
        connection.close()
