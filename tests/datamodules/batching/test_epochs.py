"""F38: an update holds no example twice while others are unread; every epoch holds each example once."""

from collections import Counter
from math import gcd

import numpy as np
import pytest

from datamodules.batching.epochs import Epochs
from datamodules.batching.example_batches import ExampleSteps, PackedSteps
from datamodules.batching.examples import Report, StoredExamples
from datamodules.batching.preference_table import PairSteps
from datamodules.batching.windows import ShuffleOrder
from tests.pairs import make_pairs, table_of
from tokenization.chat import Rendered

SIZES = [1, 2, 7, 8, 9, 16, 31, 32, 33, 100, 500, 1000]
GRID = [(size, n) for size in (*range(1, 13), 17, 24, 31) for n in (*range(1, 13), 16, 40)]


@pytest.mark.parametrize(("size", "n"), GRID)
def test_F38_updates_are_even_and_epochs_whole(size, n):
    """All updates of two whole cycles of epochs, after which borders of epochs and updates meet again."""
    epochs, cycle = Epochs(size, n, seed=5), size // gcd(size, n)
    drawn = [epochs.update(step).tolist() for step in range(2 * cycle)]
    for update in drawn:
        counts = Counter(dict.fromkeys(range(size), 0)) + Counter(update)
        times = [counts[i] for i in range(size)]
        assert max(times) - min(times) <= 1, update
    assert set(Counter(i for update in drawn for i in update).values()) == {2 * n // gcd(size, n)}
    if n <= size:
        places = np.concatenate(drawn).reshape(-1, size)  # one epoch a row
        assert (np.sort(places, axis=1) == np.arange(size)).all()


@pytest.mark.parametrize(("size", "n"), [(13, 8), (15, 8), (100, 8), (5, 8), (1001, 1000)])
def test_N17_an_update_does_not_depend_on_those_before(size, n):
    forward = [Epochs(size, n, 1).update(step).tolist() for step in range(60)]
    for step in (59, 17, 0, 42):
        assert Epochs(size, n, 1).update(step).tolist() == forward[step]


def test_orders_change_with_epoch_and_seed():
    orders = [Epochs(50, 50, seed).update(step).tolist() for seed, step in ((0, 0), (0, 1), (1, 0))]
    assert len(set(map(tuple, orders))) == 3


@pytest.mark.parametrize(("size", "n"), [(33, 8), (64, 8), (500, 64), (12, 8), (5, 8)])
def test_steps_around_is_the_epoch_of_a_step(size, n):
    epochs = Epochs(size, n, 0)
    for step in range(200):
        steps = epochs.steps_around(step)
        assert step in steps
        held = {place // size for k in steps for place in (k * n, (k + 1) * n - 1)}
        assert len(held) == 1 or len(steps) == 1
        assert all(epochs.steps_around(k) == steps for k in steps)


def example(i: int) -> Rendered:
    """Every token says which example it is of; lengths differ."""
    n = 3 + i * 7 % 10
    return Rendered(np.full(n, i + 1), np.arange(n) >= 2)


def examples_of(kind: str, size: int, shape: dict, steps: int) -> list[list[int]]:
    """The examples of each of the first updates."""
    if kind == "pairs":
        table = table_of(make_pairs(size))
        return [[int(i) for m in PairSteps(table, **shape)[k] for i in m["index"]] for k in range(steps)]
    if kind == "windows":
        order = ShuffleOrder(n_tokens=size + 1, seq_len=1, stride=1, seed=3)
        return [order.starts(k, shape["batch_size"] * shape["accumulate"]).tolist() for k in range(steps)]
    stored = StoredExamples([example(i) for i in range(size)], Report())
    if kind == "packed":
        packed = PackedSteps(stored, seq_len=24, pad=0, **shape)
        return [[i for row in packed.numbers(k) for i in row] for k in range(steps)]
    rows = ExampleSteps(stored, grouped=kind == "grouped", pad=0, **shape)
    return [rows.numbers(k).reshape(-1).tolist() for k in range(steps)]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("kind", ["grouped", "plain", "packed", "pairs", "windows"])
def test_F38_an_update_holds_as_many_examples_as_there_are(kind, size):
    """As many as it has rows where the set has them; no example thrice where another is there once."""
    for batch_size, accumulate in ((8, 1), (8, 8)):
        shape = {"batch_size": batch_size, "accumulate": accumulate, "rank": 0, "world_size": 1, "seed": 3}
        for update in examples_of(kind, size, shape, steps=12):
            times = Counter(update)
            assert len(times) >= min(size, batch_size * accumulate)
            assert max(times.values()) - min(times.values()) <= 1
