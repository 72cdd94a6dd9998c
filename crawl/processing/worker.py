"""What happens to a page outside the crawler process: find its links, extract and judge its text. Bounded in time.

`start` runs once in each worker process, `work` once a page.
"""

import os
import signal
import sys
import threading
import time
from dataclasses import dataclass, field

from crawl.document import Document, Drop, Page
from crawl.processing.links import Found, find_links
from crawl.web.urls import Rules
from stopping import time_limit

_state: dict = {}


@dataclass
class Worked:
    """What comes back from a worker."""

    result: Document | Drop
    links: list[str] = field(default_factory=list)  # as linked, allowed, each once
    skipped: dict[str, int] = field(default_factory=dict)  # links not followed, by reason


class TooSlowError(Exception):
    """Extraction took longer than crawl.extract_timeout_s."""


def start(settings: dict, domains: list[str], parent: int) -> None:
    """Prepare a worker process: import what is slow to import, leave signals to the parent, and die with it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_die_with, args=(parent,), daemon=True).start()
    from crawl.processing.process import process

    _state.update(settings=settings, rules=Rules(settings, domains), process=process)


def work(page: Page, follow: bool) -> Worked:
    """Links and text of one page; `follow` says whether its links are wanted.

    Raises TooSlowError when the page's time is over.
    """
    settings = _state["settings"]
    # the pool's own clock covers what this cannot interrupt
    with time_limit(settings["extract_timeout_s"], TooSlowError(), clock="wall"):
        found = Found()
        if page.content_type != "text/plain":
            found = find_links(page, _state["rules"] if follow else None, settings["obey_meta_robots"])
        if found.noindex:
            return Worked(Drop("noindex"), found.links, dict(found.skipped))
        return Worked(_state["process"](page, settings), found.links, dict(found.skipped))


def _die_with(parent: int) -> None:
    """A crawler that is killed must not leave workers behind."""
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1) if sys.platform != "win32" else None
