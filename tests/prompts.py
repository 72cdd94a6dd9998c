"""Random ragged prompts for tests of online RL, without files and templates: reward is the share of one token."""

from pathlib import Path
from types import SimpleNamespace

import lightning.pytorch as pl
import numpy as np
import torch
from torch.utils.data import DataLoader

from datamodules.batching.prompts import PromptBatches, Prompts, PromptSteps, Question
from datamodules.batching.windows import StepSampler
from models.gpt import GPT
from rewards.base import Reward
from tasks.trainer import fit_and_validate
from tests.pairs import adam
from tests.small import make_trainer

VOCAB, END, A = 12, 1, 5


class Words:
    """A tokenizer of numbers: "5 7 3"."""

    def decode(self, ids) -> str:
        return " ".join(map(str, ids))


class ShareOfA(Reward):
    """How much of an answer is token A; the end does not count."""

    def forward(self, answers):
        return torch.tensor(
            [ids.count(A) / max(1, len([i for i in ids if i != END])) for ids in map(list, answers.ids)]
        )


class Fixed(Reward):
    """A number for each answer, by its text."""

    def __init__(self, of, **shared):
        super().__init__(**shared)
        self.of = of

    def forward(self, answers):
        return torch.tensor([float(self.of(text)) for text in answers.texts])


def make_prompts(n: int, *, seed: int = 0) -> list[Question]:
    rng = np.random.default_rng(seed)
    ids = [rng.integers(2, VOCAB, rng.integers(1, 5)) for _ in range(n)]
    return [Question(p, " ".join(map(str, p.tolist())), "5 5 5") for p in ids]


class PromptData(pl.LightningDataModule):
    """What the module and a trainer ask of a data module."""

    provides = ("prompts",)
    end, accumulate = END, 1

    def __init__(self, n: int = 24, *, rank: int = 0, world_size: int = 1, answers: str | None = None):
        super().__init__()
        self.sides = {"train": make_prompts(n), "val": make_prompts(6, seed=9)}
        self.rank, self.world_size, self.updates_per_item = rank, world_size, 1
        if answers:
            self.answers = answers

    def prompts(self, side):
        return Prompts(len(self.sides[side]), self.sides[side].__getitem__)

    def serve_prompts(self, *, per_item, held_out):
        self.per_item, self.held = per_item, held_out

    def train_dataloader(self):
        steps = PromptSteps(len(self.sides["train"]), per_item=self.per_item, seed=3)
        sampler = StepSampler(self.trainer.global_step, repeats=self.updates_per_item)
        return DataLoader(steps, batch_size=None, sampler=sampler)

    def val_dataloader(self):
        held = PromptBatches(6, batch_size=4, rank=self.rank, world_size=self.world_size)
        return DataLoader(held, batch_size=None, sampler=range(len(held)))


def make_policy(kind, data, *, dropout=0.0, seed=0, lr=1e-2, reward=None, model=None, dtype=torch.float32, **settings):
    torch.manual_seed(seed)
    model = model or GPT(vocab_size=VOCAB, seq_len=16, n_layer=1, n_head=2, n_embd=32, dropout=dropout).to(dtype)
    defaults = {
        "prompts": 8, "max_new_tokens": 6, "val_prompts": 6, "val_group": 2, "seed": 1, "log_every": 1,
        "grad_clip": 1.0,         "truncated": "rule",
    } | ({} if kind.__name__ == "PPOModule" else {"group": 4})  # fmt: skip
    module = kind(
        model=model, data=data, tokenizer=Words(), reward=reward or {"a": ShareOfA()},
        optimizer=lambda *, model: adam(model=model, lr=lr), **(defaults | settings),
    )  # fmt: skip
    data.updates_per_item = module.updates_per_item
    module.begin(SimpleNamespace(data=data, from_scratch=False, rank=data.rank, resumed=False))
    return module


def train(folder: Path, module, data, *, steps: int, resume: bool = False, **settings) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    trainer = make_trainer(folder, max_steps=steps, **({"val_every": 1000, "monitor": "val/reward"} | settings))
    fit_and_validate(trainer, module, data, folder / "checkpoints/last.ckpt" if resume else None)
