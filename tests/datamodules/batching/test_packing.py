"""Packing puts every piece somewhere once, as tightly as the textbook's best fit, and cuts only what must be cut."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from datamodules.batching.packing import best_fit, cut


def textbook(lengths: list[int], capacity: int) -> list[int]:
    """Best fit decreasing, one piece after the other: the room left in each row."""
    rooms: list[int] = []
    for length in sorted(lengths, reverse=True):
        fitting = [i for i, room in enumerate(rooms) if room >= length]
        if fitting:
            rooms[min(fitting, key=lambda i: rooms[i])] -= length
        else:
            rooms.append(capacity - length)
    return sorted(rooms)


@given(capacity=st.integers(1, 30), data=st.data())
def test_as_the_textbook_and_every_piece_once(capacity, data):
    lengths = data.draw(st.lists(st.integers(1, capacity), max_size=60))
    packing = best_fit(np.array(lengths, dtype=np.int64), capacity)
    assert sorted(packing.items.tolist()) == list(range(len(lengths)))
    rooms = []
    for r in range(packing.n_rows):
        at = 0
        for piece in packing.row(r):
            assert packing.offset[piece] == at  # one after the other, no gap
            at += lengths[piece]
        rooms.append(capacity - at)
    assert sorted(rooms) == textbook(lengths, capacity)
    assert packing.padding_share == pytest.approx(sum(rooms) / max(1, capacity * packing.n_rows))


def test_by_hand():
    packing = best_fit(np.array([3, 6, 4, 7]), 10)
    assert [packing.row(r).tolist() for r in range(packing.n_rows)] == [[3, 0], [1, 2]]  # 7 + 3, 6 + 4
    assert packing.padding_share == 0


def test_a_million_documents_take_a_moment():
    lengths = np.random.default_rng(0).geometric(1 / 200, 1_000_000).clip(max=1024)
    packing = best_fit(lengths, 1024)
    assert packing.padding_share < 0.001


@pytest.mark.parametrize("lengths", [[0], [11], [3, -1]])
def test_what_fits_no_row_is_refused(lengths):
    with pytest.raises(ValueError, match="do not fit rows of 10"):
        best_fit(np.array(lengths), 10)


def test_long_documents_are_cut_into_full_rows_and_a_rest():
    owner, start, length = cut(np.array([3, 10, 25, 0, 11]), 10)
    assert owner.tolist() == [0, 1, 2, 2, 2, 4, 4]
    assert start.tolist() == [0, 0, 0, 10, 20, 0, 10]
    assert length.tolist() == [3, 10, 10, 10, 5, 10, 1]
