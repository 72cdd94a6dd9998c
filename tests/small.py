"""Small parts for tests: a data module of random tokens and a whole run without the launcher."""

import time
from functools import partial
from pathlib import Path

import lightning.pytorch as pl
import torch
from torch.utils.data import DataLoader, Dataset, IterableDataset

import stopping
from lightning_modules.causal_lm import CausalLMModule
from models.gpt import GPT
from optimization.adamw import adamw
from optimization.schedules import cosine
from tasks.trainer import build_trainer

VOCAB, SEQ_LEN = 20, 8


def micro(step: int, index: int, rows: int = 2) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(1000 * step + index)
    ids = torch.randint(0, VOCAB, (rows, SEQ_LEN + 1), generator=generator)
    return {"ids": ids[:, :-1], "targets": ids[:, 1:]}


class Steps(IterableDataset):
    """Item k is the micro-batches of update k, from `data.start_step` on."""

    def __init__(self, data: "RandomTokens"):
        self.data = data

    def __iter__(self):
        step = self.data.trainer.global_step
        while True:
            self.data.drawn.append(step)
            yield self.data.make(step)
            step += 1


class Windows(Dataset):
    def __len__(self) -> int:
        return 3

    def __getitem__(self, i: int) -> dict[str, torch.Tensor]:
        return micro(10_000, i)


class RandomTokens(pl.LightningDataModule):
    def __init__(self, make=None):
        super().__init__()
        self.make = make or (lambda step: [micro(step, 0)])
        self.drawn: list[int] = []

    def train_dataloader(self):
        return DataLoader(Steps(self), batch_size=None)

    def val_dataloader(self):
        return DataLoader(Windows(), batch_size=None)


def make_module(*, dropout: float = 0.0, lr: float = 1e-2, vocab_size: int = VOCAB, **settings) -> CausalLMModule:
    torch.manual_seed(0)
    model = GPT(vocab_size=vocab_size, seq_len=SEQ_LEN, n_layer=2, n_head=2, n_embd=8, dropout=dropout)
    return CausalLMModule(
        model=model,
        optimizer=partial(adamw, lr=lr, betas=[0.9, 0.99], eps=1e-8, weight_decay=0.1),
        schedule=partial(cosine, total_steps=40, warmup_steps=3, final_ratio=0.1),
        **({"seed": 1, "grad_clip": 1.0, "log_every": 1} | settings),
    )


def make_trainer(run_dir: Path, *, max_steps: int, callbacks=(), loggers=(), **settings) -> pl.Trainer:
    stopping.reset()  # this process outlives what was stopped in it by an earlier test
    defaults = {
        "max_time": None, "val_every": 5, "checkpoint_every": 7, "log_every": 1, "grad_clip": 1.0, "accumulate": 1,
        "tokens_per_step": None, "compile": False, "profile": None, "accelerator": "cpu", "devices": 1, "nodes": 1,
        "strategy": "single", "precision": "32-true", "began": time.monotonic(),
    }  # fmt: skip
    return build_trainer(
        run_dir=run_dir,
        callbacks=list(callbacks),
        loggers=list(loggers),
        max_steps=max_steps,
        **(defaults | settings),
    )
