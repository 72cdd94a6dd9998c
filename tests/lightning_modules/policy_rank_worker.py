"""One rank of test_policy_ranks.py: trains 3 updates of online RL and resumes for 2 more, writes what it saw.

RANK=0 WORLD_SIZE=2 ... python policy_rank_worker.py <strategy> <folder> <grpo, ppo_own or ppo_shared>
"""

import json
import os
import sys
from pathlib import Path

import torch

from lightning_modules.grpo import GRPOModule
from lightning_modules.ppo import PPOModule
from tasks.trainer import leave_process_group
from tests.prompts import PromptData, make_policy, train

SHARED = {"minibatches": 2, "kl": 0.05, "rows": 5, "dtype": torch.float64}


def main(strategy: str, folder: Path, objective: str) -> None:
    rank, world = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
    kind, _, critic = objective.partition("_")
    settings = {"critic": critic, "critic_lr": 1e-2} if critic else {}
    facts = {}
    for steps in (3, 5):  # in the middle of the second rollout's updates
        data = PromptData(rank=rank, world_size=world)
        module = make_policy({"grpo": GRPOModule, "ppo": PPOModule}[kind], data, **SHARED, **settings)
        train(folder, module, data, steps=steps, resume=steps == 5, strategy=strategy)
        measured = {n: v for n, v in module.measured.train.items() if not n.startswith("time/")}
        facts[steps] = measured | module.measured.val | {"tokens_seen": module.measured.tokens_seen}
    (folder / f"rank{rank}.json").write_text(json.dumps(facts))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), sys.argv[3])
    leave_process_group()
