"""Whether ranks share out a model's weights (FSDP2), asked without importing what would."""

import sys

from torch import nn


def is_sharded(model: nn.Module) -> bool:
    """Nothing has sharded it where nobody has imported what shards."""
    fsdp = sys.modules.get("torch.distributed.fsdp")
    return fsdp is not None and isinstance(model, fsdp.FSDPModule)
