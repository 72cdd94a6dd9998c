"""Validation of a mixture is also counted source by source."""

import math

import pytest
import torch

from datamodules.mixture import MixtureDataModule
from lightning_modules.sums import Sums, source_metrics, source_sums
from tests.small import make_module, make_trainer
from tokenization.byte import ByteTokenizer


def test_each_target_counts_for_its_source():
    found, nll, sizes = Sums(), torch.tensor([[1.0, 2.0, 4.0, 99.0]]), torch.tensor([3, 0, 2])
    for targets, sources in (([[0, 1, 2, -100]], [[0, 0, 1, -1]]), ([[1, -100, 2, 2]], [[0, -1, 1, 1]])):
        given = torch.tensor(targets), torch.tensor(sources), sizes
        found.add({"sources": source_sums(nll, *given, n_sources=3)})
    sums = found.over_ranks(world_size=1, device=torch.device("cpu"))["sources"]
    assert source_metrics(sums, ["a", "b", "nothing"]) == pytest.approx(
        {
            **{"loss/a": 4 / 3, "bpb/a": 1 / 3 / math.log(2)},  # the second id stands for no text
            **{"loss/b": 107 / 3, "bpb/b": 107 / 6 / math.log(2)},
        }
    )


def test_sources_of_a_mixture_add_up_to_its_loss(tmp_path):
    """Also where a window crosses the border between two."""
    paths = {}
    for name, text in {"easy": "a" * 300, "hard": "the quick brown fox " * 20, "mixed": "ab12 " * 33}.items():
        (tmp_path / f"{name}.txt").write_text(text)
        paths[name] = str(tmp_path / f"{name}.txt")
    data = MixtureDataModule(
        tokenizer=ByteTokenizer(), paths=paths, val_fraction=0.3, cache_dir=str(tmp_path / "cache"), seq_len=8,
        batch_size=4,
    )  # fmt: skip
    module = make_module(vocab_size=257, token_bytes=torch.tensor([1] * 256 + [0]))
    make_trainer(tmp_path / "run", max_steps=3, val_every=3).fit(module, data)
    sizes = [len(folder.val) for folder in data.folders.values()]
    sizes[0] -= 1  # the first token is no target
    losses = [module.measured.val[f"val/loss/{name}"] for name in paths]
    assert len(set(losses)) == 3
    mean = sum(loss * n for loss, n in zip(losses, sizes, strict=True)) / sum(sizes)
    assert module.measured.val["val/loss"] == pytest.approx(mean, rel=1e-9)
    assert module.measured.val["val/bpb/easy"] == pytest.approx(losses[0] / math.log(2))
