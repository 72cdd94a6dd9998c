"""Peak memory of two updates of GPT-2 124M (4 x 512 tokens, fp32, CPU): ours against nanoGPT's way, each by itself.

nanoGPT's way is its model (benchmarks/_peers.py) with AdamW, gradients clipped.
"""

import resource
import subprocess
import sys

import torch
from torch import Tensor, nn

from benchmarks._peers import NanoGPT
from models.gpt import GPT
from optimization.adamw import adamw

BATCH, SEQ_LEN, CONTEXT, VOCAB, N_LAYER, N_HEAD, N_EMBD, UPDATES = 4, 512, 1024, 50_257, 12, 12, 768, 2


def new(which: str) -> tuple[nn.Module, torch.optim.Optimizer]:
    if which == "plain":
        plain = NanoGPT()
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
