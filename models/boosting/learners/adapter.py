"""A bottleneck beside the MLP of each of the last blocks: mlp(x) + U gelu(D x), U = 0 at birth (2110.04366).

Where a block has no `mlp` of its own to stand beside, it stands beside the block.
"""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bounds import PositiveInt
from models.base import LanguageModel
from models.boosting.learners.base import UpperLearner, uniform
from models.boosting.passes import Bend


class Adapter(UpperLearner):
    """Args: top_blocks: how many of the last blocks, or half, or all. bottleneck: channels inside."""

    def __init__(
        self,
        *,
        base: LanguageModel,
        top_blocks: PositiveInt | Literal["half", "all"] = "half",
        bottleneck: PositiveInt = 32,
    ):
        super().__init__(base=base, top_blocks=top_blocks)
        assert self.start is not None
        width = base.head.in_features
        count = len(base.blocks) - self.start  # type: ignore[arg-type]
        self.down = nn.ParameterList(uniform(bottleneck, width) for _ in range(count))
        self.up = nn.ParameterList(nn.Parameter(torch.zeros(width, bottleneck)) for _ in range(count))

    def bends(self, base: LanguageModel, scale: float = 1.0) -> dict[nn.Module, Bend]:
        blocks = list(base.blocks)[self.start :]  # type: ignore[arg-type]
        triples = zip(blocks, self.down, self.up, strict=True)
        return {getattr(block, "mlp", block): _bend(down, up, scale) for block, down, up in triples}


def _bend(down_RC: Tensor, up_CR: Tensor, scale: float) -> Bend:
    def bend(x: Tensor, output):
        added = scale * F.linear(F.gelu(F.linear(x, down_RC)), up_CR)
        return (output[0] + added, *output[1:]) if isinstance(output, tuple) else output + added

    return bend
