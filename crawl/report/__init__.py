"""What people read when a crawl has ended: manifest.json, corpus.txt, README.md, report.html. Each is written whole
or not at all.
"""

import json
import sqlite3
from pathlib import Path
from typing import TYPE_CHECKING

from crawl.report import card, corpus, numbers, page
from crawl.report.corpus import whole
from errors import RunError

if TYPE_CHECKING:
    from crawl.state import State


def finish(state: "State") -> dict:
    """Write the reports and close the crawl; returns the manifest. Does nothing the second time.

    What the disk refuses is in `state.error` afterwards; Scrapy would log an exception here, and end well.
    """
    if state.closed:
        return state.manifest
    state.closed = True
    try:
        if state.error is None:
            state.files.close()
            state.frontier.commit()
            state.manifest = numbers.manifest(state)
            write(state.folder / "manifest.json", json.dumps(state.manifest, indent=2, ensure_ascii=False) + "\n")
            corpus.write_corpus(state.files.shards(), state.folder)
            if state.settings["parquet"]:
                corpus.write_parquet(state.files.shards())
            samples = numbers.samples(state.frontier.connection)
            write(state.folder / "README.md", card.text(state.manifest, samples))
            write(state.folder / "report.html", page.text(state.manifest, samples))
    except (OSError, sqlite3.Error, RunError) as error:
        state.fail(error)
    finally:
        state.close()
    return state.manifest


def write(path: Path, text: str) -> None:
    """Write a file so that a reader never sees half of it."""
    with whole(path, f".{path.name}.part") as temporary:
        temporary.write_text(text, encoding="utf-8")
