"""GPT-2 124M in bf16 on one GPU: tokens/s and MFU of our Trainer, with and without torch.compile, and of a bare loop.

python -m benchmarks.gpu            # needs a CUDA device
"""

import statistics
import tempfile
import time
from functools import partial
from itertools import pairwise
from pathlib import Path

import lightning.pytorch as pl
import torch
from torch.utils.data import DataLoader, IterableDataset

from callbacks.metrics import peak_flops
from lightning_modules.causal_lm import CausalLMModule
from models.gpt import GPT
from optimization.adamw import adamw
from optimization.schedules import constant
from tasks.trainer import build_trainer, quiet_lightning, set_number_formats

BATCH, SEQ_LEN, VOCAB, STEPS, WARM_UP = 32, 1024, 50_257, 40, 10


class RandomTokens(IterableDataset):
    def __iter__(self):
        generator = torch.Generator().manual_seed(0)
        while True:
            ids = torch.randint(0, VOCAB, (BATCH, SEQ_LEN + 1), generator=generator)
            yield [{"ids": ids[:, :-1], "targets": ids[:, 1:]}]


class Data(pl.LightningDataModule):
    def train_dataloader(self) -> DataLoader:
        return DataLoader(RandomTokens(), batch_size=None, num_workers=2, pin_memory=True)

    def val_dataloader(self) -> DataLoader:
        return DataLoader([next(iter(RandomTokens()))[0]], batch_size=None)


def new_model() -> GPT:
    torch.manual_seed(0)
    return GPT(vocab_size=VOCAB, seq_len=SEQ_LEN, n_layer=12, n_head=12, n_embd=768, gelu="tanh")


optimizer = partial(adamw, lr=3e-4, betas=[0.9, 0.95], eps=1e-8, weight_decay=0.1)


def ours(*, compile_model: bool) -> float:
    """Median seconds per update of the Trainer, logging and callbacks on."""
    module = CausalLMModule(
        model=new_model(),
        optimizer=optimizer,
        schedule=partial(constant, warmup_steps=10),
        grad_clip=1.0,
        log_every=10,
        compile_model=compile_model,
    )
    times: list[float] = []

    class Clock(pl.Callback):
        def on_train_batch_end(self, *_) -> None:
            times.append(time.perf_counter())

    with tempfile.TemporaryDirectory() as folder:
        trainer = build_trainer(
            run_dir=Path(folder), callbacks=[Clock()], loggers=[], max_steps=STEPS, began=0.0, max_time=None,
            val_every=10**9, checkpoint_every=10**9, log_every=10, grad_clip=1.0, accumulate=1, tokens_per_step=None,
            compile=compile_model, profile=None, accelerator="gpu", devices=1, nodes=1, strategy="single",
            precision="bf16-mixed",
        )  # fmt: skip
        trainer.fit(module, Data())
    return statistics.median(b - a for a, b in pairwise(times[WARM_UP:]))


def bare(*, compile_model: bool) -> float:
    """Median seconds per update of a plain PyTorch loop over the same model, optimizer and batches."""
    model = new_model().cuda()
    opt = optimizer(model=model)
    if compile_model:
        model.compile()
    times = []
    for i, [micro] in zip(range(STEPS), Data().train_dataloader(), strict=False):
        ids, targets = (micro[name].cuda(non_blocking=True) for name in ("ids", "targets"))
        with torch.autocast("cuda", dtype=torch.bfloat16):
            loss = model(ids, targets_BT=targets).loss / targets.numel()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        opt.step()
        opt.zero_grad(set_to_none=True)
        torch.cuda.synchronize()
        if i >= WARM_UP:
            times.append(time.perf_counter())
    return statistics.median(b - a for a, b in pairwise(times))


def main() -> None:
    quiet_lightning()
    set_number_formats()
    device = torch.device("cuda")
    flops, peak = new_model().flops_per_token(SEQ_LEN), peak_flops(device)
    print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}, GPT-2 124M, bf16, {BATCH} x {SEQ_LEN} tokens")
    print(f"{'':<22}{'tokens/s':>12}{'MFU':>8}{'peak GB':>9}{'of bare loop':>14}")
    for compile_model in (False, True):
        seconds = {}
        for name, measure in (("bare loop", bare), ("nanolab", ours)):
            torch.cuda.reset_peak_memory_stats()
            seconds[name] = measure(compile_model=compile_model)
            speed, memory = BATCH * SEQ_LEN / seconds[name], torch.cuda.max_memory_allocated() / 1e9
            label = f"{name}{', compiled' if compile_model else ''}"
            ratio = seconds["bare loop"] / seconds[name]
            print(f"{label:<22}{speed:>12,.0f}{speed * flops / peak:>8.3f}{memory:>9.1f}{ratio:>14.3f}", flush=True)


if __name__ == "__main__":
    main()
