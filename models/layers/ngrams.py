"""Hashed n-gram embeddings: what the last n tokens are, as one vector, without any attention.

Every n-gram has a row of a table, found by hashing; n-grams that collide share one (hash embeddings: 1709.03933;
n-grams of characters: Bojanowski et al. 2017, 1607.04606; of bytes, up to 8: Byte Latent Transformer, 2412.09871, 3.2).

Shapes: B batch, T tokens, N longest n-gram, O orders.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# Odd, about 2^32 / golden ratio: multiplicative hashing (Knuth, The Art of Computer Programming 3, 6.4).
MULTIPLIER = 0x9E3779B1
BITS_31 = 2**31 - 1  # keeps products below 2^63


class HashedNGrams(nn.Module):
    """Sum over `orders` of the embedding of the n-gram that ends at each token.

    Args:
        vocab_size: ids are below it; the id `vocab_size` stands for "nothing here" before a text begins.
        orders: lengths of the n-grams, 2 or more. rows: of the table of each order. n_embd: width.
    """

    def __init__(self, *, vocab_size: int, orders: list[int], rows: int, n_embd: int):
        super().__init__()
        self.nothing, self.orders, self.rows = vocab_size, sorted(orders), rows
        self.history = max(orders, default=1) - 1  # earlier ids that are looked at
        # one table, in which order i has the rows [i * rows, (i + 1) * rows): one lookup, one update
        self.table = nn.EmbeddingBag(len(orders) * rows, n_embd, mode="sum")

    def forward(self, ids_BT: Tensor, *, past_BN: Tensor | None, documents_BT: Tensor | None) -> Tensor:
        """(B, T, C). `past_BN`: the last `history` ids before these; n-grams do not cross a border of documents."""
        index_BTO = self.indices(ids_BT, past_BN=past_BN, documents_BT=documents_BT)
        return self.table(index_BTO.flatten(0, 1)).unflatten(0, ids_BT.shape)

    def indices(self, ids_BT: Tensor, *, past_BN: Tensor | None, documents_BT: Tensor | None) -> Tensor:
        """Row of the table of each token's n-gram of each order, (B, T, O)."""
        B, T = ids_BT.shape
        if past_BN is None:
            past_BN = ids_BT.new_full((B, self.history), self.nothing)
        all_ids, code = torch.cat([past_BN, ids_BT], dim=1), ids_BT
        rows: list[Tensor] = []
        for back in range(1, self.history + 1):
            earlier = all_ids[:, self.history - back : self.history - back + T]
            if documents_BT is not None:
                same = F.pad(documents_BT, (back, 0), value=-1)[:, :T] == documents_BT
                earlier = earlier.where(same, self.nothing)
            code = (code * MULTIPLIER + earlier) & BITS_31
            if back + 1 in self.orders:
                # of a product, the high bits are the well mixed ones
                hashed = (code * MULTIPLIER & BITS_31) * self.rows >> 31  # below self.rows
                rows.append(hashed + len(rows) * self.rows)
        return torch.stack(rows, dim=-1)

    def extend(self, past_BN: Tensor | None, ids_BT: Tensor) -> Tensor:
        """The last `history` ids once `ids_BT` are read: the next call's `past_BN`."""
        if past_BN is None:
            past_BN = ids_BT.new_full((len(ids_BT), self.history), self.nothing)
        return torch.cat([past_BN, ids_BT], dim=1)[:, ids_BT.shape[1] :]
