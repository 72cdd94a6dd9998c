"""One rank of test_pair_ranks.py: trains 3 updates on pairs and resumes for 2 more, writes what it saw.

RANK=0 WORLD_SIZE=2 ... python pair_rank_worker.py <strategy> <folder> <dpo or reward>
"""

import json
import os
import sys
from functools import partial
from pathlib import Path

import torch

from lightning_modules.dpo import DPOModule
from lightning_modules.reward import RewardModule
from models.gpt import GPT
from tasks.trainer import leave_process_group
from tests.pairs import VOCAB, PairData, adam, make_pairs, train


def make(objective: str, folder: Path):
    torch.manual_seed(0)
    model = GPT(vocab_size=VOCAB, seq_len=24, n_layer=2, n_head=2, n_embd=16, bias=False)
    common = {"optimizer": partial(adam, lr=1e-2), "log_every": 1, "seed": 1}
    if objective == "reward":
        return RewardModule(model=RewardModule.prepare_model(model), center_rewards=0.01, **common)
    return DPOModule(model=model, loss_type="sigmoid", beta=0.1, cache_dir=str(folder / "cache"), **common)


def main(strategy: str, folder: Path, objective: str) -> None:
    rank, world = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
    facts = {}
    for steps in (3, 5):
        module = make(objective, folder)
        data = PairData(make_pairs(16), batch_size=2, accumulate=4 // world, rank=rank, world_size=world)
        train(folder, module, data, steps=steps, resume=steps == 5, strategy=strategy)
        facts[steps] = module.measured.train | module.measured.val | {"tokens_seen": module.measured.tokens_seen}
    (folder / f"rank{rank}.json").write_text(json.dumps(facts))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), sys.argv[3])
    leave_process_group()
