"""GPT-2's architecture as nanoGPT trains it: learned positions, pre-norm blocks, GELU, tied head.

    ids -> token embedding + position embedding -> [x + attention(norm(x)); x + mlp(norm(x))] * n_layer -> norm -> head

Radford et al. 2019, "Language Models are Unsupervised Multitask Learners".
"""

import math
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from bounds import Below1, PositiveInt
from errors import RequestError
from models.base import LanguageModel, restarting_positions
from models.layers.attention import CausalSelfAttention, attention_mask
from models.layers.cache import KVCache, positions_of
from models.layers.compact import Compact


class LayerNorm(nn.Module):
    """nn.LayerNorm with the bias optional."""

    def __init__(self, n_embd: int, *, bias: bool):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(n_embd))
        self.bias = nn.Parameter(torch.zeros(n_embd)) if bias else None

    def forward(self, x: Tensor) -> Tensor:
        return F.layer_norm(x, self.weight.shape, self.weight, self.bias, 1e-5)


class MLP(nn.Module):
    def __init__(self, *, n_embd: int, bias: bool, dropout: float, gelu: Literal["none", "tanh"]):
        super().__init__()
        self.up = nn.Linear(n_embd, 4 * n_embd, bias=bias)
        self.down = nn.Linear(4 * n_embd, n_embd, bias=bias)
        self.gelu, self.dropout = gelu, dropout

    def forward(self, x: Tensor) -> Tensor:
        return F.dropout(self.down(F.gelu(self.up(x), approximate=self.gelu)), self.dropout, self.training)


class Block(nn.Module):
    def __init__(
        self,
        *,
        layer: int,
        n_embd: int,
        n_head: int,
        seq_len: int,
        bias: bool,
        dropout: float,
        gelu: Literal["none", "tanh"],
    ):
        super().__init__()
        self.norm1 = LayerNorm(n_embd, bias=bias)
        self.attention = CausalSelfAttention(
            n_embd=n_embd, n_head=n_head, seq_len=seq_len, layer=layer, bias=bias, dropout=dropout
        )
        self.norm2 = LayerNorm(n_embd, bias=bias)
        self.mlp = MLP(n_embd=n_embd, bias=bias, dropout=dropout, gelu=gelu)

    def forward(
        self,
        x_BTC: Tensor,
        mask_BTS: Tensor | None,
        cache: KVCache | None,
        weights: list[Tensor] | None = None,
        compact: Compact | None = None,
    ) -> Tensor:
        x_BTC = x_BTC + self.attention(
            self.norm1(x_BTC), mask_BTS=mask_BTS, cache=cache, weights=weights, compact=compact
        )
        return x_BTC + self.mlp(self.norm2(x_BTC))


class GPT(LanguageModel):
    """nanoGPT / GPT-2.

    Args:
        vocab_size: number of token ids. seq_len: longest context in tokens.
        n_layer, n_head, n_embd: depth, heads, width.
        bias: biases in linear layers and norms (GPT-2 has them).
        dropout: after embeddings, in attention, after each sublayer.
        gelu: "tanh" as OpenAI's weights expect, "none" is the exact function, as nanoGPT.
        checkpoint_blocks: recompute each block in the backward pass; less memory for a third more time.

    Raises:
        RequestError: n_embd is not divisible by n_head.
    """

    reads_compact = True
    reads_slot = True

    def __init__(
        self,
        *,
        vocab_size: PositiveInt,
        seq_len: PositiveInt,
        n_layer: PositiveInt,
        n_head: PositiveInt,
        n_embd: PositiveInt,
        bias: bool = True,
        dropout: Below1 = 0.0,
        gelu: Literal["none", "tanh"] = "none",
        checkpoint_blocks: bool = False,
    ):
        super().__init__()
        check_heads(n_embd, n_head)
        self.vocab_size, self.seq_len, self.n_layer = vocab_size, seq_len, n_layer
        self.dropout, self.checkpoint_blocks = dropout, checkpoint_blocks
        self.embed = nn.Embedding(vocab_size, n_embd)
        self.position = nn.Embedding(seq_len, n_embd)
        self.blocks = nn.ModuleList(
            Block(layer=i, n_embd=n_embd, n_head=n_head, seq_len=seq_len, bias=bias, dropout=dropout, gelu=gelu)
            for i in range(n_layer)
        )
        self.norm = LayerNorm(n_embd, bias=bias)
        self.lm_head = nn.Linear(n_embd, vocab_size, bias=False)
        self.lm_head.weight = self.embed.weight  # tied
        self._init_weights()

    def _init_weights(self) -> None:
        """normal(0.02); projections into the residual stream / sqrt(2 n_layer) (GPT-2, section 2.3); biases 0."""
        for name, p in self.named_parameters():
            if p.dim() >= 2:
                residual = name.endswith(("attention.proj.weight", "mlp.down.weight"))
                nn.init.normal_(p, std=0.02 / math.sqrt(2 * self.n_layer) if residual else 0.02)
            elif name.endswith("bias"):
                nn.init.zeros_(p)

    @property
    def head(self) -> nn.Linear:
        return self.lm_head

    def attention_flops_per_token(self, seq_len: int) -> int:
        return 12 * self.n_layer * self.embed.embedding_dim * seq_len

    def trunk(
        self,
        ids_BT: Tensor,
        *,
        documents_BT: Tensor | None = None,
        padding_BT: Tensor | None = None,
        cache: KVCache | None = None,
        weights: list[Tensor] | None = None,
        compact: Compact | None = None,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        positions, mask_BTS = positions_and_mask(ids_BT, documents_BT, padding_BT, cache, seq_len=self.seq_len)
        x = F.dropout(self.embed(ids_BT) + self.position(positions), self.dropout, self.training)
        x = x if compact is None else compact.tokens(x)
        for block in self.blocks:
            if self.checkpoint_blocks and self.training and weights is None:
                x = checkpoint(block, x, mask_BTS, cache, None, compact, use_reentrant=False)
            else:
                x = block(x, mask_BTS, cache, weights, compact)
        if cache is not None:
            cache.length += ids_BT.shape[1]
        hidden = self.norm(x)
        return hidden if compact is None else compact.rows(hidden), {}


def positions_and_mask(
    ids_BT: Tensor, documents_BT: Tensor | None, padding_BT: Tensor | None, cache: KVCache | None, *, seq_len: int
) -> tuple[Tensor, Tensor | None]:
    """Of these tokens behind those in the cache: positions, (T,) or (B, T), and what each of them sees.

    Raises:
        RequestError: they are longer than the context.
    """
    if cache is not None and cache.slot is not None:
        return cache.slot.positions_B1, cache.slot.mask_B1S()
    T = ids_BT.shape[1]
    start = cache.length if cache is not None else 0
    check_length(T if padding_BT is not None else start + T, seq_len)  # of padding, only the caller knows
    if documents_BT is not None:
        positions = restarting_positions(documents_BT)  # (B, T)
    else:
        positions = positions_of(T, start, padding_BT, ids_BT.device)  # (T,) or (B, T)
    mask = attention_mask(T, start + T, documents_BT=documents_BT, padding_BT=padding_BT, device=ids_BT.device)
    return positions, mask


def check_heads(n_embd: int, n_head: int) -> None:
    """Raises RequestError unless the width splits evenly over the heads."""
    if n_embd % n_head:
        widths = [w for w in (n_embd // n_head * n_head, (n_embd // n_head + 1) * n_head) if w > 0]
        raise RequestError(
            f"model.n_embd={n_embd} is not divisible by model.n_head={n_head}: each head takes an equal share.\n"
            f"Try model.n_embd={widths[-1]}, or another model.n_head."
        )


def check_length(length: int, seq_len: int) -> None:
    """Raises RequestError if more tokens are given than the model has positions for."""
    if length > seq_len:
        raise RequestError(
            f"{length} tokens were given to a model with a context of {seq_len}.\n"
            f"Shorten the input, or train with model.seq_len={length}."
        )
