"""One update of GPT-2 124M on the CPU (2 x 512 tokens): share of the measured matmul peak, and memory.

In fp32 by PyTorch's own products and by oneDNN, and in bf16, in turn; the peak is the faster library's.
"""

import resource
import statistics
import time
from contextlib import nullcontext
from typing import NamedTuple

import torch

from benchmarks._as_chosen import speeds
from callbacks.metrics import measured_matmul_flops
from models.gpt import GPT
from models.layers import products
from optimization.adamw import adamw
from tasks.trainer import keep_freed_memory, settle_torch

BATCH, SEQ_LEN, VOCAB, STEPS = 2, 512, 50_257, 5
HOPELESS = 0.1  # how much faster bf16 is where a processor has no units for it


class Way(NamedTuple):
    name: str
    library: products.Library = "torch"
    half: bool = False


def ways(model: GPT) -> list[Way]:
    found = [Way("fp32")]
    if products.is_there():
        found.append(Way("fp32, oneDNN", "onednn"))
    if speeds(model, BATCH * SEQ_LEN).gain > HOPELESS:
        found.append(Way("bf16-mixed", half=True))
    return found


def seconds_of(product) -> float:
    product()
    start = time.perf_counter()
    product()
    return time.perf_counter() - start


def update(model: GPT, optimizer: torch.optim.Optimizer, ids_BT: torch.Tensor, way: Way) -> float:
    """Seconds of forward, backward, clipping and AdamW."""
    start = time.perf_counter()
    with products.by(way.library), torch.autocast("cpu", torch.bfloat16) if way.half else nullcontext():
        loss = model(ids_BT[:, :-1], targets_BT=ids_BT[:, 1:]).loss / ids_BT[:, 1:].numel()
        loss.backward()
    norm = torch.nn.utils.get_total_norm([p.grad for p in model.parameters() if p.grad is not None])
    assert norm.isfinite()
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return time.perf_counter() - start


def peak() -> float:
    """FLOP/s of a large product in fp32, by the library that is faster."""
    plain = max(measured_matmul_flops(torch.device("cpu"), n=2048, repeats=4) for _ in range(2))
    if not products.is_there():
        return plain
    x = torch.randn(2048, 2048)
    return max(plain, *(2 * 2048**3 / seconds_of(lambda: products.by_onednn(x, x, None)) for _ in range(4)))


def main() -> None:
    settle_torch()
    keep_freed_memory()
    before = peak()
    torch.manual_seed(0)
    model = GPT(vocab_size=VOCAB, seq_len=1024, n_layer=12, n_head=12, n_embd=768, gelu="tanh")
    products.follow(model)
    optimizer = adamw(model=model, lr=1e-4, betas=(0.9, 0.95), eps=1e-8, weight_decay=0.1)
    ids = torch.randint(0, VOCAB, (BATCH, SEQ_LEN + 1))
    update(model, optimizer, ids, Way("fp32"))
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    sides = ways(model)
    rounds = [{way: update(model, optimizer, ids, way) for way in sides} for _ in range(STEPS + 1)][1:]
    best = max(before, peak())
    flops = model.flops_per_token(SEQ_LEN) * BATCH * SEQ_LEN
    print("\nGPT-2 124M, one update of 2 x 512 tokens")
    print(f"  matmul peak in fp32  {best / 1e9:.0f} GFLOP/s;  peak memory in fp32 {memory:.2f} GB (aim 3.3)")
    for way in rounds[0]:
        seconds = statistics.median(one[way] for one in rounds)
        times = statistics.median(one[Way("fp32")] / one[way] for one in rounds)
        told = "" if way.half else f";  model FLOPs / time / peak  {flops / seconds / best:.3f} (aim 0.85)"
        aim = " (aim 3)" if way.half else ""
        print(f"  {way.name:<14}{seconds:.2f} s (median of {STEPS}), {times:.2f} x fp32{aim}{told}")
    print()


if __name__ == "__main__":
    main()
