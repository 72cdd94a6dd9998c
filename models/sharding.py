"""Ranks that share out a model's weights (FSDP2); what shards is imported where it is asked for."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, TypeGuard

from torch import nn

if TYPE_CHECKING:
    from torch.distributed.fsdp import FSDPModule

    from models.base import LanguageModel


def is_sharded(model: nn.Module) -> TypeGuard[FSDPModule]:
    """Nothing has sharded it where nobody has imported what shards."""
    fsdp = sys.modules.get("torch.distributed.fsdp")
    return fsdp is not None and isinstance(model, fsdp.FSDPModule)


def shard(model: LanguageModel, mesh: Any) -> None:
    """Each block's parameters are gathered when it runs, the rest (embedding, head) with the model."""
    from torch.distributed.fsdp import fully_shard

    dp_mesh = mesh["data_parallel"]
    for block in model.blocks:  # type: ignore[union-attr]
        fully_shard(block, mesh=dp_mesh)
    fully_shard(model, mesh=dp_mesh)
