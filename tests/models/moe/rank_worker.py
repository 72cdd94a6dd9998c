"""One rank of tests/models/moe/test_training.py: four updates of a small mixture, on its share of each batch.

RANK=0 WORLD_SIZE=2 ... python rank_worker.py <strategy> <router> <folder>
"""

import json
import os
import sys
from functools import partial
from pathlib import Path

import torch

from lightning_modules.causal_lm import CausalLMModule
from models.layers.moe.settings import MoESettings
from models.transformer import Transformer
from optimization.adamw import adamw
from optimization.schedules import constant
from tests.small import SEQ_LEN, VOCAB, RandomTokens, make_trainer, micro


def make_module(**settings) -> CausalLMModule:
    torch.manual_seed(0)
    moe = MoESettings(**{"n_experts": 4, "top_k": 2, "ff": 8} | settings)
    model = Transformer(vocab_size=VOCAB, seq_len=SEQ_LEN, n_layer=2, n_head=2, n_embd=8, n_kv_head=1, moe=moe)
    return CausalLMModule(
        model=model,
        optimizer=partial(adamw, lr=1e-2, betas=[0.9, 0.99], eps=1e-8, weight_decay=0.1),
        schedule=partial(constant, warmup_steps=0),
        seed=1,
        grad_clip=1.0,
        log_every=2,
    )


def main(strategy: str, router: str, folder: Path) -> None:
    rank, world = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
    module = make_module(router=router, lb_coef=0.5, bias_update=0.1)

    def share(step: int) -> list[dict[str, torch.Tensor]]:
        """Two micro-batches of four rows per update, each cut up over the ranks."""
        size = 4 // world
        return [{k: v[rank * size : (rank + 1) * size] for k, v in micro(step, i, rows=4).items()} for i in range(2)]

    trainer = make_trainer(folder, max_steps=4, strategy=strategy)
    trainer.fit(module, RandomTokens(share))
    (folder / f"rank{rank}.json").write_text(json.dumps(module.measured.train | module.measured.val))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], Path(sys.argv[3]))
