"""Small learned scalars on the stream, as nanochat has them since 2026 (after modded-nanogpt).

Shapes: B batch, T tokens, S tokens seen (cache included), C channels, L layers.
"""

import torch
from torch import Tensor, nn

from models.layers.cache import KVCache

SMEAR_CHANNELS = 24  # that the gate of `Smear` reads


class StreamLambdas(nn.Module):
    """Before block i: a_i x + b_i x_0, with x_0 the stream as it began. Both fall with depth at first, as there."""

    def __init__(self, n_layer: int):
        super().__init__()
        depth_L = torch.arange(n_layer) / max(n_layer - 1, 1)
        self.stream = nn.Parameter(1.15 - 0.10 * depth_L)
        self.first = nn.Parameter(0.20 - 0.15 * depth_L)

    def forward(self, x_BTC: Tensor, first_BTC: Tensor, layer: int) -> Tensor:
        return self.stream[layer].to(x_BTC.dtype) * x_BTC + self.first[layer].to(x_BTC.dtype) * first_BTC


class Smear(nn.Module):
    """Each token takes in the embedding before it, by a learned share: a bigram for almost nothing.

    The first token of a text or of a document takes in nothing. With a cache, the latest embedding is kept in it.
    """

    def __init__(self, n_embd: int):
        super().__init__()
        self.smear_gate = nn.Linear(min(SMEAR_CHANNELS, n_embd), 1, bias=False)
        self.share = nn.Parameter(torch.zeros(1))

    def forward(
        self, x_BTC: Tensor, cache: KVCache | None, documents_BT: Tensor | None, padding_BS: Tensor | None
    ) -> Tensor:
        before = cache.last_stream_B1C if cache is not None else None
        if cache is not None:
            cache.last_stream_B1C = x_BTC[:, -1:].clone()
            cache.note("last_stream_B1C", x_BTC)
        start = torch.zeros_like(x_BTC[:, :1]) if before is None else before.to(x_BTC.dtype)
        before_BTC = torch.cat([start, x_BTC[:, :-1]], dim=1)
        if documents_BT is not None:
            same_BT = documents_BT[:, 1:] == documents_BT[:, :-1]
            before_BTC = torch.cat([before_BTC[:, :1], before_BTC[:, 1:] * same_BT.unsqueeze(-1)], dim=1)
        if padding_BS is not None:  # nothing of what pads
            real_BS = torch.cat([torch.zeros_like(padding_BS[:, :1]), padding_BS[:, :-1]], dim=1)
            before_BTC = before_BTC * real_BS[:, -x_BTC.shape[1] :].unsqueeze(-1)
        gate_BT1 = self.share.to(x_BTC.dtype) * torch.sigmoid(
            self.smear_gate(x_BTC[..., : self.smear_gate.in_features])
        )
        return x_BTC + gate_BT1 * before_BTC
