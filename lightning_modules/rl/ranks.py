"""What ranks tell each other of a rollout. With one of them each function gives back what it was given.

Shapes: P prompts of a rank, N its rows; a prompt's rows lie side by side.
"""

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from batch import Batch
from lightning_modules.rl.rollouts import joined, rows_of
from lightning_modules.sums import Sums


def summed_over_ranks(values: Tensor, *, world_size: int, device: torch.device) -> Tensor:
    """float64, on the CPU."""
    total = Sums()
    total.add({"values": values})
    return total.over_ranks(world_size=world_size, device=device)["values"]


def of_all_ranks(values: Tensor, *, world_size: int) -> Tensor:
    """Values of all ranks, one rank behind the other; each rank has as many."""
    if world_size == 1:
        return values
    found = [torch.zeros_like(values) for _ in range(world_size)]
    dist.all_gather(found, values.contiguous())
    return torch.cat(found)


def whole_rollout(rollout: Batch, places_P: Tensor, *, group: int, world_size: int) -> Batch:
    """Rows of all ranks in the order of their prompts' places, on the CPU: any number of ranks can go on with them."""
    own = (places_P, {name: value.cpu() for name, value in rollout.items()})
    shares: list[Any] = [own]
    if world_size > 1:
        shares = [None] * world_size
        dist.all_gather_object(shares, own)
    all_places = torch.cat([places for places, _ in shares])
    return rows_of(joined([rows for _, rows in shares]), rows_of_groups(all_places.argsort(), group))


def own_rows(whole: Batch, places_P: Tensor, *, group: int, device: torch.device) -> Batch:
    """Of `whole_rollout` the rows of these prompts, in their order."""
    return {name: value.to(device) for name, value in rows_of(whole, rows_of_groups(places_P, group)).items()}


def rows_of_groups(groups_P: Tensor, group: int) -> Tensor:
    """Numbers of the rows of these groups, in their order."""
    return (groups_P.unsqueeze(1) * group + torch.arange(group)).flatten()
