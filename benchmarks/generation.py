"""GPT-2 124M on the CPU (64 tokens of prompt, 128 new): tokens per second against memory and transformers, by weights.

A step reads every weight once, so the limit is (read bandwidth / bytes of weights) steps per second. All of a round are
measured in turn, and what is told is the median round. Of one thread the processor's time counts, which the work of
others does not lengthen.
"""

import statistics
import time
from collections.abc import Callable
from contextlib import nullcontext
from typing import get_args

import torch

from models.generation import generate
from models.gpt import GPT
from models.layers.narrow import PARTS, Kind, NarrowLinears
from models.sampling import GREEDY
from tasks.trainer import settle_torch

PROMPT, NEW, BATCH, VOCAB, ROUNDS = 64, 128, 8, 50_257, 5


def read_bandwidth() -> float:
    """Bytes per second of summing a quarter of a gigabyte, the best of several."""
    big = torch.ones(2**26)
    best = min(_seconds(big.sum) for _ in range(8))
    return big.numel() * 4 / best


def bytes_read(model: GPT, narrow: NarrowLinears | None) -> int:
    """Of one step of one row."""
    size = 4 * (model.parameter_counts()["total"] - model.position.weight.numel())
    return size if narrow is None else size - narrow.weights * (4 - 4 // PARTS[narrow.kind])


def theirs() -> Callable[[int], float]:
    """Tokens per second of transformers, by rows."""
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(0)
    model = GPT2LMHeadModel(GPT2Config()).eval()
    settings = {"do_sample": False, "pad_token_id": 0, "eos_token_id": None, "max_new_tokens": NEW}

    def speed(rows: int) -> float:
        ids = torch.randint(0, VOCAB, (rows, PROMPT))
        return rows * NEW / _seconds(lambda: model.generate(ids, min_new_tokens=NEW, **settings))

    return speed


def ours(model: GPT, rows: int, narrow: NarrowLinears | None) -> float:
    """Tokens per second, prefill and packing included."""
    prompts = torch.randint(0, VOCAB, (rows, PROMPT)).tolist()
    with nullcontext() if narrow is None else narrow.active():
        return rows * NEW / _seconds(lambda: generate(model, prompts, max_new_tokens=NEW, sampling=GREEDY))


def _seconds(function) -> float:
    clock = time.thread_time if torch.get_num_threads() == 1 else time.perf_counter
    start = clock()
    function()
    return clock() - start


def main() -> None:
    settle_torch()
    torch.manual_seed(0)
    model = GPT(vocab_size=VOCAB, seq_len=1024, n_layer=12, n_head=12, n_embd=768, gelu="tanh").eval()
    layers: dict[str, NarrowLinears | None] = {"float32": None}
    layers |= {kind: NarrowLinears(model, kind) for kind in get_args(Kind)}
    them, bandwidths, told = theirs(), [], []
    for _ in range(ROUNDS):
        bandwidths.append(read_bandwidth())
        told.append({(kind, rows): ours(model, rows, layers[kind]) for rows in (1, BATCH) for kind in layers})
        told[-1] |= {("transformers", rows): them(rows) for rows in (1, BATCH)}
    print(f"\nGPT-2 124M, {PROMPT} tokens of prompt, {NEW} new, {torch.get_num_threads()} thread(s), {ROUNDS} rounds")
    print(f"  reads at {statistics.median(bandwidths) / 1e9:.1f} GB/s ({min(bandwidths) / 1e9:.1f} to "
          f"{max(bandwidths) / 1e9:.1f})")  # fmt: skip
    for kind in layers:
        limit = bytes_read(model, layers[kind])
        share = statistics.median(r[kind, 1] * limit / b for r, b in zip(told, bandwidths, strict=True))
        for rows in (1, BATCH):
            speed = statistics.median(r[kind, rows] for r in told)
            over = {name: statistics.median(r[kind, rows] / r[name, rows] for r in told)
                    for name in ("float32", "transformers")}  # fmt: skip
            aim = f", {share:.2f} of the limit (aim 0.85)" if rows == 1 else " (aim 4)"
            print(f"  {kind:<9} batch {rows}  {speed:7.1f} tokens/s, {over['float32']:.2f} x float32, "
                  f"{over['transformers']:.2f} x transformers{aim}")  # fmt: skip
    print()


if __name__ == "__main__":
    main()
