"""One update of GPT-2 124M on the CPU (2 x 512 tokens, fp32): share of the measured matmul peak, and memory."""

import resource
import statistics
import time

import torch

from callbacks.metrics import measured_matmul_flops
from models.gpt import GPT
from optimization.adamw import adamw
from tasks.trainer import keep_freed_memory, set_number_formats

BATCH, SEQ_LEN, VOCAB, STEPS = 2, 512, 50_257, 5


def update(model: GPT, optimizer: torch.optim.Optimizer, ids_BT: torch.Tensor) -> float:
    """Seconds of forward, backward, clipping and AdamW."""
    start = time.perf_counter()
    loss = model(ids_BT[:, :-1], targets_BT=ids_BT[:, 1:]).loss / ids_BT[:, 1:].numel()
    loss.backward()
    norm = torch.nn.utils.get_total_norm([p.grad for p in model.parameters() if p.grad is not None])
    assert norm.isfinite()
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return time.perf_counter() - start


def main() -> None:
    set_number_formats()
    keep_freed_memory()
    device = torch.device("cpu")
    peak = max(measured_matmul_flops(device, n=2048, repeats=4) for _ in range(2))
    torch.manual_seed(0)
    model = GPT(vocab_size=VOCAB, seq_len=1024, n_layer=12, n_head=12, n_embd=768, gelu="tanh")
    optimizer = adamw(model=model, lr=1e-4, betas=[0.9, 0.95], eps=1e-8, weight_decay=0.1)
    ids = torch.randint(0, VOCAB, (BATCH, SEQ_LEN + 1))
    update(model, optimizer, ids)
    seconds = [update(model, optimizer, ids) for _ in range(STEPS)]
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    peak = max(peak, measured_matmul_flops(device, n=2048, repeats=4))
    flops = model.flops_per_token(SEQ_LEN) * BATCH * SEQ_LEN
    share = flops / statistics.median(seconds) / peak
    print("\nGPT-2 124M, one update of 2 x 512 tokens, fp32")
    print(f"  matmul peak  {peak / 1e9:.0f} GFLOP/s;  update {statistics.median(seconds):.2f} s (median of {STEPS})")
    print(f"  model FLOPs / time / peak  {share:.3f} (aim 0.75);  peak memory {memory:.2f} GB (aim 3.3)\n")


if __name__ == "__main__":
    main()
