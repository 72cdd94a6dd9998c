"""What happened since the last log: means and largest values by name, over updates, rollouts and ranks."""

import torch
import torch.distributed as dist
from torch import Tensor


class Meter:
    """Every rank notes the same names between two readings."""

    def __init__(self) -> None:
        self.sums: dict[str, list[float]] = {}  # name -> [sum, count]
        self.largest: dict[str, float] = {}

    def add(self, name: str, total: Tensor | float, count: Tensor | float) -> None:
        """A mean is sum over count: `rows` of an answer's metric, actions of a token's."""
        entry = self.sums.setdefault(name, [0.0, 0.0])
        entry[0] += float(total)
        entry[1] += float(count)

    def mean(self, name: str, values: Tensor) -> None:
        self.add(name, values.double().sum(), values.numel())

    def most(self, name: str, value: Tensor | float) -> None:
        self.largest[name] = max(self.largest.get(name, float("-inf")), float(value))

    def read(self, *, world_size: int, device: torch.device) -> dict[str, float]:
        """Everything since the last reading, equal on all ranks; what never happened is left out."""
        names, peaks = sorted(self.sums), sorted(self.largest)
        sums = torch.tensor([self.sums[name] for name in names], dtype=torch.float64).reshape(-1, 2)
        largest = torch.tensor([self.largest[name] for name in peaks], dtype=torch.float64)
        if world_size > 1:
            sums, largest = sums.to(device), largest.to(device)
            dist.all_reduce(sums)
            dist.all_reduce(largest, op=dist.ReduceOp.MAX)
        self.sums, self.largest = {}, {}
        means = {name: total / count for name, (total, count) in zip(names, sums.tolist(), strict=True) if count}
        return means | dict(zip(peaks, largest.tolist(), strict=True))
