"""The permutation visits every index once, for any length, and looks random."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from datamodules.batching.permutation import permute


@given(n=st.integers(1, 3000), seed=st.integers(0, 2**32), epoch=st.integers(0, 99))
def test_every_index_once(n, seed, epoch):
    assert np.array_equal(np.sort(permute(np.arange(n), n, seed, epoch)), np.arange(n))


def test_a_point_does_not_depend_on_its_neighbours():
    index = np.array([999_999_999_999, 5, 77])
    together = permute(index, 10**12, 1, 2)
    assert together.tolist() == [permute(index[i : i + 1], 10**12, 1, 2)[0] for i in range(3)]


def test_seed_and_epoch_change_the_order():
    orders = [permute(np.arange(1000), 1000, seed, epoch) for seed, epoch in [(0, 0), (0, 1), (1, 0)]]
    same = [np.mean(a == b) for a in orders for b in orders if a is not b]
    assert max(same) < 0.02


def test_it_looks_random():
    """Correlation with the index, and of neighbours, are within 4 standard errors of none; all places are used."""
    n = 20_000
    x = np.arange(n)
    for epoch in range(5):
        y = permute(x, n, 3, epoch)
        assert abs(np.corrcoef(x, y)[0, 1]) < 4 / np.sqrt(n)
        assert abs(np.corrcoef(y[:-1], y[1:])[0, 1]) < 4 / np.sqrt(n)


def test_small_orders_are_nearly_uniform():
    """All 24 orders of 4 windows occur about equally often: chi-squared with 23 degrees of freedom below 60."""
    orders = [tuple(permute(np.arange(4), 4, seed, 0)) for seed in range(4800)]
    counts = np.unique(orders, axis=0, return_counts=True)[1]
    assert len(counts) == 24
    assert ((counts - 200) ** 2 / 200).sum() < 60
