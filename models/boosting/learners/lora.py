"""LoRA (Hu et al. 2021, 2106.09685) on the linear layers of the last blocks: W x + scale B A x, B = 0 at birth."""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bounds import Below1, PositiveFloat, PositiveInt
from errors import RequestError
from models.base import LanguageModel
from models.boosting.learners.base import UpperLearner, uniform, upper_linears
from models.boosting.passes import Bend


class LoRA(UpperLearner):
    """Args:
    base: the frozen model. top_blocks: how many of its last blocks, or half, or all. rank: of each update; of a list,
    which gives each stage its own, an ensemble hands on that of the stage. alpha: updates are scaled by alpha / rank.
    targets: all_linear, or endings of layers' names.
    dropout: share of each layer's inputs that the update does not see while it is trained.
    """

    def __init__(
        self,
        *,
        base: LanguageModel,
        top_blocks: PositiveInt | Literal["half", "all"] = "half",
        rank: PositiveInt | list[PositiveInt] = 4,
        alpha: PositiveFloat = 8.0,
        targets: list[str] | Literal["all_linear"] = "all_linear",
        dropout: Below1 = 0.0,
    ):
        super().__init__(base=base, top_blocks=top_blocks)
        if not isinstance(rank, int) or rank < 1:
            raise RequestError(f"learner.rank={rank}: expected 1 or more, or a list of such, one for each stage.")
        assert self.start is not None
        layers = upper_linears(base, self.start)
        self.names = [n for n in layers if targets == "all_linear" or n.endswith(tuple(targets))]
        if not self.names:
            raise RequestError(f"learner.targets={targets} match no linear layer. There are: {', '.join(layers)}.")
        self.scale, self.dropout = alpha / rank, dropout
        self.down = nn.ParameterList(uniform(rank, layers[n].in_features) for n in self.names)
        self.up = nn.ParameterList(nn.Parameter(torch.zeros(layers[n].out_features, rank)) for n in self.names)

    def bends(self, base: LanguageModel, scale: float = 1.0) -> dict[nn.Module, Bend]:
        assert self.start is not None
        layers = upper_linears(base, self.start)
        triples = zip(self.names, self.down, self.up, strict=True)
        dropout = self.dropout if self.training else 0.0
        return {layers[name]: _bend(down, up, self.scale * scale, dropout) for name, down, up in triples}

    @torch.no_grad()
    def merge_into(self, base: LanguageModel, scale: float) -> None:
        """Adds scale B A to the base's own weights, for good."""
        assert self.start is not None
        layers = upper_linears(base, self.start)
        for name, down, up in zip(self.names, self.down, self.up, strict=True):
            layers[name].weight += self.scale * scale * (up @ down)


def _bend(down_RI: Tensor, up_OR: Tensor, scale: float, dropout: float) -> Bend:
    def bend(x: Tensor, output: Tensor) -> Tensor:
        seen = F.dropout(x, dropout) if dropout else x
        return output + scale * F.linear(F.linear(seen, down_RI), up_OR)

    return bend
