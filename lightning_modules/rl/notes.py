"""What is told of rollouts and updates; names as TRL has them where they mean the same.

Shapes: N rows, T tokens.
"""

from torch import Tensor

from batch import Batch
from lightning_modules.rl.checks import largest, mask_of
from lightning_modules.rl.losses import Bounds, clipped
from lightning_modules.rl.meter import Meter
from rewards.base import Answers


def note_rollout(
    meter: Meter, rollout: Batch, answers: Answers, parts: dict[str, Tensor], scores_N: Tensor, *, kl: float
) -> None:
    """Rewards with their weights in them (N63), lengths of what was written, masked or not (N46), KL, entropy.

    Args:
        scores_N: the weighted sum of `parts`, not whitened. kl: weight of the pull to the reference.
    """
    mask_NT, old_NT = mask_of(rollout), rollout.get("old", rollout["generated"])
    meter.mean("objective/scores", scores_N)
    meter.add("objective/entropy", -old_NT[mask_NT].sum(), mask_NT.sum())
    if "ref" in rollout:
        kl_N = (old_NT - rollout["ref"]).where(mask_NT, 0.0).sum(1).cpu()
        meter.mean("objective/kl", kl_N)
        meter.mean("objective/non_score_reward", -kl * kl_N)
        meter.mean("objective/rlhf_reward", scores_N - kl * kl_N)
    for name, values_N in parts.items():
        meter.mean(f"reward/{name}", values_N)
    if answers.right is not None:
        meter.mean("rollout/exact_match", answers.right)
        meter.add("reward/agreement", *agreement(scores_N, answers.right))
    meter.mean("rollout/length", mask_NT.sum(1))
    meter.mean("rollout/truncated", ~rollout["stopped"])
    meter.mean("rollout/used", ((rollout["advantages"] != 0) & mask_NT).any(1) & rollout["counted"])
    if "old" in rollout:
        meter.most("rollout/gap", largest((old_NT - rollout["generated"]).abs(), mask_NT))


def note_update(
    meter: Meter, log_ratio_NT: Tensor, losses_NT: Tensor, advantages_NT: Tensor, mask_NT: Tensor, bounds: Bounds
) -> None:
    """How far an update's policy is from the one that wrote the rollout. Args: log_ratio_NT: 0 outside `mask_NT`."""
    actions = mask_NT.sum()
    meter.add("policy/clipfrac_avg", (clipped(log_ratio_NT, advantages_NT, bounds) & mask_NT).sum(), actions)
    meter.add("policy/approxkl_avg", 0.5 * log_ratio_NT.square().sum(), actions)
    meter.most("policy/ratio_max", log_ratio_NT.exp().max())
    meter.add("loss/policy_avg", losses_NT.where(mask_NT, 0.0).sum(), actions)


def agreement(scores_N: Tensor, right_N: Tensor) -> tuple[float, int]:
    """Of all pairs of a right and a wrong answer: how many does the reward tell apart (a tie is half), and how many."""
    difference = scores_N[right_N].unsqueeze(1) - scores_N[~right_N]
    return float((difference > 0).sum() + 0.5 * (difference == 0).sum()), difference.numel()
