"""Sums that become means when they are divided once: over micro-batches, validation batches and ranks.

Legend: B rows, T tokens, S sources of a mixture.
"""

import math
from collections.abc import Mapping, Sequence

import torch
import torch.distributed as dist
from torch import Tensor

from batch import IGNORE


class Sums:
    """Tensors by name that are added up; every rank adds the same names."""

    def __init__(self) -> None:
        self.values: dict[str, Tensor] = {}

    def add(self, more: Mapping[str, Tensor]) -> None:
        for name, value in more.items():
            self.values[name] = self.values[name] + value if name in self.values else value

    def over_ranks(self, *, world_size: int, device: torch.device) -> dict[str, Tensor]:
        """Sums by name over all ranks, float64 on the CPU, in one exchange."""
        names = sorted(self.values)
        found = {name: self.values[name].detach().cpu().double() for name in names}  # on the CPU: mps has no float64
        if world_size == 1 or not names:
            return found
        flat = torch.cat([found[name].flatten() for name in names]).to(device)
        dist.all_reduce(flat)
        parts = flat.cpu().split([found[name].numel() for name in names])
        return {name: part.view_as(found[name]) for name, part in zip(names, parts, strict=True)}


def text_sums(nll_BT: Tensor, targets_BT: Tensor, token_bytes_V: Tensor | None) -> Tensor:
    """(4,) float64: nats and number of all targets; nats and bytes of those that are text.

    Specials stand for no bytes: neither they nor their loss enter bits per byte. Without `token_bytes_V` both are 0.
    """
    return _columns(nll_BT, targets_BT, token_bytes_V).flatten(0, -2).sum(0)


def source_sums(
    nll_BT: Tensor, targets_BT: Tensor, source_BT: Tensor, token_bytes_V: Tensor | None, *, n_sources: int
) -> Tensor:
    """(S, 4) float64: the same for each source of a mixture."""
    counted_BT = targets_BT.cpu() != IGNORE
    columns_BT4 = _columns(nll_BT, targets_BT, token_bytes_V)
    sums_S4 = torch.zeros(n_sources, 4, dtype=torch.float64)
    return sums_S4.index_add_(0, source_BT.cpu()[counted_BT], columns_BT4[counted_BT])


def _columns(nll_BT: Tensor, targets_BT: Tensor, token_bytes_V: Tensor | None) -> Tensor:
    """(B, T, 4) float64: what each target adds to `text_sums`."""
    nll_BT, targets_BT = nll_BT.detach().cpu().double(), targets_BT.cpu()
    counted_BT = (targets_BT != IGNORE).double()
    bytes_BT = torch.zeros_like(counted_BT)
    if token_bytes_V is not None:
        bytes_BT = token_bytes_V[targets_BT.clamp_min(0)] * counted_BT
    nll_BT = nll_BT * counted_BT
    return torch.stack([nll_BT, counted_BT, nll_BT * (bytes_BT > 0), bytes_BT.double()], -1)


def text_metrics(sums_4: Tensor) -> dict[str, float]:
    """loss (nats per token), perplexity, and bpb (bits per byte of text) where the bytes are known."""
    nll, tokens, text_nll, n_bytes = sums_4.tolist()
    loss = nll / tokens if tokens else math.nan
    metrics = {"loss": loss, "perplexity": math.exp(min(loss, 700.0))}  # exp(710) overflows
    return metrics | ({"bpb": text_nll / math.log(2) / n_bytes} if n_bytes else {})


def source_metrics(sums_S4: Tensor, names: Sequence[str]) -> dict[str, float]:
    """loss/<source> and bpb/<source>; none for a source without a target."""
    found: dict[str, float] = {}
    for name, (nll, tokens, text_nll, n_bytes) in zip(names, sums_S4.tolist(), strict=True):
        if tokens:
            found[f"loss/{name}"] = nll / tokens
        if n_bytes:
            found[f"bpb/{name}"] = text_nll / math.log(2) / n_bytes
    return found
