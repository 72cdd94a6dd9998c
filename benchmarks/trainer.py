"""nanoGPT's CPU recipe: our whole training run (bar, logs, callbacks on) against a bare PyTorch loop, in turn.

The same model, optimizer, batches and loss in both; the figure is tokens/s over all updates of a piece, without
validation. tinyshakespeare where REAL_DATA names the folder that has it, else the embedded corpus.
"""

import os
import statistics
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch

from callbacks.progress import Progress
from datamodules.kinds.tokens import TokenDataModule
from datamodules.pydoc import PydocDataModule
from datamodules.text import TextDataModule
from lightning_modules.causal_lm import CausalLMModule
from loggers.metrics_csv import MetricsCSV
from loggers.tensorboard import TensorBoard
from models.gpt import GPT
from optimization.adamw import adamw
from optimization.schedules import cosine
from tasks.trainer import build_trainer, keep_freed_memory, quiet_lightning, set_number_formats
from tokenization.char import CharTokenizer

BATCH, SEQ_LEN, STEPS, PIECES = 12, 64, 150, 5
optimizer = partial(adamw, lr=1e-3, betas=[0.9, 0.99], eps=1e-8, weight_decay=0.1)
schedule = partial(cosine, total_steps=2000, warmup_steps=100, final_ratio=0.1)


def corpus(cache: str) -> TokenDataModule:
    common: dict[str, Any] = {
        "tokenizer": CharTokenizer(), "val_fraction": 0.1, "cache_dir": cache, "seq_len": SEQ_LEN, "batch_size": BATCH,
        "val_batch_size": None, "stride": None, "sampling": "random", "doc_mask": False, "workers": 0, "seed": 1,
    }  # fmt: skip
    path = Path(os.environ.get("REAL_DATA", "")) / "tinyshakespeare.txt"
    if path.is_file():
        data: TokenDataModule = TextDataModule(
            path=str(path), val_path=None, text_column="text", separator=None, url=None, **common
        )
    else:
        data = PydocDataModule(**common)
    data.prepare()
    return data


def new_model(vocab_size: int) -> GPT:
    torch.manual_seed(0)
    return GPT(vocab_size=vocab_size, seq_len=SEQ_LEN, n_layer=4, n_head=4, n_embd=128, bias=False)


def bare(data: TokenDataModule) -> float:
    """Seconds per update of a plain loop."""
    model = new_model(data.tokenizer.vocab_size)
    opt, loader = optimizer(model=model), iter(data.train_dataloader())
    for step in range(STEPS):
        if step == 10:
            start = time.perf_counter()
        [micro] = next(loader)
        for group in opt.param_groups:
            group["lr"] = group["initial_lr"] * schedule(step)
        loss = model(micro["ids"], targets_BT=micro["targets"]).loss / micro["targets"].numel()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        opt.step()
        opt.zero_grad(set_to_none=True)
    return (time.perf_counter() - start) / (STEPS - 10)


def ours(data: TokenDataModule) -> float:
    """Seconds per update of the Trainer with everything on."""
    clock: dict[int, float] = {}

    class Clock(pl.Callback):
        def on_train_batch_start(self, trainer: pl.Trainer, *_: Any) -> None:
            clock.setdefault(trainer.global_step, time.perf_counter())

        def on_train_end(self, trainer: pl.Trainer, *_: Any) -> None:
            clock.setdefault(trainer.global_step, time.perf_counter())

    module = CausalLMModule(
        model=new_model(data.tokenizer.vocab_size), optimizer=optimizer, schedule=schedule, grad_clip=1.0, log_every=10
    )
    data.trainer = None
    data.val_dataloader = lambda: torch.utils.data.DataLoader([], batch_size=None)  # type: ignore[method-assign]
    with tempfile.TemporaryDirectory() as folder:
        trainer = build_trainer(
            run_dir=Path(folder), callbacks=[Clock(), Progress(line_every_s=1.0)],
            loggers=[MetricsCSV(run_dir=folder, start_step=0), TensorBoard(run_dir=folder, start_step=0)],
            max_steps=STEPS, began=0.0,
            max_time=None,
            val_every=10**9, checkpoint_every=10**9, log_every=10, grad_clip=1.0, accumulate=1, tokens_per_step=None,
            compile=False, profile=None, accelerator="cpu", devices=1, nodes=1, strategy="single",
            precision="32-true",
        )  # fmt: skip
        trainer.fit(module, data)
    return (clock[STEPS] - clock[10]) / (STEPS - 10)


def main() -> None:
    quiet_lightning()
    set_number_formats()
    keep_freed_memory()
    with tempfile.TemporaryDirectory() as cache:
        data = corpus(cache)
        pairs = [(bare(data), ours(data)) for _ in range(PIECES)]
    tokens = BATCH * SEQ_LEN
    loop, lab = (tokens / statistics.median(column) for column in zip(*pairs, strict=True))
    ratio = statistics.median(a / b for a, b in pairs)
    print("\nnanoGPT's CPU recipe, 4 layers x 128, batch 12 x 64")
    print(f"  bare loop  {loop:>9,.0f} tokens/s")
    print(f"  nanolab    {lab:>9,.0f} tokens/s   ratio {ratio:.3f}, median of {PIECES} pairs (aim 0.97)\n")


if __name__ == "__main__":
    main()
