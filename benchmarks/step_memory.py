"""Peak memory of two updates of GPT-2 124M (4 x 512 tokens, fp32, CPU): ours against nanoGPT's way, each by itself.

nanoGPT's way is written out here, after its model.py and train.py: one matrix for queries, keys and values, fused
attention, logits of all tokens at once into cross entropy, AdamW, gradients clipped. Its own code is not at hand.
"""

import resource
import subprocess
import sys

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.gpt import GPT
from optimization.adamw import adamw

BATCH, SEQ_LEN, CONTEXT, VOCAB, N_LAYER, N_HEAD, N_EMBD, UPDATES = 4, 512, 1024, 50_257, 12, 12, 768, 2


class Block(nn.Module):
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


class Plain(nn.Module):
    """nanoGPT's model, of GPT-2's size unless others are given."""

    def __init__(
        self,
        vocab_size: int = VOCAB,
        *,
        n_layer: int = N_LAYER,
        n_head: int = N_HEAD,
        n_embd: int = N_EMBD,
        context: int = CONTEXT,
        bias: bool = True,
    ) -> None:
        super().__init__()
        self.embed, self.position = nn.Embedding(vocab_size, n_embd), nn.Embedding(context, n_embd)
        self.blocks = nn.ModuleList(Block(n_head, n_embd, bias=bias) for _ in range(n_layer))
        self.norm = nn.LayerNorm(n_embd, bias=bias)
        self.head = nn.Linear(n_embd, vocab_size, bias=False)
        self.head.weight = self.embed.weight

    def forward(self, ids_BT: Tensor, targets_BT: Tensor) -> Tensor:
        x = self.embed(ids_BT) + self.position(torch.arange(ids_BT.shape[1], device=ids_BT.device))
        for block in self.blocks:
            x = block(x)
        logits_BTV = self.head(self.norm(x))
        return F.cross_entropy(logits_BTV.flatten(0, 1), targets_BT.reshape(-1))


def new(which: str) -> tuple[nn.Module, torch.optim.Optimizer]:
    if which == "plain":
        plain = Plain()
        return plain, torch.optim.AdamW(plain.parameters(), lr=1e-4, betas=(0.9, 0.95), weight_decay=0.1)
    ours = GPT(vocab_size=VOCAB, seq_len=CONTEXT, n_layer=N_LAYER, n_head=N_HEAD, n_embd=N_EMBD)
    return ours, adamw(model=ours, lr=1e-4, betas=[0.9, 0.95], eps=1e-8, weight_decay=0.1)


def measure(which: str) -> None:
    """Prints this process's peak in bytes."""
    torch.manual_seed(0)
    ids = torch.randint(0, VOCAB, (BATCH, SEQ_LEN + 1))
    model, optimizer = new(which)
    for _ in range(UPDATES):
        inputs, targets = ids[:, :-1], ids[:, 1:]
        loss = model(inputs, targets_BT=targets)
        (loss if isinstance(loss, Tensor) else loss.loss / targets.numel()).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)


def main() -> None:
    peaks = {}
    for which in ("plain", "ours"):
        done = subprocess.run([sys.executable, "-m", "benchmarks.step_memory", which], check=True, capture_output=True)
        peaks[which] = int(done.stdout)
    print(f"\nGPT-2 124M, an update of {BATCH} x {SEQ_LEN} tokens, fp32: peak memory of the process")
    print(f"  nanoGPT's way {peaks['plain'] / 1e9:.2f} GB;  ours {peaks['ours'] / 1e9:.2f} GB;  "
          f"ratio {peaks['ours'] / peaks['plain']:.3f} (aim 1)\n")  # fmt: skip


if __name__ == "__main__":
    if len(sys.argv) > 1:
        measure(sys.argv[1])
    else:
        main()
