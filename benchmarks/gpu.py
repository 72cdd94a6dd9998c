"""bf16 on one GPU: tokens/s and MFU of our Trainer, with and without torch.compile, beside a bare PyTorch loop.

Beside GPT-2 stands nanoGPT's way as well, beside nanochat's size nanochat's (benchmarks/_peers.py), all with AdamW.
nanoGPT has the 50,304 ids that its README trains with; its MFU counts the work of 50,257, as for ours. SFT and DPO
against TRL: `python -m benchmarks.sft gpu` and `dpo gpu`.

python -m benchmarks.gpu            # GPT-2 124M, nanochat's 561M, a mixture of experts; then generation
python -m benchmarks.gpu gpt2       # one of them: gpt2, nanochat, moe or generation
python -m benchmarks.gpu eager moe  # without torch.compile, whose compiling takes most of the time; compiled: only with
python -m benchmarks.gpu moe ours   # some of the ways to train it: bare, ours, peer
python -m benchmarks.gpu cpu        # all lines at tiny sizes, to know that they run: their figures say nothing
"""

import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import lightning.pytorch as pl
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, IterableDataset

from benchmarks._peers import Nanochat, NanoGPT
from callbacks.metrics import peak_flops
from lightning_modules.causal_lm import CausalLMModule
from models.base import LanguageModel
from models.generation import generate
from models.gpt import GPT
from models.layers.attention import any_length
from models.layers.moe.settings import MoESettings
from models.sampling import GREEDY
from models.transformer import Transformer
from optimization.adamw import adamw
from optimization.schedules import constant
from tasks.trainer import build_trainer, quiet_lightning, settle_torch


class Sizes(NamedTuple):
    """Of a batch, and how many updates are made and how many of them counted."""

    rows: int
    vocab: int
    steps: int
    warm_up: int
    new: int  # tokens that are generated


FULL = Sizes(rows=32, vocab=50_257, steps=30, warm_up=8, new=128)
TINY = Sizes(rows=2, vocab=300, steps=5, warm_up=2, new=8)


class Kind(NamedTuple):
    """A model: what it is called, how it is made for so many ids, and for what share of the rows there is memory."""

    name: str
    make: Callable[[int], LanguageModel]
    share: float = 1.0
    vocab: int | None = None  # where not as the others'
    peer: tuple[str, Callable[[], nn.Module]] | None = None  # whose way stands beside it


def kinds(tiny: bool) -> dict[str, Kind]:
    size = {"seq_len": 64, "n_layer": 2, "n_head": 2, "n_embd": 64}
    gpt2 = size if tiny else {"seq_len": 1024, "n_layer": 12, "n_head": 12, "n_embd": 768}
    big = size if tiny else {"seq_len": 2048, "n_layer": 20, "n_head": 10, "n_embd": 1280}
    nanochat: dict[str, Any] = {"mlp": "relu2", "norm_weight": False, "qk_norm": "weightless", "embed_norm": True}
    nanochat |= {"softcap": 15.0, "init": "nanochat"}
    moe = MoESettings(n_experts=8, top_k=2, ff=64 if tiny else 1024)

    def theirs(of: type[nn.Module], vocab: int, seq_len: int, **sizes: int) -> Callable[[], nn.Module]:
        return lambda: of(TINY.vocab if tiny else vocab, context=seq_len, **sizes)

    return {
        "gpt2": Kind(
            "GPT-2 124M",
            lambda vocab: GPT(vocab_size=vocab, **gpt2),
            peer=("nanoGPT's way", theirs(NanoGPT, 50_304, **gpt2)),
        ),
        "nanochat": Kind(
            "nanochat 561M",
            lambda vocab: Transformer(vocab_size=vocab, **big, **nanochat),
            share=0.5,
            vocab=None if tiny else 65_536,
            peer=("nanochat's way", theirs(Nanochat, 65_536, **big)),
        ),
        "moe": Kind("8 experts, 2 used", lambda vocab: Transformer(vocab_size=vocab, moe=moe, **gpt2), share=0.5),
    }


class RandomTokens(IterableDataset):
    def __init__(self, rows: int, seq_len: int, vocab: int):
        self.shape, self.vocab = (rows, seq_len + 1), vocab

    def __iter__(self):
        generator = torch.Generator().manual_seed(0)
        while True:
            ids = torch.randint(0, self.vocab, self.shape, generator=generator)
            yield [{"ids": ids[:, :-1], "targets": ids[:, 1:]}]


class Data(pl.LightningDataModule):
    def __init__(self, tokens: RandomTokens, device: torch.device):
        super().__init__()
        self.tokens, self.on_gpu = tokens, device.type == "cuda"

    def train_dataloader(self) -> DataLoader:
        return DataLoader(self.tokens, batch_size=None, num_workers=2 * self.on_gpu, pin_memory=self.on_gpu)

    def val_dataloader(self) -> DataLoader:
        return DataLoader([next(iter(self.tokens))[0]], batch_size=None)


optimizer = partial(adamw, lr=3e-4, betas=[0.9, 0.95], eps=1e-8, weight_decay=0.1)


def ours(model: LanguageModel, data: Data, sizes: Sizes, device: torch.device, *, compile_model: bool) -> float:
    """Seconds per update of the Trainer, logging and callbacks on."""
    module = CausalLMModule(
        model=model,
        optimizer=optimizer,
        schedule=partial(constant, warmup_steps=10),
        grad_clip=1.0,
        log_every=10,
        compile_model=compile_model,
    )
    stopwatch = Stopwatch(sizes, device)

    class Clock(pl.Callback):
        def on_train_batch_end(self, *_) -> None:
            stopwatch.tick()

    with tempfile.TemporaryDirectory() as folder:
        trainer = build_trainer(
            run_dir=Path(folder), callbacks=[Clock()], loggers=[], max_steps=sizes.steps, began=0.0, max_time=None,
            val_every=10**9, checkpoint_every=10**9, log_every=10, grad_clip=1.0, accumulate=1, tokens_per_step=None,
            compile=compile_model, profile=None, accelerator="gpu" if device.type == "cuda" else "cpu", devices=1,
            nodes=1, strategy="single", precision="bf16-mixed",
        )  # fmt: skip
        trainer.fit(module, data)
    return stopwatch.seconds


def bare(model: LanguageModel, data: Data, sizes: Sizes, device: torch.device, *, compile_model: bool) -> float:
    """Seconds per update of a plain PyTorch loop over the same model, optimizer and batches."""

    def loss_of(ids: Tensor, targets: Tensor) -> Tensor:
        out = model(ids, targets_BT=targets)
        return out.loss / targets.numel() + sum(out.aux.values())

    return looped(model, loss_of, data, sizes, device, compile_model=compile_model)


def peer(model: nn.Module, data: Data, sizes: Sizes, device: torch.device, *, compile_model: bool) -> float:
    """Seconds per update of another's model in the plain loop, which is theirs."""
    return looped(model, model, data, sizes, device, compile_model=compile_model)


def looped(
    model: nn.Module,
    loss_of: Callable[[Tensor, Tensor], Tensor],
    data: Data,
    sizes: Sizes,
    device: torch.device,
    *,
    compile_model: bool,
) -> float:
    torch.backends.cuda.enable_cudnn_sdp(True)  # as PyTorch comes
    opt = optimizer(model=model)
    if compile_model:
        model.compile()
    stopwatch = Stopwatch(sizes, device)
    for _, [micro] in zip(range(sizes.steps), data.train_dataloader(), strict=False):
        ids, targets = (micro[name].to(device, non_blocking=True) for name in ("ids", "targets"))
        with torch.autocast(device.type, dtype=torch.bfloat16):
            loss = loss_of(ids, targets)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        opt.step()
        opt.zero_grad(set_to_none=True)
        stopwatch.tick()
    return stopwatch.seconds


class Stopwatch:
    """Seconds per update between the end of the warm-up and the last one, over which the device is not waited for."""

    def __init__(self, sizes: Sizes, device: torch.device):
        self.sizes, self.device, self.ticks = sizes, device, 0

    def tick(self) -> None:
        """At the end of each update."""
        self.ticks += 1
        if self.ticks == self.sizes.warm_up:
            wait(self.device)
            self.began = time.perf_counter()
        if self.ticks == self.sizes.steps:
            wait(self.device)
            self.seconds = (time.perf_counter() - self.began) / (self.sizes.steps - self.sizes.warm_up)


def wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


def trained(
    kind: Kind, sizes: Sizes, device: torch.device, peak: float, *, compiled: tuple[bool, ...], asked: list[str]
) -> None:
    """Prints a line for each way to train a model, once for each of `compiled`; the ways are bare, ours, peer."""
    sizes = sizes._replace(vocab=kind.vocab or sizes.vocab)
    with torch.device("meta"):
        model = kind.make(sizes.vocab)
    rows, seq_len, flops = max(1, int(sizes.rows * kind.share)), model.seq_len, model.flops_per_token(model.seq_len)
    data = Data(RandomTokens(rows, seq_len, sizes.vocab), device)
    print(f"{kind.name}, {rows} x {seq_len} tokens")
    print(f"{'':<24}{'tokens/s':>12}{'MFU':>8}{'peak GB':>9}{'of bare loop':>14}")
    ways: dict[str, tuple[str, Callable[..., float], Callable[[], Any]]] = {
        "bare": ("bare loop", bare, lambda: kind.make(sizes.vocab)),
        "ours": ("nanolab", ours, lambda: kind.make(sizes.vocab)),
    }
    if kind.peer is not None:
        ways["peer"] = (kind.peer[0], peer, kind.peer[1])
    for compile_model in compiled:
        seconds = {}
        for label, measure, make in [way for name, way in ways.items() if name in asked or not asked]:
            torch.manual_seed(0)
            torch.compiler.reset()  # it gives up on code that was compiled for many models
            if device.type == "cuda":
                torch.cuda.empty_cache()
                torch.cuda.reset_peak_memory_stats()
            with device:  # where weights are drawn in no time
                model = make()
            seconds[label] = measure(model, data, sizes, device, compile_model=compile_model)
            del model
            speed = rows * seq_len / seconds[label]
            memory = torch.cuda.max_memory_allocated() / 1e9 if device.type == "cuda" else float("nan")
            shown = f"  {label}{', compiled' if compile_model else ''}"
            ratio = f"{seconds['bare loop'] / seconds[label]:.3f}" if "bare loop" in seconds else "-"
            print(f"{shown:<24}{speed:>12,.0f}{speed * flops / peak:>8.3f}{memory:>9.1f}{ratio:>14}", flush=True)


def generated(kind: Kind, sizes: Sizes, device: torch.device) -> None:
    """Prints tokens per second of greedy generation, one row and many, fp32 and bf16, beside transformers' GPT-2."""
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(0)
    with device:
        model = kind.make(sizes.vocab).eval()
        sizes_of: dict[str, Any] = {"n_layer": model.n_layer, "n_embd": model.head.weight.shape[1]}
        sizes_of |= {"n_head": model.blocks[0].attention.n_head, "n_positions": model.seq_len}
        config = GPT2Config(vocab_size=sizes.vocab, bos_token_id=0, eos_token_id=0, **sizes_of)
        theirs = GPT2LMHeadModel(config).eval()
    print(f"{'generation, tokens/s':<26}{'nanolab':>10}{'transformers':>14}{'without cuDNN':>15}")
    for dtype in (torch.float32, torch.bfloat16):
        for rows in (1, sizes.rows):
            prompts_BT = torch.randint(0, sizes.vocab, (rows, model.seq_len // 8))
            mine = partial(generate, model.to(dtype), prompts_BT.tolist(), sampling=GREEDY, batch_size=rows)
            other = partial(theirs_generate, theirs.to(dtype), prompts_BT.to(device))
            torch.backends.cuda.enable_cudnn_sdp(True)  # as PyTorch comes
            speeds = [rows * sizes.new / seconds_of(how, sizes.new, device) for how in (mine, other)]
            with any_length():
                speeds.append(rows * sizes.new / seconds_of(other, sizes.new, device))
            shown = f"  {rows} row(s), {str(dtype)[6:]}"
            print(f"{shown:<26}{speeds[0]:>10,.0f}{speeds[1]:>14,.0f}{speeds[2]:>15,.0f}", flush=True)


def theirs_generate(model: Any, prompts_BT: Tensor, max_new_tokens: int) -> None:
    model.generate(
        prompts_BT, max_new_tokens=max_new_tokens, min_new_tokens=max_new_tokens, do_sample=False, pad_token_id=0,
        attention_mask=torch.ones_like(prompts_BT),
    )  # fmt: skip


def seconds_of(write: Callable[..., Any], new: int, device: torch.device) -> float:
    """Of `new` tokens, after some that warm up."""
    write(max_new_tokens=8)
    wait(device)
    start = time.perf_counter()
    write(max_new_tokens=new)
    wait(device)
    return time.perf_counter() - start


def main(given: list[str]) -> None:
    tiny = given == ["cpu"]
    compiled = tuple(how for word, how in (("eager", False), ("compiled", True)) if word in given) or (False, True)
    asked = [word for word in given if word in ("bare", "ours", "peer")]
    given = [word for word in given if word not in ("eager", "compiled", *asked)]
    parts = [*kinds(tiny), "generation"]
    known = f"{' '.join(parts)} eager compiled bare ours peer"
    if not tiny and (unknown := [word for word in given if word not in parts]):
        sys.exit(f"{' '.join(unknown)}: expected some of {known}, or cpu, for tiny sizes there")
    if asked == ["peer"] and "moe" in given:
        sys.exit("moe peer: beside a mixture stands no other's way. Type moe bare ours.")
    if not tiny and not torch.cuda.is_available():
        sys.exit("PyTorch finds no CUDA device here. Type python -m benchmarks.gpu cpu to run the lines at tiny sizes.")
    quiet_lightning()
    settle_torch()
    device, sizes = torch.device("cpu" if tiny else "cuda"), TINY if tiny else FULL
    peak = peak_flops(device)
    where = "CPU, sizes of no meaning" if tiny else torch.cuda.get_device_name()
    print(f"{where}, torch {torch.__version__}, bf16-mixed, {peak / 1e12:.2f} TFLOP/s at most")
    wanted = parts if tiny or not given else given
    for name, kind in kinds(tiny).items():
        if name in wanted:
            trained(kind, sizes, device, peak, compiled=compiled, asked=asked)
    if "generation" in wanted:
        generated(kinds(tiny)["gpt2"], sizes, device)


if __name__ == "__main__":
    main(sys.argv[1:])
