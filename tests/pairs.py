"""Random ragged pairs for tests of objectives on pairs, without files and templates."""

from pathlib import Path

import lightning.pytorch as pl
import numpy as np
import torch
from torch.utils.data import DataLoader

from datamodules.batching.preference_table import PairBatches, PairSteps, PairTable, to_micro
from datamodules.batching.windows import StepSampler
from tasks.trainer import fit_and_validate
from tests.small import make_trainer

VOCAB = 20
Parts = tuple[list[int], list[int], list[int]]


def make_pairs(n: int, *, seed: int = 0, vocab: int = VOCAB) -> list[Parts]:
    """Prompts of 1 to 8 tokens; completions of 1 to 10. The chosen ones have low ids, the rejected ones high ids."""
    rng = np.random.default_rng(seed)

    def some(low: int, high: int, longest: int) -> list[int]:
        return rng.integers(low, high, rng.integers(1, longest + 1)).tolist()

    return [(some(3, vocab, 8), some(3, vocab // 2, 10), some(vocab // 2, vocab, 10)) for _ in range(n)]


def table_of(pairs: list[Parts], margins: list[float] | None = None) -> PairTable:
    ids = np.concatenate([np.array(part, np.int32) for pair in pairs for part in pair])
    ends = np.cumsum([len(part) for pair in pairs for part in pair]).reshape(-1, 3)
    return PairTable(ids, ends, np.array(margins or [np.nan] * len(pairs), np.float32))


class as_pairs:  # noqa: N801 - reads as a function
    def __init__(self, pairs: list[Parts], margins: list[float] | None = None):
        self.table = table_of(pairs, margins)

    def micro(self, which, *, fill: int = 0) -> dict[str, torch.Tensor]:
        return to_micro(self.table, list(which), fill=fill)


class PairData(pl.LightningDataModule):
    """What a module and a trainer ask of a data module; five more pairs validate."""

    def __init__(self, pairs, *, batch_size, accumulate=1, rank=0, world_size=1, margins=None):
        super().__init__()
        self.table, self.val = table_of(pairs, margins), table_of(make_pairs(5, seed=7), margins and [0.0] * 5)
        self.shape = {"batch_size": batch_size, "rank": rank, "world_size": world_size}
        self.accumulate, self.n_indexed, self.fingerprint = accumulate, len(pairs) + 5, self.table.fingerprint()

    def steps(self):
        return PairSteps(self.table, **self.shape, accumulate=self.accumulate, seed=0)

    def validation(self):
        return PairBatches(self.val, first=len(self.table), **self.shape)

    def epoch_batches(self):
        for step in range(self.steps().steps_per_epoch):
            yield from self.steps()[step]
        yield from self.validation()

    def train_dataloader(self):
        return DataLoader(self.steps(), batch_size=None, sampler=StepSampler(self.trainer.global_step))

    def val_dataloader(self):
        batches = self.validation()
        return DataLoader(batches, batch_size=None, sampler=range(len(batches)))


def train(folder: Path, module, data, *, steps: int, resume: bool = False, **settings) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    trainer = make_trainer(folder, max_steps=steps, val_every=100, **settings)
    fit_and_validate(trainer, module, data, folder / "checkpoints/last.ckpt" if resume else None)


def sgd(*, model, lr=1.0):
    trainable = [p for p in model.parameters() if p.requires_grad]
    return torch.optim.SGD([{"params": trainable, "initial_lr": lr}], lr=lr)


def adam(*, model, lr):
    trainable = [p for p in model.parameters() if p.requires_grad]
    return torch.optim.Adam([{"params": trainable, "initial_lr": lr}], lr=lr)
