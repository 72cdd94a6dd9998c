"""Causal self-attention.

Shapes: B batch, T tokens, S tokens seen (cache included), C channels, H heads, D channels of a head (C = H D).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.layers.cache import KVCache
from models.layers.compact import Compact
from models.layers.half_attention import half_attention, is_fast
from models.layers.rope import Rope


class CausalSelfAttention(nn.Module):
    """Multi-head attention in which a token sees itself and what came before (Vaswani et al. 2017, 1706.03762)."""

    def __init__(
        self,
        *,
        n_embd: int,
        n_head: int,
        seq_len: int,
        layer: int,
        bias: bool,
        dropout: float,
        rope: Rope | None = None,
        qk_norm: bool = False,
    ):
        super().__init__()
        self.n_head, self.seq_len, self.layer, self.dropout = n_head, seq_len, layer, dropout
        self.rope, self.qk_norm = rope, qk_norm
        self.qkv = nn.Linear(n_embd, 3 * n_embd, bias=bias)
        self.proj = nn.Linear(n_embd, n_embd, bias=bias)

    def forward(
        self,
        x_BTC: Tensor,
        *,
        positions_T: Tensor | None = None,
        mask_BTS: Tensor | None = None,
        cache: KVCache | None = None,
        weights: list[Tensor] | None = None,
        compact: Compact | None = None,
    ) -> Tensor:
        """`mask_BTS`: True where attention is allowed, None is plain causal. `positions_T`, or (B, T), feeds RoPE.

        `weights`: a list that takes the weights (B, H, T, S); only then are they ever held. `compact`: the rows in
        which the tokens (1, N, C) lie; the output is of the tokens again.
        """
        qkv = self.qkv(x_BTC) if compact is None else compact.rows(self.qkv(x_BTC))
        (B, T, _), C = qkv.shape, x_BTC.shape[2]
        qkv = qkv.view(B, T, 3, self.n_head, C // self.n_head)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)  # (B, H, T, D) each
        if self.rope is not None:
            q, k = self.rope(q, positions_T), self.rope(k, positions_T)
        if self.qk_norm:  # keeps attention logits bounded (2302.05442, section 3.2)
            q, k = F.rms_norm(q, q.shape[-1:]), F.rms_norm(k, k.shape[-1:])
        if cache is not None:
            k, v = cache.append(self.layer, k, v, self.seq_len)
        if weights is not None:
            weights.append(attention_weights(q, k, mask_BTS))
        # With a cache, one new token sees everything: no mask is needed.
        plain = mask_BTS is None and k.shape[2] == T
        y = fused_attention(
            q,
            k,
            v,
            attn_mask=None if mask_BTS is None else mask_BTS.unsqueeze(1),  # (B, 1, T, S)
            dropout_p=self.dropout if self.training else 0.0,
            is_causal=plain and T > 1,
        )
        y = y.transpose(1, 2).reshape(B, T, C)
        y = y if compact is None else compact.tokens(y)
        return F.dropout(self.proj(y), self.dropout, self.training)


def fused_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    *,
    attn_mask: Tensor | None,
    dropout_p: float,
    is_causal: bool,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """PyTorch's own, (B, H, T, D), whose arguments these are.

    Where query heads share keys, a GPU has a kernel for 16 bits without a mask only (and cuDNN's, see `any_length`):
    the one for all else holds all scores. So one new token's heads become so many queries of their keys' head, and keys
    of several tokens are repeated.

    Under autocast on a CPU it is left for two others:

    1. Where bf16 products are fast, models/layers/half_attention.py.
    2. PyTorch's in fp32: its bf16 kernel is slower backward. Measured on an Intel Xeon with AMX, 2 cores, 8 rows of 4
       heads of 64: of 208 tokens 45 ms instead of 16 for four layers, of 509 tokens 157 instead of 90; forward 2 to
       11 ms are lost.
    """
    settings: dict[str, Any] = {"attn_mask": attn_mask, "dropout_p": dropout_p, "is_causal": is_causal, "scale": scale}
    settings["enable_gqa"] = enable_gqa
    if enable_gqa and q.is_cuda:
        return _grouped_on_gpu(q, k, v, **settings)
    generates = q.shape[2] == 1  # its cache is not copied for one token
    if q.device.type != "cpu" or generates or not torch.is_autocast_enabled("cpu"):
        return F.scaled_dot_product_attention(q, k, v, **settings)
    known_mask = is_causal if attn_mask is None else attn_mask.dtype == torch.bool and attn_mask.shape[1] == 1
    usual = q.numel() > 0 and q.shape[-1] == v.shape[-1] and torch.get_autocast_dtype("cpu") == torch.bfloat16
    if known_mask and usual and not dropout_p and not torch.compiler.is_compiling() and is_fast():
        mask_BTS = None if attn_mask is None else attn_mask[:, 0]
        return half_attention(q, k, v, mask_BTS, q.shape[-1] ** -0.5 if scale is None else scale)
    with torch.autocast("cpu", enabled=False):
        return F.scaled_dot_product_attention(q.float(), k.float(), v.float(), **settings)


def _grouped_on_gpu(q: Tensor, k: Tensor, v: Tensor, *, attn_mask: Tensor | None, **settings: Any) -> Tensor:
    """Fewer heads of keys than of queries, which share them in order: 0 0 0 1 1 1."""
    shared = q.shape[1] // k.shape[1]
    if q.shape[2] == 1 and (attn_mask is None or attn_mask.shape[1] == 1):
        settings["enable_gqa"] = False
        y_BKGD = F.scaled_dot_product_attention(q.unflatten(1, (-1, shared)).squeeze(3), k, v, attn_mask, **settings)
        return y_BKGD.flatten(1, 2).unsqueeze(2)
    if attn_mask is not None or q.dtype == torch.float32:
        settings["enable_gqa"] = False
        k, v = (x.repeat_interleave(shared, dim=1) for x in (k, v))
    return F.scaled_dot_product_attention(q, k, v, attn_mask, **settings)


@contextmanager
def any_length() -> Iterator[None]:
    """Inside, lengths of attention may differ from call to call.

    PyTorch prefers cuDNN's kernel on an H100, which makes a plan for each length that it meets: each token that was
    written took 46 ms, of which 0.6 were its work (https://github.com/pytorch/pytorch/pull/155958). Where all batches
    have one shape it is 3 % of an update quicker than the others. A setting of the process.
    """
    before = torch.backends.cuda.cudnn_sdp_enabled()
    torch.backends.cuda.enable_cudnn_sdp(False)
    try:
        yield
    finally:
        torch.backends.cuda.enable_cudnn_sdp(before)


def attention_mask(
    T: int,
    S: int,
    *,
    documents_BT: Tensor | None,
    padding_BT: Tensor | None,
    device: torch.device,
    window: int | None = None,
    n_sink: int = 0,
) -> Tensor | None:
    """(B, T, S) mask, True = may attend, or None where plain causality says it all.

    Args:
        T: new tokens. S: all tokens, the T new ones last.
        documents_BT: id of the document each token belongs to; attention stays inside it (S == T then).
        padding_BT: True at real tokens, over all S positions.
        window: latest tokens that are seen, oneself included (2004.05150); None is all of them.
        n_sink: first tokens of the S that are always seen, whatever the window or the document (2309.17453).
    """
    narrow = window is not None and window < S
    if documents_BT is None and padding_BT is None and not narrow and T in (1, S):
        return None
    allowed = torch.ones(T, S, dtype=torch.bool, device=device).tril(S - T)
    if narrow:
        assert window is not None
        allowed = allowed.triu(S - T - window + 1)
    allowed = allowed.unsqueeze(0)  # (1, T, S)
    if documents_BT is not None:
        allowed = allowed & (documents_BT.unsqueeze(2) == documents_BT.unsqueeze(1))
    if n_sink:
        sees_sinks = torch.ones(T, S, dtype=torch.bool, device=device).tril(S - T)
        allowed = allowed | (sees_sinks & (torch.arange(S, device=device) < n_sink))
    if padding_BT is not None:
        # a padding query still sees itself: a row without any allowed key would be NaN
        itself = torch.eye(T, S, dtype=torch.bool, device=device).roll(S - T, 1)
        allowed = (allowed & padding_BT.unsqueeze(1)) | itself
    return allowed


def attention_weights(q: Tensor, k: Tensor, mask_BTS: Tensor | None, sinks_H: Tensor | None = None) -> Tensor:
    """(B, H, T, S), what each token looks at; with learned sinks the rows sum to less than 1."""
    T, S = q.shape[2], k.shape[2]
    k = k.repeat_interleave(q.shape[1] // k.shape[1], dim=1)
    scores = (q.float() @ k.float().mT) * q.shape[-1] ** -0.5
    allowed = torch.ones(T, S, dtype=torch.bool, device=q.device).tril(S - T)
    scores = scores.masked_fill(~(allowed if mask_BTS is None else mask_BTS.unsqueeze(1)), -torch.inf)
    if sinks_H is None:
        return scores.softmax(-1)
    sink = sinks_H.float().view(1, -1, 1, 1).expand(*scores.shape[:-1], 1)
    return torch.cat([sink, scores], dim=-1).softmax(-1)[..., 1:]
