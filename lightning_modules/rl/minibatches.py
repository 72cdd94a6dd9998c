"""Which rank answers which prompt of a rollout, and which of its rows an update is over.

Shapes: P prompts, G answers to each, N = P G rows, T tokens.
"""

import torch
from torch import Tensor

from batch import IGNORE, Batch
from lightning_modules.rl.checks import mask_of
from lightning_modules.rl.losses import Norm, units
from lightning_modules.rl.rollouts import MINIBATCH, rows_of
from lightning_modules.update import step_seed


def deal(prompts: int, *, minibatches: int, seed: int, item: int, rank: int, world_size: int) -> Tensor:
    """(minibatches, own) places among a rollout's prompts: this rank's part of each minibatch.

    Minibatches are whole groups, drawn over all prompts before ranks come into it: each update is over the same rows
    for any number of ranks.
    """
    generator = torch.Generator().manual_seed(step_seed(seed, item, MINIBATCH))
    order_MP = torch.randperm(prompts, generator=generator).view(minibatches, -1)
    return order_MP[:, rank::world_size]


def turn_of(turn: int, *, minibatches: int, seed: int, item: int) -> int:
    """Which minibatch the rollout's update `turn` is over: epochs change their order only."""
    epoch, place = divmod(turn, minibatches)
    generator = torch.Generator().manual_seed(step_seed(seed + 1 + epoch, item, MINIBATCH))
    return int(torch.randperm(minibatches, generator=generator)[place])


def micro_batches(
    rollout: Batch, *, which: int, minibatches: int, rows: int, norm: Norm, longest: int, every_row: bool
) -> list[Batch]:
    """A rank's rows of minibatch `which`, `rows` to a forward pass. The first says what the loss is divided by.

    Args:
        longest: tokens that an answer may have. every_row: rows without an advantage have a gradient too.
    """
    per = len(rollout["ids"]) // minibatches
    whole = rows_of(rollout, torch.arange(which * per, (which + 1) * per))
    whole = {name: value for name, value in whole.items() if name not in ("generated", "scores", "stopped")}
    whole["targets"] = whole["targets"].where(whole["counted"].unsqueeze(1), IGNORE)
    size = units(norm, rows=per, actions=int(mask_of(whole).sum()), longest=longest)
    used = torch.arange(per) if every_row or "values" in whole else with_gradient(whole)
    longest_N = longest_of_group(whole["lengths"].cpu(), whole["asked"].cpu())  # rows are numbered on the CPU
    order = used[longest_N[used].argsort(stable=True)]
    micros = [rows_of(whole, some) for some in order.split(rows)]
    return [micro | {"units": torch.tensor(size if i == 0 else 0)} for i, micro in enumerate(micros)]


def longest_of_group(lengths_N: Tensor, asked_N: Tensor) -> Tensor:
    """(N,) of each row, the length of the longest answer to its question.

    Rows in this order have little padding, and what a question's answers begin with stands in one forward pass.
    """
    _, which_N = asked_N.unique(return_inverse=True)
    return torch.zeros_like(lengths_N).scatter_reduce(0, which_N, lengths_N, "amax")[which_N]


def with_gradient(whole: Batch) -> Tensor:
    """Rows with an advantage; at least one, since ranks wait for each other's."""
    used = ((whole["advantages"] != 0) & mask_of(whole)).any(1).nonzero().squeeze(1).cpu()
    return used if len(used) else torch.arange(1)
