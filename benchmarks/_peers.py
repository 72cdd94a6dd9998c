"""The models that ours are measured beside, after nanoGPT's model.py and nanochat's gpt.py: their code is not at hand.

What makes their speed is kept: fused attention, logits of all tokens at once into cross entropy, the whole model
compiled or not at all. Their ways of beginning are not, since no figure depends on them.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class NanoGPT(nn.Module):
    """nanoGPT's model, of GPT-2's size unless others are given."""

    def __init__(
        self,
        vocab_size: int = 50_257,
        *,
        n_layer: int = 12,
        n_head: int = 12,
        n_embd: int = 768,
        context: int = 1024,
        bias: bool = True,
    ) -> None:
        super().__init__()
        self.embed, self.position = nn.Embedding(vocab_size, n_embd), nn.Embedding(context, n_embd)
        self.blocks = nn.ModuleList(NanoGPTBlock(n_head, n_embd, bias=bias) for _ in range(n_layer))
        self.norm = nn.LayerNorm(n_embd, bias=bias)
        self.head = nn.Linear(n_embd, vocab_size, bias=False)
        self.head.weight = self.embed.weight

    def forward(self, ids_BT: Tensor, targets_BT: Tensor) -> Tensor:
        x = self.embed(ids_BT) + self.position(torch.arange(ids_BT.shape[1], device=ids_BT.device))
        for block in self.blocks:
            x = block(x)
        logits_BTV = self.head(self.norm(x))
        return F.cross_entropy(logits_BTV.flatten(0, 1), targets_BT.reshape(-1))


class NanoGPTBlock(nn.Module):
    """One matrix for queries, keys and values."""

    def __init__(self, n_head: int, n_embd: int, *, bias: bool) -> None:
        super().__init__()
        self.n_head = n_head
        self.norm1, self.norm2 = nn.LayerNorm(n_embd, bias=bias), nn.LayerNorm(n_embd, bias=bias)
        self.qkv, self.proj = nn.Linear(n_embd, 3 * n_embd, bias=bias), nn.Linear(n_embd, n_embd, bias=bias)
        self.up, self.down = nn.Linear(n_embd, 4 * n_embd, bias=bias), nn.Linear(4 * n_embd, n_embd, bias=bias)

    def forward(self, x_BTC: Tensor) -> Tensor:
        q, k, v = (
            part.unflatten(-1, (self.n_head, -1)).transpose(1, 2) for part in self.qkv(self.norm1(x_BTC)).chunk(3, -1)
        )
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).flatten(2)
        x_BTC = x_BTC + self.proj(y)
        return x_BTC + self.down(F.gelu(self.up(self.norm2(x_BTC))))


class Nanochat(nn.Module):
    """nanochat's model as of October 2025: 561 M parameters with 20 layers of 1280 and 65,536 ids.

    Rotary positions, queries and keys normalised, norms without weights, squared ReLU, a head of its own whose logits
    are capped in fp32 at 15.
    """

    def __init__(self, vocab_size: int, *, n_layer: int, n_head: int, n_embd: int, context: int) -> None:
        super().__init__()
        self.embed = nn.Embedding(vocab_size, n_embd, dtype=torch.bfloat16)
        self.blocks = nn.ModuleList(NanochatBlock(n_head, n_embd) for _ in range(n_layer))
        self.head = nn.Linear(n_embd, vocab_size, bias=False)
        half = n_embd // n_head // 2
        angles_TD = torch.outer(torch.arange(context).float(), 10_000 ** -(torch.arange(half) / half))
        for name, table in (("cos_TD", angles_TD.cos()), ("sin_TD", angles_TD.sin())):
            self.register_buffer(name, table.bfloat16())

    def forward(self, ids_BT: Tensor, targets_BT: Tensor) -> Tensor:
        x = normed(self.embed(ids_BT))
        for block in self.blocks:
            x = block(x, self.cos_TD, self.sin_TD)
        logits_BTV = self.head(normed(x))
        logits_BTV = (15 * torch.tanh(logits_BTV / 15)).float()
        return F.cross_entropy(logits_BTV.flatten(0, 1), targets_BT.reshape(-1))


class NanochatBlock(nn.Module):
    def __init__(self, n_head: int, n_embd: int) -> None:
        super().__init__()
        self.n_head = n_head
        self.q, self.k, self.v, self.proj = (nn.Linear(n_embd, n_embd, bias=False) for _ in range(4))
        self.up, self.down = nn.Linear(n_embd, 4 * n_embd, bias=False), nn.Linear(4 * n_embd, n_embd, bias=False)

    def forward(self, x_BTC: Tensor, cos_TD: Tensor, sin_TD: Tensor) -> Tensor:
        h = normed(x_BTC)
        q, k, v = (linear(h).unflatten(-1, (self.n_head, -1)).transpose(1, 2) for linear in (self.q, self.k, self.v))
        q, k = normed(rotated(q, cos_TD, sin_TD)), normed(rotated(k, cos_TD, sin_TD))
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).flatten(2)
        x_BTC = x_BTC + self.proj(y)
        return x_BTC + self.down(F.relu(self.up(normed(x_BTC))).square())


def normed(x: Tensor) -> Tensor:
    return F.rms_norm(x, x.shape[-1:])


def rotated(x_BHTD: Tensor, cos_TD: Tensor, sin_TD: Tensor) -> Tensor:
    a, b = x_BHTD.chunk(2, -1)
    return torch.cat([a * cos_TD + b * sin_TD, b * cos_TD - a * sin_TD], -1).to(x_BHTD.dtype)
