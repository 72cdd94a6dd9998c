"""Which examples an update takes: each once an epoch, each epoch in another order, none twice while others are unread.

Places are counted without end: epoch e of N examples is places e N .. e N + N - 1, put in order by a permutation of
(seed, e). An update takes the places that follow those of the update before it. Where it begins in one epoch and ends
in another, the last one first gives examples that the update does not hold yet; those it does hold come right after. A
pure function of the place, computed from the epochs that the update crosses and, in small sets, those they hang on.

`Epochs`: n examples an update. An update of more than N takes all of them, as often as they fit in, and the rest in
this way. `Places`: updates of any sizes, as they are drawn from one source of a mixture.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple, Protocol

import numpy as np

from datamodules.batching.permutation import permute


class Updates(Protocol):
    """Hashable, and equal where it cuts places in the same way."""

    def around(self, place: int) -> tuple[int, int]:
        """First place, and the one behind the last, of the update that takes `place`."""


@dataclass(frozen=True)
class Even:
    """Each update takes n places."""

    n: int

    def around(self, place: int) -> tuple[int, int]:
        first = place // self.n * self.n
        return first, first + self.n


@dataclass(frozen=True)
class Epochs:
    """`size` examples, N; `per_update` of them an update, n."""

    size: int
    per_update: int
    seed: int

    def update(self, step: int) -> np.ndarray:
        """(n,) int64: the examples of update `step`."""
        times, n = divmod(self.per_update, self.size)
        whole = [permute(np.arange(self.size), self.size, self.seed, step * times + i) for i in range(times)]
        if n:
            whole.append(Places(self.size, self.seed, Even(n)).examples(step * n, (step + 1) * n))
        return np.concatenate(whole)

    def steps_around(self, step: int) -> range:
        """The updates wholly within the epoch in which `step` lies; `step` alone where it crosses a border."""
        N, n = self.size, self.per_update
        epoch, last = step * n // N, ((step + 1) * n - 1) // N
        return range(-(-epoch * N // n), (epoch + 1) * N // n) if epoch == last else range(step, step + 1)


@dataclass(frozen=True)
class Places:
    """The examples at the places of `size` examples, N, that are taken in `updates`."""

    size: int
    seed: int
    updates: Updates

    def examples(self, first: int, last: int) -> np.ndarray:
        """(last - first,) int64: the examples at these places."""
        N, found = self.size, [np.empty(0, dtype=np.int64)]
        for epoch in range(first // N, -(-last // N)):
            found.append(_in_epoch(self, epoch, max(first - epoch * N, 0), min(last - epoch * N, N)))
        return np.concatenate(found)


class Border(NamedTuple):
    """How an update enters an epoch that it does not finish."""

    earlier: int  # the epoch in which it begins
    before: int  # examples at the end of that epoch, held by the update
    after: int  # examples that it takes of the entered one


@lru_cache(maxsize=4096)
def _border(places: Places, epoch: int) -> Border | None:
    """None: an update begins with the epoch, or holds all of it; it needs no look at the one before."""
    N = places.size
    first, last = places.updates.around(epoch * N)
    if first % N == 0 or last >= (epoch + 1) * N:
        return None
    return Border(first // N, -first % N, last - epoch * N)


def _moved(places: Places, epoch: int) -> int:
    """How many places at the beginning of the epoch are put in another order."""
    border = _border(places, epoch)
    return 0 if border is None else min(places.size, border.before + border.after)


def _in_epoch(places: Places, epoch: int, start: int, end: int) -> np.ndarray:
    """(end - start,) the examples at these places of an epoch."""
    found = permute(np.arange(start, end), places.size, places.seed, epoch)
    if start < min(moved := _moved(places, epoch), end):
        found[: moved - start] = _head(places, epoch)[start:end]
    return found


def _head(places: Places, epoch: int) -> np.ndarray:
    """The first examples of an epoch. Where the tails they avoid are heads too, these are found first, and kept."""
    chain = [epoch]
    while (border := _border(places, chain[-1])) and places.size - border.before < _moved(places, border.earlier):
        chain.append(border.earlier)
    for link in reversed(chain[1:]):
        _reordered(places, link)
    return _reordered(places, epoch)


@lru_cache(maxsize=1024)
def _reordered(places: Places, epoch: int) -> np.ndarray:
    N, border = places.size, _border(places, epoch)
    head = permute(np.arange(_moved(places, epoch)), N, places.seed, epoch)
    if border is None:
        return head
    start = N - border.before
    tail = permute(np.arange(start, N), N, places.seed, border.earlier)
    if start < (moved := _moved(places, border.earlier)):
        tail[: moved - start] = _reordered(places, border.earlier)[start:]
    held = np.isin(head, tail)
    fresh = np.flatnonzero(~held)[: border.after]
    return np.concatenate([head[fresh], np.delete(head, fresh)])
