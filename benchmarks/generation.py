"""GPT-2 124M on the CPU (64 tokens of prompt, 128 new, fp32): tokens per second against memory and transformers.

A step reads every weight once, so the limit is (read bandwidth / bytes of weights) steps per second.
"""

import time

import torch

from models.generation import generate
from models.gpt import GPT
from models.sampling import GREEDY
from tasks.trainer import set_number_formats

PROMPT, NEW, BATCH, VOCAB = 64, 128, 8, 50_257


def read_bandwidth() -> float:
    """Bytes per second of summing a quarter of a gigabyte, the best of several."""
    big = torch.ones(2**26)
    best = min(_seconds(big.sum) for _ in range(8))
    return big.numel() * 4 / best


def ours(rows: int) -> float:
    """Tokens per second, prefill and packing included."""
    torch.manual_seed(0)
    model = GPT(vocab_size=VOCAB, seq_len=1024, n_layer=12, n_head=12, n_embd=768, gelu="tanh")
    prompts = torch.randint(0, VOCAB, (rows, PROMPT)).tolist()
    run = lambda: generate(model, prompts, max_new_tokens=NEW, sampling=GREEDY)  # noqa: E731
    generate(model, prompts, max_new_tokens=2, sampling=GREEDY)
    return rows * NEW / min(_seconds(run) for _ in range(2))


def theirs(rows: int) -> float:
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(0)
    model = GPT2LMHeadModel(GPT2Config()).eval()
    ids = torch.randint(0, VOCAB, (rows, PROMPT))
    settings = {"do_sample": False, "pad_token_id": 0, "eos_token_id": None}
    model.generate(ids, max_new_tokens=2, **settings)
    return rows * NEW / _seconds(lambda: model.generate(ids, max_new_tokens=NEW, min_new_tokens=NEW, **settings))


def _seconds(function) -> float:
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def main() -> None:
    set_number_formats()
    bandwidth = read_bandwidth()
    with torch.device("meta"):
        model = GPT(vocab_size=VOCAB, seq_len=1024, n_layer=12, n_head=12, n_embd=768)
    size = 4 * (model.parameter_counts()["total"] - model.position.weight.numel())
    limit = bandwidth / size
    one, many, their_one, their_many = ours(1), ours(BATCH), theirs(1), theirs(BATCH)
    limit = max(limit, read_bandwidth() / size)
    print(f"\nGPT-2 124M, {PROMPT} tokens of prompt, {NEW} new, fp32, {torch.get_num_threads()} threads")
    print(f"  reads at {limit * size / 1e9:.1f} GB/s: at most {limit:.1f} tokens/s for one row")
    print(f"  batch 1    {one:6.1f} tokens/s, {one / limit:.2f} of the limit (aim 0.8);  transformers {their_one:.1f}")
    print(
        f"  batch {BATCH}    {many:6.1f} tokens/s, {many / their_many:.1f} x transformers' {their_many:.1f} (aim 3)\n"
    )


if __name__ == "__main__":
    main()
