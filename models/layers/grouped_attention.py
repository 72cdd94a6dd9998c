"""Causal attention as modern models have it: grouped heads, rotary positions, normalised queries and keys, sinks.

    query heads     0 1 2 3 4 5 6 7
                     \\|/     \\|/ ...      n_head / n_kv_head query heads share one head of keys and values:
    key/value heads   0       1          all of them is multi-query (1911.02150), some is grouped (2305.13245)

Shapes: B batch, T tokens, S tokens seen (cache included), C channels, H query heads, K key and value heads, D channels
of a head.
"""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.layers.attention import attention_weights, fused_attention
from models.layers.autocast import in_autocast
from models.layers.cache import KVCache
from models.layers.compact import Compact
from models.layers.norm import RMSNorm
from models.layers.rope import Rope

QKNorm = Literal["none", "head", "full", "weightless"]

# A sink's score is one more channel of queries and keys; head sizes that are a multiple of 8 stay on the fast kernels.
SINK_CHANNELS = 8
# nanochat: the gate of a value embedding reads so many channels and opens up to 3
GATE_CHANNELS, GATE_MOST = 12, 3.0


class GroupedAttention(nn.Module):
    """Args:
    n_embd, n_head, n_kv_head, head_dim: width, query heads, key and value heads, channels of each.
    layer: number in the cache. capacity: positions that a cache is made for.
    qkv_bias, bias: biases of q, k and v (Qwen2), of the output projection.
    qk_norm: RMSNorm of queries and keys before they are rotated (2302.05442): with one gain per channel of a head
        (Qwen3), over all heads together (OLMoE), or without gain (nanochat).
    rope: shared by all layers, or None. dropout: of the weights and of the output.
    learned_sink: a learned score per head that competes in the softmax and has no value: attention to nothing
        (gpt-oss; "softmax1" with a learned constant).
    scale: of the scores; null: 1 / sqrt(head_dim). value_gate: each token adds to its values what `embedded_BTK`
        gives, through a gate per head (ResFormer, 2410.17897, as nanochat has it).
    """

    def __init__(
        self,
        *,
        n_embd: int,
        n_head: int,
        n_kv_head: int,
        head_dim: int,
        layer: int,
        capacity: int,
        qkv_bias: bool,
        bias: bool,
        qk_norm: QKNorm,
        norm_eps: float,
        rope: Rope | None,
        dropout: float,
        learned_sink: bool,
        scale: float | None = None,
        value_gate: bool = False,
    ):
        super().__init__()
        self.n_head, self.n_kv_head, self.head_dim = n_head, n_kv_head, head_dim
        self.layer, self.capacity, self.rope, self.dropout, self.qk_norm = layer, capacity, rope, dropout, qk_norm
        self.q = nn.Linear(n_embd, n_head * head_dim, bias=qkv_bias)
        self.k = nn.Linear(n_embd, n_kv_head * head_dim, bias=qkv_bias)
        self.v = nn.Linear(n_embd, n_kv_head * head_dim, bias=qkv_bias)
        self.proj = nn.Linear(n_head * head_dim, n_embd, bias=bias)
        self.q_norm, self.k_norm = (self._norm(heads, norm_eps) for heads in (n_head, n_kv_head))
        self.sinks = nn.Parameter(torch.zeros(n_head)) if learned_sink else None
        self.sharpening = None if scale is None else scale * head_dim**0.5  # on top of 1 / sqrt(head_dim)
        self.value_gate = nn.Linear(min(GATE_CHANNELS, n_embd), n_kv_head, bias=False) if value_gate else None

    def _norm(self, heads: int, eps: float) -> nn.Module:
        if self.qk_norm == "none":
            return nn.Identity()
        if self.qk_norm == "weightless":
            return RMSNorm(self.head_dim, eps=eps, weight=False)
        return RMSNorm(heads * self.head_dim if self.qk_norm == "full" else self.head_dim, eps=eps)

    def forward(
        self,
        x_BTC: Tensor,
        *,
        positions_T: Tensor,
        mask_BTS: Tensor | None,
        cache: KVCache | None,
        need_weights: bool = False,
        embedded_BTK: Tensor | None = None,
        compact: Compact | None = None,
    ) -> tuple[Tensor, Tensor | None]:
        """Output, and the weights (B, H, T, S) if they are asked for: only then are they ever held.

        `mask_BTS`: True where attention is allowed, None is plain causal. `positions_T`, or (B, T), feeds RoPE.
        `embedded_BTK`: the value embeddings of a layer that has a gate for them, all heads side by side.
        `compact`: the rows in which the tokens (1, N, C) lie; the output is of the tokens again.
        """
        x_BTC = in_autocast(x_BTC)
        q, k, v = self._queries_keys_values(x_BTC, positions_T, compact)
        if self.value_gate is not None and embedded_BTK is not None:
            gate_BTK = GATE_MOST * torch.sigmoid(self.value_gate(x_BTC[..., : self.value_gate.in_features]))
            gate_BTK = gate_BTK if compact is None else compact.rows(gate_BTK)
            embedded = gate_BTK.unsqueeze(-1) * embedded_BTK.unflatten(-1, (-1, self.head_dim)).to(v.dtype)
            v = v + embedded.transpose(1, 2)
        if cache is not None:
            k, v = cache.append(self.layer, k, v, self.capacity)
        weights = attention_weights(q, k, mask_BTS, self.sinks) if need_weights else None
        y = self._attend(q, k, v, None if mask_BTS is None else mask_BTS.unsqueeze(1))  # (B, 1, T, S)
        y = y.transpose(1, 2).flatten(2)
        y = self.proj(y if compact is None else compact.tokens(y))
        return F.dropout(y, self.dropout, self.training), weights

    def _queries_keys_values(
        self, x_BTC: Tensor, positions_T: Tensor, compact: Compact | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        q, k, v = self.q(x_BTC), self.k(x_BTC), self.v(x_BTC)
        if compact is not None:
            q, k, v = compact.rows(q), compact.rows(k), compact.rows(v)
        if self.qk_norm == "full":
            q, k = self.q_norm(q), self.k_norm(k)
        q, k, v = (x.unflatten(-1, (-1, self.head_dim)).transpose(1, 2) for x in (q, k, v))  # (B, H or K, T, D)
        if self.qk_norm in ("head", "weightless"):
            q, k = self.q_norm(q), self.k_norm(k)
        if self.rope is not None:
            q, k = self.rope(q, positions_T), self.rope(k, positions_T)
        if self.sharpening is not None:
            q = q * self.sharpening
        return q, k.to(v.dtype), v

    def _attend(self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
        T, S = q.shape[2], k.shape[2]
        causal = mask is None and S == T > 1  # one new token sees everything: no mask is needed
        if self.sinks is not None:
            q, k, v, mask = with_sink(q, k, v, mask, self.sinks, causal=causal)
        y = fused_attention(
            q.to(v.dtype),
            k,
            v,
            attn_mask=mask,
            dropout_p=self.dropout if self.training else 0.0,
            is_causal=causal,
            scale=self.head_dim**-0.5,
            enable_gqa=self.n_kv_head != self.n_head,
        )
        return y if self.sinks is None else y[:, :, -T:, : self.head_dim]


def with_sink(
    q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, sinks_H: Tensor, *, causal: bool
) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
    """Grouped attention with one more key in front, whose score is the head's sink and whose value is 0.

    One more channel carries that score: 1 in the queries, 0 in the keys, the sink in the new key. So the fused kernels
    do it, which know no bias per head with a gradient. A plain causal mask gets one more query in front, too, so that
    its diagonal fits.
    """
    B, H, _, D = q.shape
    groups = H // k.shape[1]
    # query head h reads the sink of its own, so with shared keys each query head needs its own channel
    width = SINK_CHANNELS * -(-groups // SINK_CHANNELS)
    own = F.one_hot(torch.arange(H, device=q.device) % groups, width).to(q.dtype)  # (H, width)
    q = torch.cat([q, own[None, :, None].expand(B, -1, q.shape[2], -1)], dim=-1)
    score = F.pad(sinks_H.view(-1, groups), (D, width - groups)).to(k.dtype) * D**0.5  # (K, D + width), undone by scale
    k = torch.cat([score[None, :, None].expand(B, -1, 1, -1), F.pad(k, (0, width))], dim=2)
    v = F.pad(v, (0, width, 1, 0))
    if causal:
        q = F.pad(q, (0, 0, 1, 0))
    return q, k, v, None if mask is None else F.pad(mask, (1, 0), value=True)
