"""Where a run on pairs starts without init_from: from a model that has first learned the chosen answers.

Preferences move a model that can answer; they do not teach one to. So `objective.sft_steps` updates of supervised
fine-tuning on the chosen answers come first, in a folder of their own (start/), which other runs can start from too.
"""

import copy
from functools import partial
from typing import Any

import torch
from omegaconf import DictConfig

from launcher.config.instantiate import build
from lightning_modules.chosen import ChosenModule
from optimization.adamw import adamw
from optimization.schedules import cosine
from tasks import parts


def learn_chosen(cfg: DictConfig, data: Any, model: Any, run: Any) -> None:
    """Trains `model` in place; the same for the same seed, so that a resumed run finds the same start."""
    steps = cfg.objective.sft_steps
    if cfg.get("adapter"):  # a wrong target is said now, not after minutes
        build(cfg.adapter, model=copy.deepcopy(model))
    if run.rank == 0:
        print(f"start   no init_from: {steps} updates on the chosen answers come first", flush=True)
    module = ChosenModule(
        model=model,
        optimizer=partial(adamw, lr=cfg.objective.sft_lr, betas=(0.9, 0.99), eps=1e-8, weight_decay=0.1),
        schedule=partial(cosine, total_steps=steps, warmup_steps=min(50, steps // 10), final_ratio=0.1),
        token_bytes=torch.from_numpy(data.tokenizer.token_bytes()),
        seed=cfg.seed,
        grad_clip=1.0,
        log_every=cfg.trainer.log_every,
        compile_model=False,
    )
    shown = [section for name, section in (cfg.callbacks or {}).items() if name == "progress"]
    section = cfg.trainer.copy()
    section.max_steps = section.val_every = section.checkpoint_every = steps
    trainer = build(
        section,
        run_dir=run.path / "start",
        seq_len=cfg.data.seq_len,
        callbacks=[parts.build_offering(section) for section in shown],
        loggers=[],
    )
    trainer.fit(module, data)
    data.trainer = None
