"""Validation of a mixture, source by source: val/loss/<source> and val/bpb/<source>.

B rows, T tokens, S sources. A batch of a mixture carries "source", (B, T): which source each target is from.
"""

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from models.layers.loss import IGNORE


class BySource:
    """Sums over validation tokens by source: nats and tokens of all targets, nats and bytes of those that are text."""

    def __init__(self, names: Sequence[str]):
        self.names = list(names)
        self.sums_S4 = torch.zeros(len(self.names), 4, dtype=torch.float64)

    def add(self, nll_BT: Tensor, targets_BT: Tensor, source_BT: Tensor, token_bytes_V: Tensor | None) -> None:
        nll_BT, targets_BT = nll_BT.detach().cpu().double(), targets_BT.cpu()  # float64 sums: mps has none
        counted_BT = targets_BT != IGNORE
        bytes_BT = torch.zeros_like(targets_BT)
        if token_bytes_V is not None:
            bytes_BT = token_bytes_V[targets_BT.clamp_min(0)]
        parts = torch.stack([nll_BT, counted_BT.double(), nll_BT * (bytes_BT > 0), bytes_BT.double()], -1)  # (B, T, 4)
        self.sums_S4.index_add_(0, source_BT.cpu()[counted_BT], parts[counted_BT])

    def metrics(self, over_ranks: Callable[[Tensor], Tensor]) -> dict[str, float]:
        """The same names on every rank; none for a source without a target."""
        found: dict[str, float] = {}
        for name, (nll, tokens, text_nll, n_bytes) in zip(self.names, over_ranks(self.sums_S4).tolist(), strict=True):
            if tokens:
                found[f"val/loss/{name}"] = nll / tokens
            if n_bytes:
                found[f"val/bpb/{name}"] = text_nll / math.log(2) / n_bytes
        return found
