"""Which examples an update takes: each once an epoch, each epoch in another order, none twice while others are unread.

Places are counted without end: update k of n examples takes places k n .. k n + n - 1, and epoch e of N examples is
places e N .. e N + N - 1, put in order by a permutation of (seed, e). Where an update begins in one epoch and ends in
the next, the next epoch first gives examples that the update does not hold yet; those it does hold come right after. A
pure function of (seed, update), computed from the update's own epoch and the tail of the one before.

An update of more than N examples takes all of them, as often as they fit in, and the rest in this way.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from math import gcd

import numpy as np

from datamodules.batching.permutation import permute


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
            whole.append(_places(self.size, n, self.seed, step * n))
        return np.concatenate(whole)

    def steps_around(self, step: int) -> range:
        """The updates wholly within the epoch in which `step` lies; `step` alone where it crosses a border."""
        N, n = self.size, self.per_update
        epoch, last = step * n // N, ((step + 1) * n - 1) // N
        return range(-(-epoch * N // n), (epoch + 1) * N // n) if epoch == last else range(step, step + 1)


def _places(N: int, n: int, seed: int, first: int) -> np.ndarray:
    """(n,) the examples at places first .. first + n - 1, n < N."""
    epoch, start = divmod(first, N)
    here = min(n, N - start)
    return np.concatenate(
        [_in_epoch(N, n, seed, epoch, start, start + here), _in_epoch(N, n, seed, epoch + 1, 0, n - here)]
    )


def _in_epoch(N: int, n: int, seed: int, epoch: int, start: int, end: int) -> np.ndarray:
    """(end - start,) the examples at these places of an epoch."""
    found = permute(np.arange(start, end), N, seed, epoch)
    if start < min(n, end):
        found[: n - start] = _head(N, n, seed, epoch)[start:end]
    return found


def _head(N: int, n: int, seed: int, epoch: int) -> np.ndarray:
    """(n,) the first examples of an epoch. Epochs that begin with an update need no look at the one before."""
    if 2 * n > N:  # its tail may reach into its head: begin where nothing comes before, and keep what is found
        for earlier in range(epoch - epoch % (n // gcd(N, n)), epoch):
            _reordered(N, n, seed, earlier)
    return _reordered(N, n, seed, epoch)


@lru_cache(maxsize=1024)
def _reordered(N: int, n: int, seed: int, epoch: int) -> np.ndarray:
    head = permute(np.arange(n), N, seed, epoch)
    before = epoch * N % n  # examples of the update that crosses into this epoch which it has from the last one
    if not before:
        return head
    held = np.isin(head, _in_epoch(N, n, seed, epoch - 1, N - before, N))
    fresh = np.flatnonzero(~held)[: n - before]
    return np.concatenate([head[fresh], np.delete(head, fresh)])
