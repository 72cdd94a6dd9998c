"""A small transformer block of its own on the base's final states: up(block(down(H_0))), up = 0 at birth.

The cheapest learner, since no block of the base runs again; but all it knows comes through the bottleneck.

Shapes: B batch, T tokens, C channels of the base, D channels inside.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bounds import PositiveInt
from errors import RequestError
from models.base import LanguageModel
from models.boosting.learners.base import Learner, uniform
from models.boosting.passes import Inputs
from models.layers.attention import CausalSelfAttention, attention_mask


class SmallBlock(Learner):
    """Args: width: channels inside (D). n_head: attention heads. mlp_ratio: width of the MLP / D."""

    def __init__(
        self, *, base: LanguageModel, width: PositiveInt = 64, n_head: PositiveInt = 4, mlp_ratio: PositiveInt = 4
    ):
        super().__init__()
        if width % n_head:
            raise RequestError(f"learner.width={width} is not divisible by learner.n_head={n_head}.")
        outer = base.head.in_features
        self.seq_len = base.seq_len
        self.down = uniform(width, outer)
        # its own cache slot lies behind the layers of the base
        self.attention = CausalSelfAttention(
            n_embd=width, n_head=n_head, seq_len=base.seq_len, layer=base.n_layer, bias=False, dropout=0.0
        )
        self.mlp_up, self.mlp_down = uniform(mlp_ratio * width, width), uniform(width, mlp_ratio * width)
        self.up = nn.Parameter(torch.zeros(outer, width))

    def correction(self, base: LanguageModel, inputs: Inputs) -> Tensor:
        x = F.linear(inputs.hidden_BTC, self.down)  # (B, T, D)
        T, cache = x.shape[1], inputs.cache
        start = cache.length if cache is not None else 0
        mask = attention_mask(
            T, start + T, documents_BT=inputs.documents_BT, padding_BT=inputs.padding_BT, device=x.device
        )
        x = x + self.attention(_norm(x), mask_BTS=mask, cache=cache)
        x = x + F.linear(F.gelu(F.linear(_norm(x), self.mlp_up)), self.mlp_down)
        return F.linear(_norm(x), self.up)


def _norm(x_BTD: Tensor) -> Tensor:
    return F.rms_norm(x_BTD, x_BTD.shape[-1:])
