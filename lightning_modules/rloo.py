"""REINFORCE with the mean of the others as baseline, the pull to the reference in the reward.

Kool et al. 2019; Ahmadian et al. 2024 (2402.14740). With objective.norm=constant and one update a rollout its
expectation is the gradient of reward - kl x KL, times a constant: tests enumerate it.
"""

from typing import Any

from batch import Batch
from lightning_modules.grpo import needs_a_group
from lightning_modules.rl.advantages import leave_one_out
from lightning_modules.rl.checks import mask_of
from lightning_modules.rl.policy import PolicyModule


class RLOOModule(PolicyModule):
    """Everything is as in PolicyModule; kl weighs k1, the log-ratio of a whole answer, in the reward."""

    def __init__(self, **shared: Any):
        super().__init__(**shared)
        needs_a_group(self.group, "rloo")

    def advantages(self, rollout: Batch) -> Batch:
        rewards_N = rollout["scores"]
        if self.kl:
            log_ratio_NT = rollout.get("old", rollout["generated"]) - rollout["ref"]
            rewards_N = rewards_N - self.kl * log_ratio_NT.where(mask_of(rollout), 0.0).sum(1)
        found_PG = leave_one_out(rewards_N.view(-1, self.group))
        return {"advantages": found_PG.reshape(-1, 1).expand_as(rollout["generated"]).contiguous()}
