"""How far long work has come: a bar in a terminal, else a line now and then; nothing for what is done in seconds."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterable, Iterator, Sized
from typing import TypeVar

from tqdm import tqdm

T = TypeVar("T")
FIRST_S, EVERY_S = 3.0, 10.0  # seconds until it is shown, and between lines where there is no terminal


class Tracker:
    """`at(done)` says how much of `total` is done; None: not known."""

    def __init__(self, what: str, total: int | None, *, unit: str):
        self.what, self.total, self.unit = what, total, unit
        self.quiet = os.environ.get("RANK", "0") != "0"  # of several processes the first one speaks
        self._began = time.monotonic()
        self._due = self._began + FIRST_S
        self._bar: tqdm | None = None
        if sys.stderr.isatty() and not self.quiet:
            self._bar = tqdm(
                total=total, desc=what, unit=f" {unit}", unit_scale=True, delay=FIRST_S, leave=False, dynamic_ncols=True
            )

    def at(self, done: int) -> None:
        if self._bar is not None:
            self._bar.update(done - self._bar.n)
        elif not self.quiet and (now := time.monotonic()) >= self._due:
            self._due = now + EVERY_S
            print(f"{self.what}: {self._words(done, now - self._began)}", file=sys.stderr, flush=True)

    def _words(self, done: int, seconds: float) -> str:
        if not self.total or not done:
            return f"{done:,} {self.unit}"
        left = int(seconds * max(0, self.total - done) / done)
        return f"{done:,}/{self.total:,} {self.unit}  {left // 60}:{left % 60:02d} left"

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()


def shown(items: Iterable[T], what: str, *, unit: str, total: int | None = None) -> Iterator[T]:
    """`items`, with how many of them are done on the screen while they go by."""
    total = len(items) if total is None and isinstance(items, Sized) else total
    tracker = Tracker(what, total, unit=unit)
    try:
        for done, item in enumerate(items, 1):
            yield item
            tracker.at(done)
    finally:
        tracker.close()
