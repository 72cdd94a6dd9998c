"""One family for what is published today: Llama, Mistral, Qwen, nanochat, Mixtral and the ablations between them.

    ids -> embedding -> [x + attention(norm(x)); x + mlp(norm(x))] * n_layer -> norm -> head

Each published choice is one keyword of `Transformer`. The names of the parameters are plain, so that reading somebody
else's weights is a renaming: embed, blocks.N.{norm1, attention.{q,k,v,proj}, norm2, mlp.{gate,up,down}}, norm, lm_head.

Shapes: B batch, T tokens, S tokens seen (cache included), C channels, H heads.
"""

from functools import partial
from typing import Any, Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from bounds import Below1, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt
from models.base import LanguageModel, Trunk, restarting_positions
from models.checks import check_groups, check_moe, check_rope, check_sinks, check_window
from models.gpt import check_heads, check_length
from models.initialise import initialise
from models.layers.attention import attention_mask
from models.layers.cache import KVCache, Slot, positions_of
from models.layers.compact import Compact
from models.layers.grouped_attention import GroupedAttention
from models.layers.mlp import MLP, default_width
from models.layers.moe.layer import MoE, Routing
from models.layers.moe.settings import MoESettings
from models.layers.moe.statistics import routing_metrics, stacked
from models.layers.norm import make_norm, rms_norm
from models.layers.rope import Rope
from models.layers.stream import Smear, StreamLambdas


class Block(nn.Module):
    """Pre-norm: each sublayer reads a normalised stream and adds to it, times `scale`.

    `post_norms`: what a sublayer adds is normalised too (Gemma 2 and 3).
    """

    def __init__(
        self,
        *,
        attention: GroupedAttention,
        mlp: nn.Module,
        norms: tuple[nn.Module, nn.Module],
        windowed: bool,
        post_norms: tuple[nn.Module | None, nn.Module | None] = (None, None),
        scale: float = 1.0,
    ):
        super().__init__()
        self.norm1, self.attention, self.norm2, self.mlp = norms[0], attention, norms[1], mlp
        self.post_norm1, self.post_norm2 = post_norms
        self.windowed, self.scale = windowed, scale

    def forward(
        self,
        x_BTC: Tensor,
        positions_T: Tensor,
        mask_BTS: Tensor | None,
        cache: KVCache | None,
        real_BT: Tensor | None,
        need_weights: bool,
        embedded_BTK: Tensor | None = None,
        compact: Compact | None = None,
    ) -> tuple[Tensor, Routing | None, Tensor | None]:
        """The stream, what a layer of experts says about its routing, attention weights. `real_BT`: no padding."""
        y, weights = self.attention(
            self.norm1(x_BTC), positions_T=positions_T, mask_BTS=mask_BTS, cache=cache, need_weights=need_weights,
            embedded_BTK=embedded_BTK, compact=compact,
        )  # fmt: skip
        x_BTC = x_BTC + self._scaled(y, self.post_norm1)
        if isinstance(self.mlp, MoE):
            y, routing = self.mlp(self.norm2(x_BTC), real_BT)
            return x_BTC + self._scaled(y, self.post_norm2), routing, weights
        return x_BTC + self._scaled(self.mlp(self.norm2(x_BTC)), self.post_norm2), None, weights

    def _scaled(self, y_BTC: Tensor, norm: nn.Module | None) -> Tensor:
        y_BTC = y_BTC if norm is None else norm(y_BTC)
        return y_BTC if self.scale == 1.0 else y_BTC * self.scale


class Sizes(NamedTuple):
    """Heads and widths, as a layer of attention wants them."""

    n_embd: int
    n_head: int
    n_kv_head: int
    head_dim: int


def sizes_of(
    *, n_layer: int, n_head: int | None, n_embd: int | None, n_kv_head: int | None, head_dim: int | None
) -> Sizes:
    """What is null derived from the rest. Raises RequestError where heads do not divide."""
    n_embd = 64 * n_layer if n_embd is None else n_embd
    n_head = -(-n_embd // 128) if n_head is None else n_head
    n_kv_head = n_head if n_kv_head is None else n_kv_head
    check_groups(n_head, n_kv_head)
    if head_dim is None:
        check_heads(n_embd, n_head)
        head_dim = n_embd // n_head
    return Sizes(n_embd, n_head, n_kv_head, head_dim)


def make_rope(*, head_dim: int, **settings: Any) -> Rope:
    check_rope(head_dim)
    return Rope(head_dim=head_dim, **settings)


class Transformer(LanguageModel):
    """Decoder-only transformer, every choice a keyword.

    Args:
        vocab_size: number of token ids. seq_len: longest context in tokens.
        n_layer, n_head, n_embd: depth, query heads, width. Null n_embd is 64 n_layer, null n_head is n_embd / 128
            rounded up: nanochat's one dial.
        n_kv_head: heads of keys and values, n_head if null; 1 is multi-query attention.
        head_dim: channels of a head, n_embd / n_head if null.
        n_inner: width of the MLP; null: 4 n_embd, for swiglu 8/3 n_embd up to the next multiple of 64.
        mlp: swiglu, geglu_tanh (Gemma), gelu, gelu_tanh or relu2.
        norm: rms or layer. norm_weight: with gains (and biases, if `bias`). norm_eps: added to the mean square.
        bias: in linear layers and layer norms. qkv_bias: in queries, keys and values, also without `bias` (Qwen2).
        post_norm: what a sublayer adds is normalised too (Gemma 3).
        qk_norm: none, head (Qwen3), full (OLMoE) or weightless (nanochat).
        attention_scale: factor on the scores; null is 1 / sqrt(head_dim).
        position: rope, learned or none.
        rope_theta: period of the slowest rotation / 2 pi. rope_scaling: none, linear, llama3 or yarn, for contexts
            `rope_factor` times as long as `rope_trained_len`; rope_low, rope_high: of llama3's rule.
        rope_local_theta: period in layers with a window, unscaled, or null for the same everywhere (Gemma 3).
        window: latest tokens that attention sees, or null for all. window_layers: where; null is all layers.
        sinks: none; learned (a score per head for attending to nothing); tokens (`n_sink` reserved tokens in front of
            every text, seen from everywhere, as 2309.17453 trains them).
        embed_norm: the stream begins normalised (nanochat). tied: the head is the embedding.
        embed_scale, residual_scale: factors on the embedding and on what each sublayer adds; logits_scaling: what the
            logits are divided by (Granite; Gemma's embed_scale is sqrt(n_embd)).
        lambdas: before each block the stream and its beginning are mixed by two learned scalars. smear: each token
            takes in some of the one before it. value_embeds: every second layer, the last too, has values by token.
            backout: at the end, some of the middle of the depth is taken away (all four: nanochat since 2026).
        softcap: largest absolute logit, or null. dropout: of the embedding, attention weights, sublayers.
        init: gpt2 (normal with `init_std`, residual outputs / sqrt(2 n_layer)) or nanochat (1 / sqrt(inputs), residual
            outputs and head 0).
        checkpoint_blocks: recompute each block in the backward pass; less memory for a third more time.
        moe: experts in the place of MLPs, see MoESettings; null for none.

    Raises:
        RequestError: head counts that do not divide, a window or sinks that make no sense.
    """

    def __init__(
        self,
        *,
        vocab_size: PositiveInt,
        seq_len: PositiveInt,
        n_layer: PositiveInt,
        n_head: PositiveInt | None,
        n_embd: PositiveInt | None,
        n_kv_head: PositiveInt | None = None,
        head_dim: PositiveInt | None = None,
        n_inner: PositiveInt | None = None,
        mlp: Literal["swiglu", "geglu_tanh", "gelu", "gelu_tanh", "relu2"] = "swiglu",
        norm: Literal["rms", "layer"] = "rms",
        norm_weight: bool = True,
        norm_eps: NonNegativeFloat = 1e-5,
        bias: bool = False,
        qkv_bias: bool = False,
        post_norm: bool = False,
        qk_norm: Literal["none", "head", "full", "weightless"] = "none",
        attention_scale: PositiveFloat | None = None,
        position: Literal["rope", "learned", "none"] = "rope",
        rope_theta: PositiveFloat = 10_000.0,
        rope_scaling: Literal["none", "linear", "llama3", "yarn"] = "none",
        rope_factor: PositiveFloat = 1.0,
        rope_trained_len: PositiveInt | None = None,
        rope_low: PositiveFloat = 1.0,
        rope_high: PositiveFloat = 4.0,
        rope_local_theta: PositiveFloat | None = None,
        window: PositiveInt | None = None,
        window_layers: list[NonNegativeInt] | None = None,
        sinks: Literal["none", "learned", "tokens"] = "none",
        n_sink: NonNegativeInt = 0,
        embed_norm: bool = False,
        embed_scale: PositiveFloat = 1.0,
        residual_scale: PositiveFloat = 1.0,
        logits_scaling: PositiveFloat = 1.0,
        lambdas: bool = False,
        smear: bool = False,
        value_embeds: bool = False,
        backout: bool = False,
        tied: bool = False,
        softcap: PositiveFloat | None = None,
        dropout: Below1 = 0.0,
        init: Literal["gpt2", "nanochat"] = "gpt2",
        init_std: PositiveFloat = 0.02,
        checkpoint_blocks: bool = False,
        moe: MoESettings | None = None,
    ):
        super().__init__()
        sizes = sizes_of(n_layer=n_layer, n_head=n_head, n_embd=n_embd, n_kv_head=n_kv_head, head_dim=head_dim)
        check_window(window, window_layers, n_layer)
        check_sinks(sinks, n_sink, smear=smear)
        check_moe(moe, n_layer)
        self.vocab_size, self.seq_len, self.n_layer, self.softcap = vocab_size, seq_len, n_layer, softcap
        self.n_head, self.head_dim, self.window, self.moe = sizes.n_head, sizes.head_dim, window, moe
        self.n_sink = n_sink if sinks == "tokens" else 0
        self.dropout, self.embed_norm, self.checkpoint_blocks = dropout, embed_norm, checkpoint_blocks
        self.embed_scale, self.logits_scaling = embed_scale, logits_scaling
        slots, width = seq_len + self.n_sink, sizes.n_embd

        self.embed = nn.Embedding(vocab_size, width)
        self.position = nn.Embedding(slots, width) if position == "learned" else None
        self.sink_tokens = nn.Embedding(n_sink, width) if self.n_sink else None
        rope = None if position != "rope" else make_rope(
            head_dim=sizes.head_dim, seq_len=slots, base=rope_theta, scaling=rope_scaling, factor=rope_factor,
            trained_len=rope_trained_len, low=rope_low, high=rope_high,
        )  # fmt: skip
        local = None if rope is None or rope_local_theta is None else make_rope(
            head_dim=sizes.head_dim, seq_len=slots, base=rope_local_theta
        )  # fmt: skip
        a_norm = partial(make_norm, width, kind=norm, weight=norm_weight, bias=bias, eps=norm_eps)
        attention = partial(
            GroupedAttention, **sizes._asdict(), capacity=slots, qkv_bias=qkv_bias or bias, bias=bias, qk_norm=qk_norm,
            norm_eps=norm_eps, dropout=dropout, learned_sink=sinks == "learned", scale=attention_scale,
        )  # fmt: skip
        n_inner = default_width(width, mlp) if n_inner is None else n_inner
        dense = partial(MLP, n_embd=width, n_inner=n_inner, kind=mlp, bias=bias, dropout=dropout)
        windowed = [window is not None and (window_layers is None or i in window_layers) for i in range(n_layer)]
        valued = {i for i in range(n_layer) if value_embeds and i % 2 == (n_layer - 1) % 2}
        self.blocks = nn.ModuleList(
            Block(
                attention=attention(layer=i, rope=(local or rope) if windowed[i] else rope, value_gate=i in valued),
                mlp=MoE(moe, n_embd=width, dropout=dropout) if moe and moe.has_experts(i) else dense(),
                norms=(a_norm(), a_norm()),
                windowed=windowed[i],
                post_norms=(a_norm(), a_norm()) if post_norm else (None, None),
                scale=residual_scale,
            )
            for i in range(n_layer)
        )
        values = sizes.n_kv_head * sizes.head_dim
        self.value_embeds = nn.ModuleDict({str(i): nn.Embedding(vocab_size, values) for i in sorted(valued)})
        self.lambdas = StreamLambdas(n_layer) if lambdas else None
        self.smear = Smear(width) if smear else None
        self.backout_lambda = nn.Parameter(torch.full((1,), 0.2)) if backout else None
        self.norm = a_norm()
        self.lm_head = nn.Linear(width, vocab_size, bias=False)
        if tied:
            self.lm_head.weight = self.embed.weight
        initialise(self, rule=init, std=init_std, router_std=0.0 if moe is None else moe.router_init_std)

    @property
    def head(self) -> nn.Linear:
        return self.lm_head

    @property
    def reads_compact(self) -> bool:  # type: ignore[override]
        """Not with experts, which count tokens by rows and get no padding anyway, nor with tokens in front of rows."""
        return self.moe is None and not self.n_sink

    @property
    def reads_slot(self) -> bool:  # type: ignore[override]
        """Not with experts, whose rows are counted, nor where a token takes in of the one before, nor with tokens in
        front of rows."""
        return self.moe is None and self.smear is None and not self.n_sink

    def attention_flops_per_token(self, seq_len: int) -> int:
        seen = sum(min(seq_len, self.window or seq_len) if b.windowed else seq_len for b in self.blocks)
        return 12 * self.n_head * self.head_dim * seen

    def trunk(
        self,
        ids_BT: Tensor,
        *,
        documents_BT: Tensor | None = None,
        padding_BT: Tensor | None = None,
        cache: KVCache | None = None,
        weights: list[Tensor] | None = None,
        compact: Compact | None = None,
    ) -> Trunk:
        x, documents_BT, padding_BT, positions = self._enter(ids_BT, documents_BT, padding_BT, cache)
        T, start = x.shape[1], cache.length if cache is not None else 0
        masks = self._masks(T, start + T, documents_BT, padding_BT, x.device, None if cache is None else cache.slot)
        real_BT = None if padding_BT is None else padding_BT[:, -T:]
        routings: list[Routing] = []
        x = x if compact is None else compact.tokens(x)
        first = middle = x
        for i, block in enumerate(self.blocks):
            if self.lambdas is not None:
                x = self.lambdas(x, first, i)
            embedded = self._values_of(ids_BT, i, T)
            inputs = (x, positions, masks[bool(block.windowed)], cache, real_BT, weights is not None, embedded, compact)
            if self.checkpoint_blocks and self.training:
                x, routing, seen = checkpoint(block, *inputs, use_reentrant=False)
            else:
                x, routing, seen = block(*inputs)
            if routing is not None:
                routings.append(routing)
            if weights is not None:
                weights.append(seen)
            if i == self.n_layer // 2:
                middle = x
        if self.backout_lambda is not None:
            x = x - self.backout_lambda.to(x.dtype) * middle
        if cache is not None:
            cache.length += T
        hidden = self.norm(x[:, self.n_sink if start == 0 else 0 :])
        hidden = hidden if self.logits_scaling == 1.0 else hidden / self.logits_scaling  # the head is linear
        hidden = hidden if compact is None else compact.rows(hidden)
        return Trunk(hidden, self._auxiliary_losses(routings), stacked(routings))

    def _values_of(self, ids_BT: Tensor, layer: int, T: int) -> Tensor | None:
        """Value embeddings of a layer, (B, T, K D), 0 at reserved sink tokens in front; None where it has none."""
        if str(layer) not in self.value_embeds:
            return None
        return F.pad(self.value_embeds[str(layer)](ids_BT), (0, 0, T - ids_BT.shape[1], 0))

    def _auxiliary_losses(self, routings: list[Routing]) -> dict[str, Tensor]:
        """Scaled, means over layers: a coefficient means the same at any depth."""
        if self.moe is None or not routings:
            return {}
        terms = {
            "load_balance": (self.moe.load_balance, [r.load_balance for r in routings]),
            "router_z": (self.moe.z_coef, [r.router_z for r in routings]),
        }
        return {name: coef * torch.stack(values).mean() for name, (coef, values) in terms.items() if coef}

    @property
    def experts(self) -> dict[int, MoE]:
        """The layers of experts, by the number of their block."""
        return {i: block.mlp for i, block in enumerate(self.blocks) if isinstance(block.mlp, MoE)}

    def after_update(self, stats: dict[str, Tensor], *, step: int) -> None:
        for moe, loads_E in zip(self.experts.values(), stats["moe/loads"], strict=True):
            moe.balance(loads_E, step=step)

    def stats_metrics(self, stats: dict[str, Tensor]) -> dict[str, float]:
        return routing_metrics(stats, list(self.experts))

    def inactive_parameters(self) -> int:
        return sum(moe.inactive_parameters() for moe in self.experts.values())

    def _enter(
        self, ids_BT: Tensor, documents_BT: Tensor | None, padding_BT: Tensor | None, cache: KVCache | None
    ) -> tuple[Tensor, Tensor | None, Tensor | None, Tensor]:
        """The stream as it begins, with documents, padding and positions to match; sink tokens in front of a text."""
        T, n_sink = ids_BT.shape[1], self.n_sink
        start = cache.length if cache is not None else 0
        first = start == 0
        slot = None if cache is None else cache.slot
        if slot is None:
            check_length(T if padding_BT is not None else start + T, self.seq_len + (0 if first else n_sink))
        if slot is not None:
            positions = slot.positions_B1
        elif documents_BT is not None:
            positions = restarting_positions(documents_BT) + n_sink  # (B, T)
        else:
            positions = positions_of(T, max(0, start - n_sink), padding_BT, ids_BT.device) + n_sink
        x = self.embed(ids_BT)
        if self.sink_tokens is not None:
            if padding_BT is not None:
                padding_BT = F.pad(padding_BT, (n_sink, 0), value=True)
            if first:
                x = torch.cat([self.sink_tokens.weight.expand(len(x), -1, -1).to(x.dtype), x], dim=1)
                at = torch.arange(n_sink, device=x.device)
                positions = torch.cat([at.expand(*positions.shape[:-1], -1), positions], dim=-1)
                if documents_BT is not None:
                    documents_BT = F.pad(documents_BT, (n_sink, 0), value=-1)
        if self.position is not None:
            x = x + self.position(positions)
        if self.embed_scale != 1.0:
            x = x * torch.full((), self.embed_scale, dtype=x.dtype, device=x.device)  # rounded as transformers does
        if self.embed_norm:
            x = rms_norm(x)
        if self.smear is not None:
            x = self.smear(x, cache, documents_BT, padding_BT)
        return F.dropout(x, self.dropout, self.training), documents_BT, padding_BT, positions

    def _masks(
        self,
        T: int,
        S: int,
        documents_BT: Tensor | None,
        padding_BT: Tensor | None,
        device: torch.device,
        slot: Slot | None,
    ) -> dict[bool, Tensor | None]:
        """The mask of layers with (True) and without a window; the second is not made where no layer needs it."""
        kinds = {bool(block.windowed) for block in self.blocks}
        if slot is not None:
            return {windowed: slot.mask_B1S(self.window if windowed else None) for windowed in kinds}
        return {
            windowed: attention_mask(
                T,
                S,
                documents_BT=documents_BT,
                padding_BT=padding_BT,
                device=device,
                window=self.window if windowed else None,
                n_sink=self.n_sink,
            )
            for windowed in kinds
        }
