"""Which windows a step sees, and what a batch of them holds."""

from collections import Counter

import numpy as np
import pytest
import torch

from datamodules.batching.windows import (
    IGNORE,
    ORDERS,
    RandomOrder,
    SequentialOrder,
    ShuffleOrder,
    TrainSteps,
    ValidationBatches,
    to_batch,
)
from datamodules.preparing.token_files import TokenFile


@pytest.fixture
def tokens(tmp_path):
    """n tokens 1, 2, 3, ..."""

    def of(n: int) -> TokenFile:
        np.arange(1, n + 1, dtype="<u2").tofile(tmp_path / "t.bin")
        return TokenFile([tmp_path / "t.bin"], "uint16")

    return of


def starts(order, steps: int, n: int) -> np.ndarray:
    return np.concatenate([order.starts(step, n) for step in range(steps)])


def test_targets_are_the_next_tokens():
    batch = to_batch(np.array([[5, 6, 7, 8]], dtype=np.uint16), eot=None)
    assert batch["ids"].tolist() == [[5, 6, 7]]
    assert batch["targets"].tolist() == [[6, 7, 8]]
    assert set(batch) == {"ids", "targets"}
    assert all(x.dtype == torch.int64 and x.is_contiguous() for x in batch.values())


def test_S6_no_target_lies_in_another_document():
    batch = to_batch(np.array([[5, 0, 6, 7, 0, 0, 8]], dtype=np.uint16), eot=0)
    assert batch["documents"].tolist() == [[0, 0, 1, 1, 1, 2]]
    assert batch["documents"].dtype == torch.int32
    assert batch["targets"].tolist() == [[0, IGNORE, 7, 0, IGNORE, IGNORE]]  # the end of a document is predicted


@pytest.mark.parametrize("kind", ORDERS.values())
def test_N17_a_step_is_a_pure_function_of_seed_and_step(kind):
    order, again, other = kind(1000, 8, 3, 1), kind(1000, 8, 3, 1), kind(1000, 8, 3, 2)
    forward = [order.starts(step, 12).tolist() for step in range(200)]
    assert [again.starts(step, 12).tolist() for step in reversed(range(200))] == forward[::-1]
    assert (other.starts(5, 12).tolist() == forward[5]) == (kind is SequentialOrder)
    assert all(0 <= start <= 1000 - 9 for step in forward for start in step)


def test_random_reaches_every_offset_about_equally():
    counts = np.bincount(starts(RandomOrder(25, 5, 5, 0), 1000, 20))
    assert len(counts) == 20  # nanoGPT's randint(len(data) - block_size)
    assert ((counts - 1000) ** 2 / 1000).sum() < 55  # chi-squared, 19 degrees of freedom: p < 1e-4


@pytest.mark.parametrize("stride", [1, 3, 8, 20])
def test_shuffle_takes_every_window_once_an_epoch(stride):
    order = ShuffleOrder(100, 8, stride, 0)
    assert order.n_windows == len(range(0, 100 - 8, stride))
    seen = starts(order, 2 * order.n_windows, 5)[: 10 * order.n_windows].reshape(
        -1, order.n_windows
    )  # (epochs, windows)
    for epoch in seen:
        assert sorted(epoch.tolist()) == list(range(0, 100 - 8, stride))
    assert order.n_windows < 4 or len({tuple(epoch) for epoch in seen.tolist()}) > 5


def test_shuffle_when_a_step_is_longer_than_an_epoch():
    found = starts(ShuffleOrder(28, 8, 8, 0), 3, 10).reshape(3, 10)  # 3 windows an epoch, 10 an update
    assert [sorted(Counter(step).values()) for step in found.tolist()] == [[3, 3, 4]] * 3
    assert set(Counter(found.reshape(-1).tolist()).values()) == {10}


def test_sequential_goes_round():
    assert SequentialOrder(28, 8, 8, 0).starts(1, 4).tolist() == [8, 16, 0, 8]


def test_one_window_is_enough(tokens):
    for kind in ORDERS.values():
        (batch,) = TrainSteps(tokens(9), kind(9, 8, 8, 0), batch_size=2)[7]
        assert batch["ids"].tolist() == [list(range(1, 9))] * 2


@pytest.mark.parametrize("kind", ORDERS.values())
@pytest.mark.parametrize(("accumulate", "world_size", "batch_size"), [(1, 1, 12), (3, 1, 4), (2, 3, 2), (1, 4, 3)])
def test_N18_S3_the_global_batch_does_not_depend_on_its_division(kind, accumulate, world_size, batch_size, tokens):
    files, order = tokens(500), kind(500, 8, 2, 3)
    whole = sorted(TrainSteps(files, order, batch_size=12)[4][0]["ids"].tolist())
    parts = []
    for rank in range(world_size):
        shape = {"batch_size": batch_size, "accumulate": accumulate, "rank": rank, "world_size": world_size}
        batches = TrainSteps(files, order, **shape)[4]
        assert [batch["ids"].shape for batch in batches] == [(batch_size, 8)] * accumulate
        parts += [row for batch in batches for row in batch["ids"].tolist()]
    assert sorted(parts) == whole


@pytest.mark.parametrize("n", [2, 8, 9, 10, 57, 58, 64])
@pytest.mark.parametrize("world_size", [1, 2, 4])
@pytest.mark.parametrize("batch_size", [1, 3, 100])
def test_N41_validation_covers_each_token_once_on_any_number_of_ranks(n, world_size, batch_size, tokens):
    files, seen, lengths = tokens(n), [], set()
    for rank in range(world_size):
        batches = ValidationBatches(files, seq_len=8, batch_size=batch_size, rank=rank, world_size=world_size)
        lengths.add(len(batches))
        for i in range(len(batches)):
            batch = batches[i]
            real = batch["targets"] != IGNORE
            assert (batch["targets"] - batch["ids"])[real].eq(1).all()
            seen += batch["targets"][real].tolist()
    assert sorted(seen) == list(range(2, n + 1))
    assert len(lengths) == 1


def test_validation_is_in_order_and_ends(tokens):
    batches = ValidationBatches(tokens(20), seq_len=4, batch_size=2)
    assert torch.cat([batch["ids"][:, 0] for batch in batches]).tolist()[:5] == [1, 5, 9, 13, 17]


def test_document_index_of_each_target(tokens):
    batches = ValidationBatches(tokens(7), seq_len=4, batch_size=1, document_ends=np.array([3, 5, 7]))
    assert [batch["document_index"].tolist() for batch in batches] == [[[0, 0, 1, 1]], [[2, 2, -1, -1]]]


def test_steps_share_no_draws():
    order = RandomOrder(10**12, 8, 8, 0)
    assert len(np.unique(starts(order, 100, 50))) == 5000
