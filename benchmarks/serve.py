"""task=serve, GPT-2 124M with random weights over HTTP: tokens per second of 8 clients at once against one, and how
long a new request waits for its first token while others run (64 tokens of prompt, 96 new; fp32 on a CPU, bf16 on a
GPU)."""

import asyncio
import json
import os
import statistics
import tempfile
import threading
import time
import urllib.request
from pathlib import Path
from types import SimpleNamespace

import torch

from models.continuous import Continuous
from models.gpt import GPT
from tasks.serving.runs import Runs
from tasks.serving.server import listen, run_until_stopped
from tasks.serving.shelf import Loaded, Shelf
from tasks.trainer import settle_torch
from tokenization.byte import ByteTokenizer

PROMPT, NEW, CLIENTS, VOCAB = 64, 96, 8, 50_257
NAME = "gpt2-random"


def gpt2() -> Loaded:
    """GPT-2's shape and vocabulary; the tokenizer knows the first 257 of its ids, and so it writes only those."""
    torch.manual_seed(0)
    model = GPT(vocab_size=VOCAB, seq_len=1024, n_layer=12, n_head=12, n_embd=768, gelu="tanh")
    model = model.requires_grad_(False).eval()
    if torch.cuda.is_available():
        model = model.to("cuda", torch.bfloat16)
    tokenizer = ByteTokenizer()
    model.n_ids = tokenizer.vocab_size
    return Loaded(NAME, model, tokenizer, None, Continuous(model))


def ask(url: str, seed: int, new: int = NEW) -> tuple[float, int]:
    """(seconds to the first token, tokens) of one streamed completion."""
    body = {"model": NAME, "prompt": [(seed * 31 + i) % 256 for i in range(PROMPT)], "max_tokens": new}
    body |= {"seed": seed, "stream": True, "stream_options": {"include_usage": True}}
    start, first, tokens = time.perf_counter(), 0.0, 0
    request = urllib.request.Request(f"{url}/v1/completions", json.dumps(body).encode())
    with urllib.request.urlopen(request, timeout=600) as answer:
        for line in answer:
            first = first or time.perf_counter() - start
            if b'"usage": {' in line:
                tokens = json.loads(line[6:])["usage"]["completion_tokens"]
    return first, tokens


def together(url: str, count: int) -> tuple[float, list[float]]:
    """Tokens per second of so many clients at once, and how long each waited for its first token."""
    found: list[tuple[float, int]] = []
    threads = [threading.Thread(target=lambda i=i: found.append(ask(url, i))) for i in range(count)]
    start = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(n for _, n in found) / (time.perf_counter() - start), [first for first, _ in found]


def main() -> None:
    settle_torch()
    stopped, door_opened, place = threading.Event(), threading.Event(), {}
    section = SimpleNamespace(rows=32, waiting=64, max_new_tokens=1000)

    def serve() -> None:
        runs = Runs(
            Path(tempfile.gettempdir()) / "no-runs-here", first=(NAME, Path(NAME)), loads=lambda name, at: gpt2()
        )
        shelf = Shelf(runs.servable, runs.loads, most=1)
        with listen("127.0.0.1", 0) as door:
            place["url"] = f"http://127.0.0.1:{door.getsockname()[1]}"
            door_opened.set()
            asyncio.run(run_until_stopped(door, shelf, runs, token=None, section=section, stopped=stopped.is_set))

    server = threading.Thread(target=serve)
    server.start()
    door_opened.wait()
    url = place["url"]
    for clients in (1, 2):  # loads it, and lays out its weights for one row and for several
        together(url, clients)
    loads = [os.getloadavg()[0]]
    pairs = [(together(url, 1)[0], together(url, CLIENTS)) for _ in range(3)]  # side by side: the machine may be shared
    loads.append(os.getloadavg()[0])
    one = statistics.median(rate for rate, _ in pairs)
    many = statistics.median(rate for _, (rate, _) in pairs)
    ratio = statistics.median(rate / alone for alone, (rate, _) in pairs)
    background = threading.Thread(target=lambda: together(url, CLIENTS - 1))
    background.start()
    time.sleep(2.0)
    late = ask(url, 99, new=2)[0]
    background.join()
    stopped.set()
    server.join()
    print(f"serve, GPT-2 124M, {'bf16 on a GPU' if torch.cuda.is_available() else 'fp32 on a CPU'}, "
          f"load {loads[0]:.1f} to {loads[1]:.1f} on {os.cpu_count()} cores")  # fmt: skip
    print(f"  one client              {one:8.1f} tokens/s")
    print(f"  {CLIENTS} clients at once       {many:8.1f} tokens/s   {ratio:.2f} x one (aim: 2.5 or more)")
    print(f"  first token of a request beside {CLIENTS - 1} running ones: {late:.2f} s")


if __name__ == "__main__":
    main()
