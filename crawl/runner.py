"""Run one crawl from checked settings to reports, in this process; Ctrl-C ends it cleanly."""

import json
import logging
import os
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import stopping
from crawl.failing import in_words
from crawl.options import check
from errors import Interrupted, RequestError, RunError
from strict_json import object_in

GRACE_S = 5.0  # for pages on their way, after the first Ctrl-C
ROOT = Path(__file__).resolve().parent.parent


def run(given: dict, folder: Path) -> dict:
    """Crawl into `folder`, or go on with the crawl that is there; returns the manifest.

    Raises RequestError for wrong requests (before anything is asked of the network), RunError when the crawl cannot
    go on, Interrupted after SIGINT, SIGTERM or SIGHUP, with everything saved.
    """
    settings = check(given)
    if "twisted.internet.reactor" in sys.modules:
        return _run_in_child(settings, folder)  # Twisted's reactor runs once in the life of a process
    return _run_here(settings, _folder_of(settings, folder))


def _folder_of(settings: dict, folder: Path) -> Path:
    """Crawlers that share a queue each have a folder of their own inside the crawl's."""
    if settings["queue"] == "redis":
        return folder / "workers" / (settings["worker"] or f"{os.uname().nodename}-{os.getpid()}")
    return folder


def _run_here(settings: dict, folder: Path) -> dict:
    from scrapy.crawler import AsyncCrawlerProcess
    from scrapy.settings import Settings

    from crawl.report import finish
    from crawl.settings import scrapy_settings
    from crawl.state import State

    try:
        state = State(settings, folder)
    except (OSError, sqlite3.Error) as error:
        raise in_words(error, folder) from error
    scrapy = Settings()
    scrapy.setmodule("crawl.settings", priority="project")
    scrapy.update(scrapy_settings(settings, str(folder)), priority="cmdline")
    # a host program that logs already (run.py) keeps its own way of logging
    scrapy.set("LOG_INSTALL_ROOT_HANDLER", not logging.getLogger().handlers, priority="cmdline")
    process = AsyncCrawlerProcess(scrapy)
    for name in ("scrapy", "twisted", "asyncio"):  # whose debug lines hold whole documents
        logging.getLogger(name).setLevel(logging.WARNING)
    signals = _Signals(state, process)
    try:
        process.crawl(settings["spider"], state=state)
        process.start(install_signal_handlers=False)
    finally:
        try:
            manifest = finish(state)
        finally:
            signals.restore()  # so that no report is cut in half
    if state.error is not None:
        raise in_words(state.error, state.folder)
    if signals.received:
        raise Interrupted(signals.received)
    return manifest


class _Signals:
    """The first Ctrl-C stops asking and waits a little for what is on its way; the second does not wait. Both lose
    nothing.
    """

    def __init__(self, state: Any, process: Any):
        self.state, self.process, self.received = state, process, 0
        self.old = {number: signal.signal(number, self.receive) for number in stopping.SIGNALS}
        if stopping.asked():  # while the crawl was opened
            self.state.stop("interrupted")
            self.received = stopping.asked()

    def receive(self, number: int, frame: object) -> None:
        stopping.note(number)
        first, self.received = not self.received, number
        self.state.stop("interrupted")
        if first:
            print("\nStopping; what is on its way is finished (again: now).", file=sys.stderr, flush=True)
        _reactor().callFromThread(self._end_soon if first else self._end_now)

    def _end_soon(self) -> None:
        _reactor().callLater(GRACE_S, self._end_now)
        for crawler in self.process.crawlers:
            if crawler.engine is not None and crawler.engine._slot is not None:  # None: it is closing
                crawler.engine._slot.nextcall.schedule()  # it may be waiting for hosts that wait

    def _end_now(self) -> None:
        reactor = _reactor()
        if reactor.running:
            # stop() would wait for what is on its way, which is what took too long; the reports are written after this
            reactor.getThreadPool().stop()
            reactor.crash()

    def restore(self) -> None:
        for number, handler in self.old.items():
            signal.signal(number, handler)


def _reactor() -> Any:
    """Twisted's reactor; importing it installs it, and type checkers take it for a module."""
    from twisted.internet import reactor

    return reactor


def _run_in_child(settings: dict, folder: Path) -> dict:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / ".settings.json"
    path.write_text(json.dumps(settings))
    command = [sys.executable, "-m", "crawl", "--settings", str(path), str(folder)]
    child = subprocess.Popen(command, env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])})
    try:
        code = child.wait()
    except BaseException:
        child.send_signal(signal.SIGTERM)
        child.wait()
        raise
    finally:
        path.unlink(missing_ok=True)
    if code == 2:
        raise RequestError("The crawl's request was wrong; see the lines above.")
    if code - 128 in stopping.SIGNALS or -code in stopping.SIGNALS:
        raise Interrupted(abs(code) % 128)
    if code:
        raise RunError(f"The crawl ended with status {code}; see the lines above.")
    return object_in(_folder_of(settings, folder) / "manifest.json")
