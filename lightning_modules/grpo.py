"""Group-relative policy optimisation: an answer is judged against the others to the same question.

Shao et al. 2024 (2402.03300); without the two divisions that bias it (Dr. GRPO, 2503.20783) unless they are asked for:
objective.std and objective.norm. The loss is in rl/losses.py, the baseline in rl/advantages.py.
"""

from typing import Any

from batch import Batch
from errors import RequestError
from lightning_modules.rl.advantages import group_relative
from lightning_modules.rl.policy import PolicyModule


class GRPOModule(PolicyModule):
    """Args: std: advantages are divided by their group's standard deviation."""

    kl_in_loss = True

    def __init__(self, *, std: bool = False, **shared: Any):
        super().__init__(**shared)
        self.std = std
        needs_a_group(self.group, "grpo")

    def advantages(self, rollout: Batch) -> Batch:
        found_PG = group_relative(rollout["scores"].view(-1, self.group), std=self.std)
        return {"advantages": found_PG.reshape(-1, 1).expand_as(rollout["generated"]).contiguous()}


def needs_a_group(group: int, objective: str) -> None:
    """Raises RequestError where an answer has no others to be compared with."""
    if group < 2:
        raise RequestError(
            f"objective.group={group}: objective={objective} compares answers to one question: expected 2 or more.\n"
            "Type objective.group=8."
        )
