"""Whether ranks share out a model's weights (FSDP2), asked without importing what would."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, TypeGuard

from torch import nn

if TYPE_CHECKING:
    from torch.distributed.fsdp import FSDPModule


def is_sharded(model: nn.Module) -> TypeGuard[FSDPModule]:
    """Nothing has sharded it where nobody has imported what shards."""
    fsdp = sys.modules.get("torch.distributed.fsdp")
    return fsdp is not None and isinstance(model, fsdp.FSDPModule)
