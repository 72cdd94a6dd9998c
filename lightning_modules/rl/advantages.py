"""Advantages: how much better an action was than what was to be expected. Pure functions.

Shapes: P prompts, G answers to each (a group), N = P G rows, T tokens; a group's rows lie side by side (N58).
"""

import torch
from torch import Tensor


def group_relative(rewards_PG: Tensor, *, std: bool) -> Tensor:
    """Reward minus its group's mean; with `std` over the group's standard deviation.

    GRPO (Shao et al. 2024, 2402.03300, section 4.1.2). Without `std`, questions that are nearly always or nearly never
    answered do not count for more than others (Dr. GRPO, 2503.20783).
    """
    centred_PG = rewards_PG - rewards_PG.mean(1, keepdim=True)
    return centred_PG / (rewards_PG.std(1, keepdim=True) + 1e-4) if std else centred_PG


def leave_one_out(rewards_PG: Tensor) -> Tensor:
    """Reward minus the mean of the group's others: an unbiased baseline (Kool et al. 2019; RLOO, 2402.14740)."""
    G = rewards_PG.shape[1]
    return (rewards_PG - rewards_PG.mean(1, keepdim=True)) * (G / (G - 1))


def gae(rewards_NT: Tensor, values_NT: Tensor, mask_NT: Tensor, *, gamma: float, lam: float) -> Tensor:
    """(N, T) generalised advantages at the actions of `mask_NT`, 0 elsewhere (Schulman et al., 1506.02438, eq. 16).

    What lies between two actions, tokens that a tool wrote, is passed over: the second comes right after the first.
    After a row's last action there is nothing more to come: the value is 0 there, whatever stands in the padding (N52).
    """
    after_N = next_value_N = torch.zeros_like(values_NT[:, 0])
    found_NT = torch.zeros_like(values_NT)
    for t in reversed(range(values_NT.shape[1])):
        here_N = mask_NT[:, t]
        delta_N = rewards_NT[:, t] + gamma * next_value_N - values_NT[:, t]
        after_N = torch.where(here_N, delta_N + gamma * lam * after_N, after_N)
        next_value_N = torch.where(here_N, values_NT[:, t], next_value_N)
        found_NT[:, t] = after_N.where(here_N, 0.0)
    return found_NT


def token_rewards(scores_N: Tensor, log_ratio_NT: Tensor, mask_NT: Tensor, *, kl: float) -> Tensor:
    """(N, T): -kl x log(policy / reference) at each action, and the score at the last one (2203.02155, eq. 2)."""
    rewards_NT = torch.where(mask_NT, -kl * log_ratio_NT, 0.0)
    last_N = last_action(mask_NT)
    return rewards_NT.scatter_add(1, last_N.unsqueeze(1), scores_N.to(rewards_NT.dtype).unsqueeze(1))


def last_action(mask_NT: Tensor) -> Tensor:
    """(N,) column of each row's last action."""
    columns_T = torch.arange(mask_NT.shape[1], device=mask_NT.device)
    return torch.where(mask_NT, columns_T, 0).amax(1)


def moments(values: Tensor) -> Tensor:
    """(3,) float64: number, sum and sum of squares; added up over ranks they give `whitened` its mean and spread."""
    values = values.detach().cpu().double()
    return torch.stack([torch.tensor(float(values.numel()), dtype=torch.float64), values.sum(), values.square().sum()])


def whitened(values: Tensor, moments_3: Tensor) -> Tensor:
    """Mean 0 and standard deviation 1 over all that `moments_3` has seen."""
    n, total, squares = moments_3.tolist()
    mean = total / n
    std = max(squares / n - mean * mean, 0.0) ** 0.5
    return (values - mean) / (std + 1e-8)
