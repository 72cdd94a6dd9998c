"""Packed rows hold every token of every document once, and nothing crosses a border (N28, S6)."""

import numpy as np
import pytest
import torch

from batch import IGNORE
from datamodules.batching.packed import pack_documents
from datamodules.kinds.tokens import TokenDataModule
from errors import RequestError
from models.gpt import GPT

TEXTS = [f"document {i}: " + "abcdefghij"[: 3 + i % 7] * (1 + i % 5) for i in range(60)]


@pytest.fixture
def data(make):
    def build(**kwargs) -> TokenDataModule:
        given = {"seq_len": 32, "batch_size": 4, "packing": "bestfit", "doc_mask": True, "sampling": "sequential"}
        module = make(*TEXTS, **{**given, **kwargs})
        module.prepare()
        return module

    return build


def epoch(module, steps: int):
    loader = iter(module.train_dataloader())
    return [micro for _ in range(steps) for micro in next(loader)]


def test_every_target_of_every_document_comes_once_an_epoch(data):
    module = data(batch_size=1)
    micros = epoch(module, module.order().n_windows)
    seen = []
    for micro in micros:
        ids, targets, documents = (micro[name][0].numpy() for name in ("ids", "targets", "documents"))
        counted = targets != IGNORE
        assert np.array_equal(counted, np.cumsum(~counted) == 0)  # padding only at the end
        for number in np.unique(documents[counted]):
            here = counted & (documents == number)
            seen.append(module.tokenizer.decode([*ids[here], targets[here][-1]]))
            assert np.array_equal(ids[here][1:], targets[here][:-1])  # shifted by one, within the document
    eot = "<|endoftext|>"
    text = module.tokenizer.decode(module.folder.train.read(np.array([0]), len(module.folder.train))[0])
    whole = [document + eot for document in text.split(eot)[:-1]]
    short = [document for document in whole if len(document) - len(eot) <= 32]
    assert set(short) <= set(seen)
    assert sum(len(s.replace(eot, "e")) - 1 for s in seen) == sum(len(s.replace(eot, "e")) - 1 for s in whole)


def test_S6_N28_loss_and_gradients_are_those_of_the_documents_alone(data):
    torch.manual_seed(0)
    micro = epoch(data(), 1)[0]
    model = GPT(vocab_size=257, seq_len=32, n_layer=2, n_head=2, n_embd=16, dropout=0.0)
    packed = model(micro["ids"], targets_BT=micro["targets"], documents_BT=micro["documents"]).loss
    gradients = torch.autograd.grad(packed, list(model.parameters()))
    alone = torch.zeros(())
    for ids, targets, documents in zip(micro["ids"], micro["targets"], micro["documents"], strict=True):
        for number in documents[targets != IGNORE].unique():
            here = documents == number
            alone = alone + model(ids[here][None], targets_BT=targets[here][None]).loss
    torch.testing.assert_close(packed, alone, rtol=1e-5, atol=1e-5)
    for got, expected in zip(gradients, torch.autograd.grad(alone, list(model.parameters())), strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-5)


def test_ranks_and_micro_batches_divide_the_same_rows(data):
    def ids(**parts):
        module = data(batch_size=parts.pop("batch_size"))
        for name, value in parts.items():
            setattr(module, name, value)
        return torch.cat([micro["ids"] for micro in epoch(module, 2)])

    whole = ids(batch_size=8)
    parts = [ids(batch_size=2, accumulate=2, rank=rank, world_size=2) for rank in (0, 1)]
    assert torch.equal(whole.sort(dim=0).values, torch.cat(parts).sort(dim=0).values)


def test_the_cost_is_described(data):
    found = data().describe()["packing"]
    assert found["lost_share"] == 0
    assert 0 < found["padding_share"] < 0.15
    assert found["cut_documents_share"] > 0


@pytest.mark.parametrize("sampling", ["random", "shuffle"])
def test_rows_are_drawn_in_every_order(sampling, data):
    module = data(sampling=sampling)
    assert module.order().starts(0, 1000).max() < module.order().n_windows
    assert epoch(module, 1)[0]["ids"].shape == (4, 32)


@pytest.mark.parametrize(("keys", "words"), [({"doc_mask": False}, "doc_mask=true"), ({"stride": 3}, "stride=3")])
def test_what_does_not_go_together(keys, words, data):
    with pytest.raises(RequestError, match=words):
        data(**keys)


def test_documents_of_one_token_have_nothing_to_learn():
    rows = pack_documents(np.array([1, 2, 9]), 4)
    assert (rows.packing.n_rows, rows.n_targets) == (2, 6)
    assert rows.describe()["cut_documents_share"] == pytest.approx(1 / 3, abs=1e-6)
