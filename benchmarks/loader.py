"""What the loaders give, in tokens a second, against what GPT-2 124M eats here; and streaming against token files.

A stream encodes as it reads, so it is compared where it is used: a small model's whole training step, data included.
"""

import json
import os
import tempfile
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import torch

from benchmarks.gpt2_step import update
from datamodules.hf import HfDataModule
from datamodules.pydoc import PydocSource
from models.gpt import GPT
from optimization.adamw import adamw
from tokenization.byte import ByteTokenizer

SEQ_LEN, BATCH = 1024, 12
STEPS = 200


def tokens_per_second(loader: Any, steps: int) -> float:
    found = iter(loader)
    next(found)
    start = time.perf_counter()
    tokens = sum(micro["ids"].numel() for micros in islice(found, steps) for micro in micros)
    return tokens / (time.perf_counter() - start)


def gpt2_eats() -> float:
    """Tokens a second of an update of GPT-2 124M."""
    torch.manual_seed(0)
    model = GPT(vocab_size=50_257, seq_len=1024, n_layer=12, n_head=12, n_embd=768, gelu="tanh")
    optimizer = adamw(model=model, lr=1e-4, betas=[0.9, 0.95], eps=1e-8, weight_decay=0.1)
    ids = torch.randint(0, 50_257, (2, 513))
    update(model, optimizer, ids)
    return 2 * 512 / min(update(model, optimizer, ids) for _ in range(2))


def steps_with(loader: Any, steps: int) -> float:
    """Tokens a second of a small model's training steps on what the loader gives."""
    torch.manual_seed(0)
    model = GPT(vocab_size=257, seq_len=SEQ_LEN, n_layer=2, n_head=2, n_embd=64)
    optimizer = adamw(model=model, lr=1e-3, betas=[0.9, 0.95], eps=1e-8, weight_decay=0.1)
    batches: Iterator[Any] = iter(loader)
    next(batches)
    start = time.perf_counter()
    for (micro,) in islice(batches, steps):
        loss = model(micro["ids"], targets_BT=micro["targets"]).loss / micro["ids"].numel()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    return steps * BATCH * SEQ_LEN / (time.perf_counter() - start)


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        texts = ["".join(document) for document in PydocSource().documents()]
        for i in range(4):
            lines = [json.dumps({"text": text}) for text in texts[i::4]]
            (Path(folder) / f"{i}.jsonl").write_text("\n".join(lines) + "\n")

        def data(**keys: Any) -> HfDataModule:
            given = {"path": f"{folder}/*.jsonl", "cache_dir": f"{folder}/cache", "val_fraction": 0.05}
            sizes = {"seq_len": SEQ_LEN, "batch_size": BATCH, "val_documents": 10, "shuffle_buffer": 256}
            module = HfDataModule(tokenizer=ByteTokenizer(), **{**given, **sizes, **keys})
            module.prepare()
            return module

        eats = gpt2_eats()
        print(f"\nTokens a second; GPT-2 124M eats {eats:,.0f} on {len(os.sched_getaffinity(0))} cores")
        for name, keys in (
            ("token files", {}),
            ("token files, document masks", {"doc_mask": True}),
            ("token files, packed", {"doc_mask": True, "packing": "bestfit"}),
            ("stream", {"streaming": True}),
        ):
            speed = tokens_per_second(data(**keys).train_dataloader(), STEPS)
            print(f"  {name:<28}{speed:>14,.0f}   {speed / eats:>8,.0f} times (aim 50)")
        from_files = steps_with(data().train_dataloader(), 10)
        streamed = steps_with(data(streaming=True).train_dataloader(), 10)
        print(f"  training a 2-layer model: streaming at {streamed / from_files:.2f} of token files (aim 0.8)\n")


if __name__ == "__main__":
    main()
