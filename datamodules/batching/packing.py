"""Best-fit packing: documents shorter than a window share rows, none is cut that fits, nothing is thrown away.

Ding et al. 2024, "Fewer Truncations Improve Language Modeling" (2404.10830): a document longer than a row is cut into
full rows and a rest; then all pieces, longest first, go into the row with the least room that still takes them (best
fit decreasing). Against concatenation and cutting, documents stay whole at the price of a little padding.

`best_fit` knows lengths only, so that anything that has a length can be packed: documents, chats.

The place is exact best fit decreasing, but found for all pieces of one length at once: all rows with the same room are
alike, and a row that just took a piece of this length is the tightest for the next one. So the cost is about one step
for each length that occurs, whatever the number of documents.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Packing:
    """n pieces in `n_rows` rows of `capacity`. Row r holds `items[bounds[r]:bounds[r + 1]]`, each at its `offset`."""

    capacity: int
    items: np.ndarray  # (n,) int64: pieces, row by row, in the order in which they lie there
    bounds: np.ndarray  # (n_rows + 1,) int64
    offset: np.ndarray  # (n,) int64: where piece i begins in its row
    filled: int  # sum of all lengths

    @property
    def n_rows(self) -> int:
        return len(self.bounds) - 1

    def row(self, r: int) -> np.ndarray:
        """(pieces,) int64: which pieces row `r` holds, from its start on."""
        return self.items[self.bounds[r] : self.bounds[r + 1]]

    @property
    def padding_share(self) -> float:
        """Share of all places that hold nothing."""
        return 1 - self.filled / (self.n_rows * self.capacity) if self.n_rows else 0.0


def best_fit(lengths: np.ndarray, capacity: int) -> Packing:
    """Pack pieces of (n,) lengths, each 1 to `capacity`, into rows. Deterministic; equal lengths keep their order.

    Raises ValueError for a length that no row can hold: cut it first (`cut`), or leave it out.
    """
    lengths = np.asarray(lengths, dtype=np.int64)
    if len(lengths) and not 1 <= lengths.min() <= lengths.max() <= capacity:
        raise ValueError(f"lengths from {lengths.min()} to {lengths.max()} do not fit rows of {capacity}")
    row, offset = np.empty_like(lengths), np.empty_like(lengths)
    rooms = Rooms(capacity)
    for length, pieces in by_length(lengths):
        at = 0
        while at < len(pieces):
            rows, room = rooms.take(length, len(pieces) - at)
            each = room // length  # how many of them a row takes, one after the other
            here = pieces[at : at + each * len(rows)]
            row[here] = np.repeat(rows, each)[: len(here)]
            offset[here] = capacity - room + np.tile(np.arange(each) * length, len(rows))[: len(here)]
            full, rest = divmod(len(here), each)
            rooms.give(rows[:full], room - each * length)
            rooms.give(rows[full:], room - rest * length)  # the last row may have taken fewer
            at += len(here)
    items = np.lexsort((offset, row))
    bounds = np.searchsorted(row[items], np.arange(rooms.n_rows + 1))
    return Packing(capacity, items, bounds, offset, int(lengths.sum()))


class Rooms:
    """Rows by the room left in them. `sizes` has a bit for each amount of room that some row has."""

    def __init__(self, capacity: int):
        self.capacity, self.n_rows, self.sizes = capacity, 0, 0
        self.rows: dict[int, list[np.ndarray]] = {}

    def take(self, length: int, n: int) -> tuple[np.ndarray, int]:
        """Rows with the least room that takes `length`, as many as `n` pieces need, and that room; new ones if none."""
        fitting = self.sizes >> length
        if not fitting:
            count = -(-n // (self.capacity // length))
            self.n_rows += count
            return np.arange(self.n_rows - count, self.n_rows), self.capacity
        room = length + (fitting & -fitting).bit_length() - 1  # the lowest bit that is set
        rows = np.concatenate(self.rows.pop(room))
        self.sizes ^= 1 << room
        count = min(len(rows), -(-n // (room // length)))
        self.give(rows[count:], room)
        return rows[:count], room

    def give(self, rows: np.ndarray, room: int) -> None:
        if len(rows) and room:
            self.rows.setdefault(room, []).append(rows)
            self.sizes |= 1 << room


def by_length(lengths: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """(length, the pieces of that length in their order), longest first."""
    order = np.argsort(-lengths, kind="stable")
    for pieces in np.split(order, np.flatnonzero(np.diff(lengths[order])) + 1):
        if len(pieces):
            yield int(lengths[pieces[0]]), pieces


def cut(lengths: np.ndarray, capacity: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Cut what is longer than a row: full rows and a rest. Lengths of 0 give no piece.

    Returns for each piece: which of `lengths` it is from, where it begins there, how long it is; (pieces,) int64 each.
    """
    lengths = np.asarray(lengths, dtype=np.int64)
    n_pieces = -(-lengths // capacity)
    owner = np.repeat(np.arange(len(lengths)), n_pieces)
    first = np.cumsum(n_pieces) - n_pieces  # (len(lengths),): the first piece of each
    start = (np.arange(len(owner)) - first[owner]) * capacity
    return owner, start, np.minimum(capacity, lengths[owner] - start)
