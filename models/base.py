"""What every language model here has in common: one forward signature, one loss, one way to be counted.

A model implements `trunk` (token ids -> final hidden states) and `head` (the output matrix). The rest is the same for
all of them: dense, mixture of experts, or somebody else's model behind this face.

Shapes: B batch, T tokens, S tokens seen (cache included), C channels, V vocabulary.
"""

from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn

from batch import IGNORE, Batch
from models.layers.cache import KVCache
from models.layers.compact import Compact, compacted, firsts
from models.layers.loss import linear_cross_entropy, linear_token_nll, sparse_cross_entropy

FORWARD_KEYS = {"ids_BT": "ids", "targets_BT": "targets", "weights_BT": "weights", "documents_BT": "documents"}


class Output(NamedTuple):
    """What a forward pass returns; a NamedTuple, which DDP, FSDP and torch.compile see through."""

    hidden_BTC: Tensor
    loss: Tensor | None = None  # () sum of nats over the targets that count; None without targets
    nll_BT: Tensor | None = None  # loss of each token, detached, 0 where ignored
    logits: Tensor | None = None  # (B, T, V) or (B, 1, V), as asked for
    aux: dict[str, Tensor] = {}  # noqa: RUF012 - auxiliary losses by name, already scaled; mean over tokens
    sums: dict[str, Tensor] = {}  # noqa: RUF012 - what else an objective logs: sums over what its loss sums over
    stats: dict[str, Tensor] = {}  # noqa: RUF012 - sums over tokens for statistics by name, detached


class Trunk(NamedTuple):
    """What a model's trunk returns; a plain tuple of the first one or two will do."""

    hidden_BTC: Tensor  # final hidden states, normalised
    aux: dict[str, Tensor] = {}  # noqa: RUF012 - as in Output
    stats: dict[str, Tensor] = {}  # noqa: RUF012 - as in Output


class LanguageModel(nn.Module):
    """Base class. Attributes `vocab_size` and `seq_len` (longest context in tokens) are set by the subclass."""

    vocab_size: int
    seq_len: int
    n_layer: int
    n_sink: int = 0  # reserved tokens that the trunk puts in front of a text; they take slots of a cache
    n_ids: int | None = None  # ids that the tokenizer has, where the embedding has more rows: never generated
    softcap: float | None = None
    learns_new_ids: bool = True  # False: the embedding is frozen
    has_cache: bool = True  # False: generation reads everything again for each token
    encodes_source: bool = False  # True: what stands before an answer is read by an encoder, both ways
    overflows_fp16: bool = False  # True: 16-mixed ends in infinities
    reads_compact: bool = False  # True: its trunk can leave out padding and what pairs of rows share
    reads_slot: bool = False  # True: its trunk can read one token without asking the cache for a number (`Slot`)
    serves: tuple[str, ...] = ()  # classes of the objectives that can train it; (): all

    @property
    def head(self) -> nn.Linear:
        """The output projection, C -> V, without bias."""
        raise NotImplementedError

    def trunk(
        self,
        ids_BT: Tensor,
        *,
        documents_BT: Tensor | None,
        padding_BT: Tensor | None,
        cache: KVCache | None,
        weights: list[Tensor] | None = None,
    ) -> tuple[Tensor, dict[str, Tensor]] | Trunk:
        """Final hidden states (B, T, C), normalised, and auxiliary losses by name; a `Trunk` where there is more.

        `weights`: a list that takes each layer's attention weights, see `attention_weights`.
        """
        raise NotImplementedError

    @property
    def decoding(self) -> nn.Module:
        """What runs for each new token."""
        return self

    def attention_flops_per_token(self, seq_len: int) -> int:
        """FLOPs of QK^T and its product with V, forward and backward, for one token in a window of `seq_len`."""
        raise NotImplementedError

    def forward(
        self,
        ids_BT: Tensor,
        *,
        targets_BT: Tensor | None = None,
        weights_BT: Tensor | None = None,
        documents_BT: Tensor | None = None,
        padding_BT: Tensor | None = None,
        cache: KVCache | None = None,
        source_B: Tensor | None = None,
        compact: Compact | None = None,
        logits: Literal["none", "last", "all"] = "none",
        sparse_targets: bool = False,
        per_token: bool = False,
        temperature: float = 1.0,
    ) -> Output:
        """One signature for every model and objective.

        Args:
            ids_BT: token ids. targets_BT: the token that follows each of them, -100 = no loss.
            weights_BT: weight of each target in the loss (default 1).
            documents_BT: document of each token; neither attention nor positions cross a border.
            padding_BT: True at real tokens (over all S positions if there is a cache).
            cache: keys and values of earlier tokens; extended by these.
            source_B: of encoder-decoders, how many of a row's first tokens the encoder reads; others are never told.
            compact: which tokens have to be read, see `inputs_of`; it says all that padding_BT does.
            logits: "last" position or "all" of them; "none" costs nothing.
            sparse_targets: most targets have no loss: the head is run only at those that do.
            per_token: `nll_BT` carries the gradient, for losses that are no sum over tokens; `loss` stays None.
            temperature: of per_token: logits are divided by it, as in sampling. With a softcap it must be 1.
        """
        told: dict[str, Any] = {} if source_B is None else {"source_B": source_B}
        if compact is not None:
            told["compact"], padding_BT = compact, None
        found = self.trunk(ids_BT, documents_BT=documents_BT, padding_BT=padding_BT, cache=cache, **told)
        hidden, aux, stats = Trunk(*found)
        loss = nll_BT = None
        if targets_BT is not None and per_token:
            nll_BT = self._token_nll(hidden if temperature == 1 else hidden / temperature, targets_BT)
        elif targets_BT is not None:
            weights = None if weights_BT is None else weights_BT.reshape(-1)
            cross_entropy = sparse_cross_entropy if sparse_targets else linear_cross_entropy
            loss, nll = cross_entropy(
                hidden.reshape(-1, hidden.shape[-1]),
                self.head.weight,
                targets_BT.reshape(-1),
                softcap=self.softcap,
                weights_N=weights,
            )
            nll_BT = nll.view_as(targets_BT)
        return Output(hidden, loss, nll_BT, self._logits(hidden, logits), aux, stats=stats)

    def inputs_of(self, micro: Batch) -> dict[str, Any]:
        """What of a batch `forward` takes, by argument: the one place where keys (batch.py) become arguments.

        Padding comes last, where causal attention never looks. A model that counts its tokens is told of it (S15); one
        that `reads_compact` leaves it out.
        """
        inputs: dict[str, Any] = {argument: micro[key] for argument, key in FORWARD_KEYS.items() if key in micro}
        if self.inactive_parameters() and (padding_BT := real_tokens(micro)) is not None:
            inputs["padding_BT"] = padding_BT
        if (compact := self.compact_of(micro)) is not None:
            inputs["compact"] = compact
        return inputs

    def compact_of(self, micro: Batch) -> Compact | None:
        """Which tokens of a batch have to be read; None: all that there are, as they lie.

        So it is where a model does not `reads_compact`; where rows are packed, and have hardly any padding; and where
        the model is compiled, which wants shapes that come again.
        """
        compiled = self._compiled_call_impl is not None
        if not self.reads_compact or compiled or "documents" in micro or (real_BT := real_tokens(micro)) is None:
            return None
        if "index" in micro and len(micro["ids"]) == 2 * len(micro["index"]):  # pairs
            group_B = torch.arange(len(micro["index"]), device=real_BT.device).repeat(2)
        elif "asked" in micro:
            group_B = micro["asked"]
        else:
            return compacted(real_BT)
        return compacted(real_BT, micro["ids"], firsts(group_B))

    def _token_nll(self, hidden_BTC: Tensor, targets_BT: Tensor) -> Tensor:
        """Differentiable loss of each token; logits are computed at the tokens that count only."""
        at_N = (targets_BT.reshape(-1) != IGNORE).nonzero().squeeze(1)
        hidden_NC, targets_N = hidden_BTC.flatten(0, 1)[at_N], targets_BT.reshape(-1)[at_N]
        nll_N = linear_token_nll(hidden_NC, self.head.weight, targets_N, softcap=self.softcap)
        return nll_N.new_zeros(targets_BT.numel()).index_put((at_N,), nll_N).view_as(targets_BT)

    def _logits(self, hidden_BTC: Tensor, which: str) -> Tensor | None:
        if which == "none":
            return None
        return self.logits_of(hidden_BTC[:, -1:] if which == "last" else hidden_BTC)

    def logits_of(self, hidden: Tensor) -> Tensor:
        """(..., C) final hidden states -> (..., V)."""
        logits = self.head(hidden)
        return logits if self.softcap is None else self.softcap * torch.tanh(logits / self.softcap)

    @property
    def attention_names(self) -> list[str]:
        """What each of `attention_weights` is of, where they are not one a layer; else nothing."""
        return []

    def attention_weights(self, ids_BT: Tensor, *, documents_BT: Tensor | None = None, **more: Tensor) -> list[Tensor]:
        """What each token looks at in each layer: (B, H, T, T), rows are the tokens that look. Dropout left out.

        They are computed beside the fused attention, which never holds them: only where they are asked for, each layer
        B H T T numbers. Reserved sink tokens (`n_sink`) come first in both T; with learned sinks rows sum to less
        than 1. `more`: what else the model's trunk must know, such as where the sources of an encoder-decoder end.

        Raises:
            RequestError: a model of transformers that does not show them.
        """
        weights: list[Tensor] = []
        self.trunk(ids_BT, documents_BT=documents_BT, padding_BT=None, cache=None, weights=weights, **more)
        return weights

    def parameter_counts(self) -> dict[str, int]:
        """Parameters: total, trainable, and active (those that one token uses)."""
        total = sum(p.numel() for p in self.parameters())  # parameters() counts tied ones once
        trainable = sum(p.numel() for p in self.parameters() if p.requires_grad)
        return {"total": total, "trainable": trainable, "active": total - self.inactive_parameters()}

    def inactive_parameters(self) -> int:
        """Parameters that a given token does not use (experts it is not sent to)."""
        return 0

    def after_update(self, stats: dict[str, Tensor], *, step: int) -> None:
        """Called after each update with `Output.stats`, summed over its micro-batches and all ranks."""

    def stats_metrics(self, stats: dict[str, Tensor]) -> dict[str, float]:
        """Metrics by name from such sums over any number of updates; the same names each time."""
        return {}

    def lookup_parameters(self) -> int:
        """Parameters that are only looked up, not multiplied with: embeddings that are not also the head."""
        embeddings = {id(m.weight): m.weight for m in self.modules() if isinstance(m, nn.Embedding | nn.EmbeddingBag)}
        return sum(w.numel() for w in embeddings.values() if w is not self.head.weight)

    def flops_per_token(self, seq_len: int) -> int:
        """Training FLOPs of one token whose target counts, in rows of `seq_len` (PaLM, 2204.02311, appendix B).

        Each multiplied parameter takes 2 forward, 2 to carry the gradient on and 2 for its own gradient: 6 where it
        learns, 4 where it is frozen beside others that learn (LoRA), 2 where nothing does. Attention is added.
        """
        parameters = list(self.parameters())  # once: this is asked at each update
        total = sum(p.numel() for p in parameters)
        frozen = sum(p.numel() for p in parameters if not p.requires_grad)
        idle = self.inactive_parameters()  # experts: with the frozen ones, unless they can be among those that learn
        trainable, multiplied = total - frozen, total - idle - self.lookup_parameters()
        frozen = 0 if frozen == 0 else max(0, multiplied - (trainable - (idle if frozen < idle else 0)))
        if trainable == 0:
            return 2 * multiplied + self.attention_flops_per_token(seq_len) // 3
        return 6 * multiplied - 2 * frozen + self.attention_flops_per_token(seq_len)

    def head_flops_per_token(self) -> int:
        """What of `flops_per_token` is spent at targets that count only: the product with the head."""
        learns = any(p.requires_grad for p in self.parameters())
        return (6 if self.head.weight.requires_grad else 4 if learns else 2) * self.head.weight.numel()


def real_tokens(micro: Batch) -> Tensor | None:
    """(B, T) bool: False at padding; None where the batch says nothing of it."""
    if "padding" in micro:
        return micro["padding"]
    if "lengths" not in micro:
        return None
    T = micro["ids"].shape[1]
    return torch.arange(T, device=micro["ids"].device) < micro["lengths"].unsqueeze(1)


def restarting_positions(documents_BT: Tensor) -> Tensor:
    """Positions that start again at 0 with each document: [7, 7, 9, 9, 9] -> [0, 1, 0, 1, 2]."""
    T = documents_BT.shape[1]
    at = torch.arange(T, device=documents_BT.device).expand_as(documents_BT)
    starts = torch.ones_like(documents_BT, dtype=torch.bool)
    starts[:, 1:] = documents_BT[:, 1:] != documents_BT[:, :-1]
    return at - at.where(starts, 0).cummax(dim=1).values
