"""What a head does, in four numbers, from its attention weights.

Shapes: B batch, H heads, T tokens.
"""

from typing import NamedTuple

import torch
from torch import Tensor


class Head(NamedTuple):
    """Layers and heads count from 0, as in configs and metrics.

    Means over the tokens of a text from the second on (the first can only look at itself).

    first, itself, previous: share of attention that goes there. distance: tokens back, on average. spread: e to the
    entropy of a row: how many tokens an equally spread attention would take in.
    """

    layer: int
    head: int
    first: float
    itself: float
    previous: float
    distance: float
    spread: float

    @property
    def habit(self) -> str:
        """Where more than half of the attention goes; nothing if it goes to no such place."""
        for name in ("first", "previous", "itself"):
            if getattr(self, name) > 0.5:
                return {"first": "the first token", "previous": "the token before", "itself": "itself"}[name]
        return ""


def heads_of(weights: list[Tensor], *, n_sink: int = 0) -> list[Head]:
    """Of every layer's (1, H, n_sink + T, n_sink + T) weights; the sinks together count as the first token."""
    found = []
    for layer, weights_BHTT in enumerate(weights):
        for head, all_TT in enumerate(weights_BHTT[0].double()):
            found.append(_head(layer, head, all_TT, n_sink))
    return found


def _head(layer: int, head: int, weights_SS: Tensor, n_sink: int) -> Head:
    rows = torch.arange(n_sink + 1, len(weights_SS), device=weights_SS.device)
    weights_TS = weights_SS[rows]
    columns = torch.arange(weights_SS.shape[1], device=weights_SS.device)
    back_TS = (rows[:, None] - columns[None]).clamp_min(0)
    entropy_T = torch.special.entr(weights_TS).sum(-1)
    return Head(
        layer=layer,
        head=head,
        first=weights_TS[:, : max(1, n_sink)].sum(-1).mean().item(),
        itself=weights_SS[rows, rows].mean().item(),
        previous=weights_SS[rows, rows - 1].mean().item(),
        distance=(weights_TS * back_TS).sum(-1).mean().item(),
        spread=entropy_T.exp().mean().item(),
    )


def quantised(weights_TT: Tensor) -> bytes:
    """(T, T) weights in [0, 1] as bytes, row by row: 255 times the square root; small ones keep their digits."""
    return (weights_TT.clamp(0, 1).sqrt() * 255).round().to(torch.uint8).cpu().numpy().tobytes()


def cosines(vectors_TC: Tensor) -> Tensor:
    """(T, T) cosine of the angle between each two rows."""
    unit_TC = torch.nn.functional.normalize(vectors_TC.float(), dim=-1)
    return (unit_TC @ unit_TC.mT).clamp(-1, 1)


def by_distance(similarity_TT: Tensor) -> Tensor:
    """(T,) mean of the places that lie so many apart: 0 is the diagonal."""
    return torch.stack([similarity_TT.diagonal(d).mean() for d in range(len(similarity_TT))])
