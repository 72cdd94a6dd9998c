"""A small, quick GPT: hashed n-gram embeddings do what attention would need many steps to find out.

    ids -> norm(embedding + n-gram embeddings) -> [x + attention(norm(x)); x + mlp(norm(x))] * n_layer -> norm -> head

The rest is nanochat's: rotary positions, normalised queries and keys, squared ReLU (Primer, 2109.08668), norms without
gain, no biases, untied head, logits softly capped, and zeros at the end of each branch, so that training starts from
the embeddings alone.
"""

from torch import Tensor, nn

from bounds import NonNegativeFloat, PositiveFloat, PositiveInt
from errors import RequestError
from models.base import LanguageModel
from models.gpt import check_heads, positions_and_mask
from models.layers.attention import CausalSelfAttention
from models.layers.cache import KVCache
from models.layers.compact import Compact
from models.layers.mlp import relu2
from models.layers.ngrams import HashedNGrams
from models.layers.norm import rms_norm
from models.layers.rope import Rope


class Block(nn.Module):
    def __init__(self, *, layer: int, n_embd: int, n_head: int, seq_len: int, mlp_ratio: int, rope: Rope):
        super().__init__()
        self.attention = CausalSelfAttention(
            n_embd=n_embd,
            n_head=n_head,
            seq_len=seq_len,
            layer=layer,
            bias=False,
            dropout=0.0,
            rope=rope,
            qk_norm=True,
        )
        self.up = nn.Linear(n_embd, mlp_ratio * n_embd, bias=False)
        self.down = nn.Linear(mlp_ratio * n_embd, n_embd, bias=False)

    def forward(
        self,
        x_BTC: Tensor,
        positions_T: Tensor | None,
        mask_BTS: Tensor | None,
        cache: KVCache | None,
        weights: list[Tensor] | None = None,
        compact: Compact | None = None,
    ) -> Tensor:
        x_BTC = x_BTC + self.attention(
            rms_norm(x_BTC), positions_T=positions_T, mask_BTS=mask_BTS, cache=cache, weights=weights, compact=compact
        )
        return x_BTC + self.down(relu2(self.up(rms_norm(x_BTC))))


class NGramGPT(LanguageModel):
    """Transformer over token and hashed n-gram embeddings.

    Args:
        vocab_size: number of token ids. seq_len: longest context in tokens.
        n_layer, n_head, n_embd: depth, heads, width. mlp_ratio: width of the MLP / n_embd.
        ngram_orders: lengths of the n-grams that are looked up. ngram_rows: rows of each order's table.
        rope_base: period of the slowest rotation. softcap: largest absolute logit, or None.
        embed_std, ngram_std: of the tables at the start.

    Raises:
        RequestError: n_embd is not divisible by n_head, or an n-gram is shorter than 2.
    """

    reads_compact = True

    def __init__(
        self,
        *,
        vocab_size: PositiveInt,
        seq_len: PositiveInt,
        n_layer: PositiveInt,
        n_head: PositiveInt,
        n_embd: PositiveInt,
        mlp_ratio: PositiveInt,
        ngram_orders: list[PositiveInt],
        ngram_rows: PositiveInt,
        rope_base: PositiveFloat,
        softcap: PositiveFloat | None,
        embed_std: PositiveFloat,
        ngram_std: NonNegativeFloat,
    ):
        super().__init__()
        check_heads(n_embd, n_head)
        check_orders(ngram_orders)
        self.vocab_size, self.seq_len, self.n_layer, self.softcap = vocab_size, seq_len, n_layer, softcap
        self.embed = nn.Embedding(vocab_size, n_embd)
        self.ngrams = HashedNGrams(vocab_size=vocab_size, orders=ngram_orders, rows=ngram_rows, n_embd=n_embd)
        rope = Rope(head_dim=n_embd // n_head, seq_len=seq_len, base=rope_base)  # shared by all blocks
        self.blocks = nn.ModuleList(
            Block(layer=i, n_embd=n_embd, n_head=n_head, seq_len=seq_len, mlp_ratio=mlp_ratio, rope=rope)
            for i in range(n_layer)
        )
        self.lm_head = nn.Linear(n_embd, vocab_size, bias=False)
        self._init_weights(embed_std=embed_std, ngram_std=ngram_std)

    def _init_weights(self, *, embed_std: float, ngram_std: float) -> None:
        """Tables normal; what reads the stream uniform, std 1 / sqrt(inputs); what writes to it, and the head, 0."""
        for name, p in self.named_parameters():
            if name == "embed.weight":
                nn.init.normal_(p, std=embed_std)
            elif name == "ngrams.table.weight":
                nn.init.normal_(p, std=ngram_std)
            elif name.endswith(("attention.proj.weight", "down.weight", "lm_head.weight")):
                nn.init.zeros_(p)
            else:  # uniform on [-a, a] has std a / sqrt(3)
                bound = (3 / p.shape[1]) ** 0.5
                nn.init.uniform_(p, -bound, bound)

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
        x = rms_norm(self.embed(ids_BT) + self._ngrams(ids_BT, documents_BT, padding_BT, cache))
        x = x if compact is None else compact.tokens(x)
        for block in self.blocks:
            x = block(x, positions, mask_BTS, cache, weights, compact)
        if cache is not None:
            cache.length += ids_BT.shape[1]
        hidden = rms_norm(x)
        return hidden if compact is None else compact.rows(hidden), {}

    def _ngrams(
        self, ids_BT: Tensor, documents_BT: Tensor | None, padding_BT: Tensor | None, cache: KVCache | None
    ) -> Tensor:
        """N-gram embeddings (B, T, C). A padded position counts as nothing; the cache remembers the last ids."""
        if padding_BT is not None:
            ids_BT = ids_BT.where(padding_BT[:, -ids_BT.shape[1] :], self.ngrams.nothing)
        past_BN = None if cache is None else cache.last_ids_BN
        if cache is not None:
            cache.last_ids_BN = self.ngrams.extend(past_BN, ids_BT)
            cache.note("last_ids_BN", ids_BT)
        return self.ngrams(ids_BT, past_BN=past_BN, documents_BT=documents_BT)


def check_orders(orders: list[int]) -> None:
    """Raises RequestError unless all n-grams have two tokens or more, none twice."""
    if not orders or min(orders) < 2 or len(set(orders)) < len(orders):
        raise RequestError(
            f"model.ngram_orders={orders}: need different lengths of 2 or more (single tokens have their own table).\n"
            "Try model.ngram_orders=[2,3,4]."
        )
