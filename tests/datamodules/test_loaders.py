"""N9, N17 where it counts: what real loaders with worker processes hand to each rank, map-style and streaming."""

from itertools import islice

import numpy as np
import pytest
from torch.utils.data import DataLoader

from datamodules.batching.stream import StreamSteps
from datamodules.batching.windows import ShuffleOrder, StepSampler, TrainSteps, ValidationBatches
from datamodules.kinds.steps import as_is
from tests.datamodules.batching.test_stream import Texts
from tokenization.byte import ByteTokenizer

pytestmark = pytest.mark.filterwarnings("ignore:This DataLoader will create")
N = 50  # documents, or windows: no multiple of what they are divided by
TOKENS = 9  # of a document with its end, and of a window: so each window is one document
DOCUMENTS = [f"text {i:03}" for i in range(N)]
DIVISIONS = pytest.mark.parametrize(
    ("ranks", "workers"), [(ranks, workers) for ranks in (1, 2, 4) for workers in (0, 1, 3)]
)


def loader(dataset, sampler, workers: int) -> DataLoader:
    return DataLoader(dataset, batch_size=None, sampler=sampler, num_workers=workers, collate_fn=as_is)


def stream(rank: int, ranks: int, workers: int, *, start: int = 0, states: dict | None = None) -> DataLoader:
    """Five files, which no number of parts divides: each part takes every so-many-eth document."""
    steps = StreamSteps(
        Texts(*[DOCUMENTS[i::5] for i in range(5)]), ByteTokenizer(), seq_len=TOKENS, batch_size=1, accumulate=1,
        rank=rank, world_size=ranks, seed=3, shuffle_buffer=1, shuffled=True, held_out=frozenset(), eot=None,
        start_step=start, states=states or {},
    )  # fmt: skip
    return loader(steps, None, workers)


def texts(steps) -> list[str]:
    return [ByteTokenizer().decode(micro["ids"][0].tolist()[:-1]) for (micro,), *_ in steps]


@DIVISIONS
def test_N9_S31_a_streams_documents_come_once_an_epoch_whoever_reads_them(ranks, workers):
    parts = ranks * max(1, workers)
    fewest, most = N // parts, -(-N // parts)  # documents of a part
    found = [texts(islice(iter(stream(r, ranks, workers)), most * max(1, workers))) for r in range(ranks)]
    assert {len(seen) for seen in found} == {most * max(1, workers)}  # as many steps on every rank, and no end
    early = [text for seen in found for text in seen[: fewest * max(1, workers)]]
    assert len(set(early)) == len(early)
    assert {text for seen in found for text in seen} == set(DOCUMENTS)


@DIVISIONS
def test_N17_S32_a_stream_goes_on_exactly_with_workers_and_again(ranks, workers):
    for rank in {0, ranks - 1}:
        whole = list(islice(iter(stream(rank, ranks, workers)), 40))
        states: dict[int, dict[str, int]] = {}
        for start, stop in ((0, 7), (7, 19), (19, 40)):  # the second stop lies in a later epoch for some
            found = list(islice(iter(stream(rank, ranks, workers, start=start, states=dict(states))), stop - start))
            assert texts(found) == texts(whole[start:stop])
            states |= {worker: state for _, worker, state in found}


@DIVISIONS
def test_N9_every_window_comes_once_an_epoch_whoever_reads_it(ranks, workers, tokens):
    order = ShuffleOrder(len(tokens), TOKENS, TOKENS, seed=5)
    assert order.n_windows == N
    found = []
    for rank in range(ranks):
        steps = TrainSteps(tokens, order, batch_size=1, rank=rank, world_size=ranks)
        loaded = islice(iter(loader(steps, StepSampler(0), workers)), -(-N // ranks))
        found.append([int(micro["ids"][0, 0]) for (micro,) in loaded])
    assert {len(seen) for seen in found} == {-(-N // ranks)}
    early = [first for seen in found for first in seen[: N // ranks]]
    assert len(set(early)) == len(early)
    assert {first for seen in found for first in seen} == {i * TOKENS for i in range(N)}


@DIVISIONS
def test_N41_validation_comes_once_in_equal_steps_whoever_reads_it(ranks, workers, tokens):
    found, lengths = [], set()
    for rank in range(ranks):
        dataset = ValidationBatches(tokens, seq_len=TOKENS, batch_size=2, rank=rank, world_size=ranks)
        batches = list(loader(dataset, range(len(dataset)), workers))
        lengths.add(len(batches))
        found += [i for batch in batches for i in batch["targets"].flatten().tolist() if i >= 0]
    assert len(lengths) == 1
    assert sorted(found) == list(range(1, len(tokens)))


@pytest.fixture
def tokens(tmp_path):
    """Ids that count from 0, so that a token tells where it lies."""
    from datamodules.preparing.token_files import TokenFile

    path = tmp_path / "train.bin"
    np.arange(N * TOKENS + 1, dtype="<u2").tofile(path)
    return TokenFile([path], "uint16")
