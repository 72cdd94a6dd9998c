"""Which examples an update sees: a function of seed and step; ranks disjoint; packed equals one by one (N28)."""

import numpy as np
import pytest
import torch

from datamodules.batching.example_batches import ExampleSteps, PackedSteps, ValidationExamples
from datamodules.batching.examples import GeneratedExamples, Report, StoredExamples
from lightning_modules.update import supervised_tokens
from models.gpt import GPT
from tokenization.chat import Rendered


def example(i: int) -> Rendered:
    """Every token says which example it is of; lengths from 3 to 12."""
    n = 3 + i * 7 % 10
    return Rendered(np.full(n, i + 1), np.arange(n) >= 2)


def stored(n: int) -> StoredExamples:
    return StoredExamples([example(i) for i in range(n)], Report())


ENDLESS = GeneratedExamples(example)
SHAPE = {"batch_size": 2, "accumulate": 2, "rank": 0, "world_size": 1, "seed": 3, "pad": 0}


def seen(batches) -> list[int]:
    """Examples of a step, from the ids in its rows."""
    return sorted(int(row[0]) - 1 for micro in batches for row in micro["ids"])


@pytest.mark.parametrize("grouped", [True, False])
@pytest.mark.parametrize("examples", [stored(64), ENDLESS], ids=["stored", "endless"])
def test_N17_a_step_is_a_function_of_seed_and_step(examples, grouped):
    first = ExampleSteps(examples, grouped=grouped, **SHAPE)
    later = ExampleSteps(examples, grouped=grouped, **SHAPE)
    for step in (0, 5, 17):
        assert all(torch.equal(a["ids"], b["ids"]) for a, b in zip(first[step], later[step], strict=True))


@pytest.mark.parametrize("grouped", [True, False])
def test_every_example_once_an_epoch_each_in_another_order(grouped):
    steps = ExampleSteps(stored(64), grouped=grouped, **SHAPE)
    epochs = [[i for step in range(16 * e, 16 * e + 16) for i in seen(steps[step])] for e in range(2)]
    assert sorted(epochs[0]) == sorted(epochs[1]) == list(range(64))
    assert epochs[0] != epochs[1]


def test_endless_examples_never_come_again():
    steps = ExampleSteps(ENDLESS, grouped=False, **SHAPE)
    assert steps.numbers(10**9).reshape(-1).tolist() == [4 * 10**9 + i for i in range(4)]


def test_grouped_rows_are_of_like_length():
    spread = {}
    for grouped in (True, False):
        steps = ExampleSteps(stored(64), grouped=grouped, **SHAPE)
        lengths = [[int((row != 0).sum()) for micro in steps[k] for row in micro["ids"]] for k in range(16)]
        spread[grouped] = np.mean([max(row) - min(row) for row in lengths])
    assert spread[True] < spread[False] / 3


@pytest.mark.parametrize("grouped", [True, False])
@pytest.mark.parametrize("division", [(1, 4, 1), (4, 1, 1), (1, 2, 2), (1, 1, 4)], ids=str)
def test_N18_an_update_sees_the_same_examples_however_it_is_divided(division, grouped):
    accumulate, world, rows = division
    whole = ExampleSteps(stored(64), grouped=grouped, **SHAPE | {"batch_size": 4, "accumulate": 1})
    for step in (0, 3, 20):
        parts = []
        for rank in range(world):
            shape = SHAPE | {"batch_size": rows, "accumulate": accumulate, "world_size": world, "rank": rank}
            parts += seen(ExampleSteps(stored(64), grouped=grouped, **shape)[step])
        assert sorted(parts) == seen(whole[step])


@pytest.mark.parametrize("examples", [stored(50), ENDLESS], ids=["stored", "endless"])
def test_packed_rows_hold_each_example_whole(examples):
    steps = PackedSteps(examples, seq_len=24, **SHAPE)
    found = []
    for step in range(5):
        for micro in steps[step]:
            for ids, documents in zip(micro["ids"].numpy(), micro["documents"].numpy(), strict=True):
                for number in np.unique(documents):
                    inside = ids[documents == number]
                    if inside[0]:  # not padding
                        assert (inside == inside[0]).all()
                        assert len(inside) == len(example(int(inside[0]) - 1).ids) - 1
                        found.append(int(inside[0]))
    assert steps.filled > (0.9 if examples.size else 0.7)
    assert examples.size or len(found) == len(set(found))


def test_packed_rows_cover_an_epoch():
    steps = PackedSteps(stored(50), seq_len=24, **SHAPE | {"batch_size": 1, "accumulate": 1})
    rows = steps.plan.n_rows
    ids = [i for step in range(rows) for i in np.unique(steps[step][0]["ids"].numpy()).tolist() if i]
    assert sorted(ids) == list(range(1, 51))


@pytest.mark.parametrize("batch_size", [1, 3, 7])
@pytest.mark.parametrize("world_size", [1, 2, 4])
def test_N41_validation_sees_each_example_once(batch_size, world_size):
    counts = []
    indices = []
    for rank in range(world_size):
        data = ValidationExamples(stored(7), batch_size=batch_size, rank=rank, world_size=world_size, pad=0)
        batches = [data[i] for i in range(len(data))]
        counts.append(len(batches))
        for batch in batches:
            for row, targets in zip(batch["document_index"], batch["targets"], strict=True):
                assert ((row == -1) == (targets == -100)).all()
                indices += set(row.tolist()) - {-1}
    assert len(set(counts)) == 1
    assert sorted(indices) == list(range(7))


def tiny_model(**settings) -> GPT:
    torch.manual_seed(0)
    return GPT(vocab_size=60, seq_len=32, n_layer=2, n_head=2, n_embd=16, **settings)


def test_N28_packed_loss_and_gradients_equal_those_of_rows_apart():
    examples = StoredExamples(
        [Rendered(np.random.default_rng(i).integers(0, 60, 4 + i), np.arange(4 + i) >= 2) for i in range(6)], Report()
    )
    pack = PackedSteps(examples, seq_len=32, **SHAPE | {"batch_size": 1, "accumulate": 1})
    apart = ValidationExamples(examples, batch_size=6, rank=0, world_size=1, pad=0)[0]
    model = tiny_model()
    results = []
    for batches in ([apart], [pack[step][0] for step in range(pack.plan.n_rows)]):
        model.zero_grad()
        for micro in batches:
            model(
                micro["ids"],
                targets_BT=micro["targets"],
                documents_BT=micro.get("documents"),
                sparse_targets=True,
            ).loss.backward()
        tokens = sum(map(supervised_tokens, batches))
        results.append((tokens, [p.grad / tokens for p in model.parameters()]))
    assert results[0][0] == results[1][0]
    for a, b in zip(results[0][1], results[1][1], strict=True):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=0)


def test_N28_one_document_leaves_the_others_bit_equal():
    examples = [Rendered(np.arange(i, i + 9), np.arange(9) >= 2) for i in range(3)]
    steps = PackedSteps(StoredExamples(examples, Report()), seq_len=24, **SHAPE | {"batch_size": 1, "accumulate": 1})
    micro = steps[0][0]
    changed = micro["ids"].clone()
    changed[micro["documents"] == 0] += 20
    model = tiny_model().eval()
    with torch.no_grad():
        before, after = (
            model(ids, documents_BT=micro["documents"], logits="all").logits for ids in (micro["ids"], changed)
        )
    others = micro["documents"] != 0
    assert torch.equal(before[others], after[others])
    assert not torch.equal(before[~others], after[~others])
