"""The data module: loaders that are endless, resumable, the same with workers; windows that do not fit are refused."""

import sys
from collections import Counter
from itertools import islice

import numpy as np
import pytest
import torch

from errors import RequestError

TEXT = "".join(f"{i} green bottles hanging on the wall\n" for i in range(100))


def rows(loader, steps: int) -> list[list[list[list[int]]]]:
    """[steps][accumulate](B, T)"""
    return [[batch["ids"].tolist() for batch in item] for item in islice(iter(loader), steps)]


@pytest.fixture
def ready(make):
    def build(**kwargs):
        data = make(TEXT, **kwargs)
        data.prepare()
        data.accumulate = 2
        return data

    return build


@pytest.mark.parametrize("sampling", ["random", "shuffle", "sequential"])
def test_N17_going_on_at_a_step_gives_what_would_have_come(sampling, ready):
    whole, rest = ready(sampling=sampling), ready(sampling=sampling)
    rest.start_step = 4
    assert rows(rest.train_dataloader(), 3) == rows(whole.train_dataloader(), 7)[4:]


def test_N17_workers_change_nothing(ready):
    alone, helped = ready(), ready(workers=2)
    assert rows(helped.train_dataloader(), 5) == rows(alone.train_dataloader(), 5)
    pairs = zip(alone.val_dataloader(), helped.val_dataloader(), strict=True)
    assert all(torch.equal(a["targets"], b["targets"]) for a, b in pairs)


def test_N17_loading_takes_no_draw_from_torchs_generator(ready):
    data, state = ready(), torch.get_rng_state()
    rows(data.train_dataloader(), 2)
    list(data.val_dataloader())
    assert torch.equal(torch.get_rng_state(), state)


def test_an_attached_trainer_says_where_to_go_on(ready):
    whole, rest = ready(), ready()
    rest.trainer = type("Trainer", (), {"global_step": 3})()
    assert rows(rest.train_dataloader(), 1) == rows(whole.train_dataloader(), 4)[3:]


def test_N9_S31_ranks_and_micro_batches_see_each_window_once_an_epoch(make):
    noise = bytes(np.random.default_rng(0).integers(32, 127, 2000, dtype=np.uint8)).decode()  # no window occurs twice
    seen = []
    for rank in range(2):
        data = make(noise, sampling="shuffle", stride=4)
        data.prepare()
        data.accumulate, data.rank, data.world_size = 2, rank, 2
        steps = data.order().n_windows // (2 * 2 * data.batch_size)  # whole steps of an epoch
        seen += [tuple(row) for item in rows(data.train_dataloader(), steps) for batch in item for row in batch]
    assert len(set(seen)) == len(seen) > 0.9 * data.order().n_windows


def test_val_is_the_same_for_any_batch_size(ready):
    def targets(**kwargs):
        return torch.cat([batch["targets"].flatten() for batch in ready(**kwargs).val_dataloader()])

    found = [targets(val_batch_size=size) for size in (1, 3, 1000)]
    assert all(torch.equal(f[f >= 0], found[0][found[0] >= 0]) for f in found)


def test_doc_mask_adds_documents(make):
    data = make("one document here", "another document", "a third one", val_fraction=0.3, doc_mask=True)
    data.prepare()
    (batch,) = next(iter(data.train_dataloader()))
    assert set(batch) == {"ids", "targets", "documents"}
    assert "documents" in next(iter(data.val_dataloader()))


def test_val_dataset_names_documents(make):
    texts = [f"document number {i} has some text" for i in range(60)]
    data = make(*texts, val_fraction=0.3)
    data.prepare()
    index = torch.cat([batch["document_index"].flatten() for batch in data.val_dataset()])
    counts = torch.bincount(index[index >= 0])
    assert len(counts) == data.describe()["val"]["documents"] > 5
    assert counts[1:].min() >= len("document number 1 has some text") + 1  # its bytes and its end


def test_describe_and_fingerprint(ready, make):
    data = ready()
    about = data.describe()
    assert about["train"]["bytes"] == about["train"]["tokens"] == int(len(TEXT) * 0.9)
    assert about["overlap"]["duplicate_documents"] == 0
    assert about["folder"].endswith(data.folder.path.name)
    assert data.fingerprint == ready(seq_len=5).fingerprint
    other = make(TEXT + "!", folder="other")
    other.prepare()
    assert other.fingerprint != data.fingerprint


def test_a_corpus_shorter_than_one_window(make):
    data = make("0123456789" * 10, seq_len=90)
    with pytest.raises(
        RequestError, match=r"90 tokens, and model\.seq_len=90 needs 91 .*\nType model\.seq_len=89 or less"
    ):
        data.prepare()
    make("0123456789" * 10, seq_len=89).prepare()
    with pytest.raises(RequestError, match="validation text is too short: 1 token"):
        make("0123456789", seq_len=2, folder="tiny").prepare()


def test_use_before_prepare_is_a_mistake_of_ours(make):
    with pytest.raises(RuntimeError, match="call prepare"):
        make(TEXT).train_dataloader()


def test_N22_a_step_costs_python_one_call_for_each_row_at_most(ready):
    """Rows are gathered together: 65 calls and one for each row. Their time is measured by `benchmarks loader`."""
    calls, few, many = [], 2, 64
    for batch_size in (few, many):
        data = ready(seq_len=64, batch_size=batch_size)
        data.accumulate = 1
        steps = iter(data.train_dataloader())
        next(steps)
        counted = Counter()
        sys.setprofile(lambda frame, event, arg, counted=counted: counted.update([event]))
        next(steps)
        sys.setprofile(None)
        calls.append(counted["call"] + counted["c_call"])
    assert calls[1] - calls[0] <= many - few
    assert calls[0] < 130
