"""Stages trained without a run folder: what the benchmarks of boosting share."""

from functools import partial
from pathlib import Path
from typing import Any

import torch

from lightning_modules.base import LanguageModule, Start
from lightning_modules.gbft import GBFTModule
from models.boosting.ensemble import Boosted
from optimization.adamw import adamw
from optimization.schedules import cosine
from tasks.trainer import build_trainer


def trainer_for(steps: int, folder: Path) -> Any:
    return build_trainer(
        run_dir=folder, callbacks=[], loggers=[], max_steps=steps, began=0.0, max_time=None,
        val_every=10**9, checkpoint_every=10**9, log_every=10**9, grad_clip=1.0, accumulate=1,
        tokens_per_step=None, compile=False, profile=None, accelerator="cpu", devices=1, nodes=1,
        strategy="single", precision="32-true",
    )  # fmt: skip


def fit_stages(
    kind: type[GBFTModule], model: Boosted, data: Any, folder: Path, *, lr: float, warmup_steps: int = 10, seed: int = 0
) -> GBFTModule:
    """Trains the stages of `model` that are not there yet; validation is left out."""
    module = kind(
        strategy="single",
        adapter=None,
        model=model,
        seed=seed,
        grad_clip=1.0,
        optimizer=partial(adamw, lr=lr, betas=[0.9, 0.98], eps=1e-8, weight_decay=0.0),
        schedule=partial(cosine, total_steps=model.plan.steps_per_stage, warmup_steps=warmup_steps, final_ratio=0.1),
    )
    without_validation(data)
    trainer = trainer_for(module.run_length(10**9), folder)
    module.begin(Start(data, folder, weights="base", resumed=False, rank=1, train=never, reference_text=never))
    trainer.fit(module, data)
    return module


def fit_short(module: LanguageModule, data: Any, *, steps: int, folder: Path) -> None:
    """A run without stages: a base."""
    without_validation(data)
    trainer_for(steps, folder).fit(module, data)


def without_validation(data: Any) -> None:
    data.val_dataloader = lambda: torch.utils.data.DataLoader([], batch_size=None)


def never(*_: Any, **__: Any) -> None:
    raise AssertionError("the base is there; nothing is learned before the stages")
