"""`hardware=auto` on a CPU: precision, threads and the library behind products by what this processor is fast at, said
in one line and kept.

bf16-mixed is taken where both hold, else 32-true:
1. the model's products are at least WORTHWHILE times as fast (tasks/hardware/probe.py), and
2. a short run of a copy of the model is, and its loss is that of fp32.

In 32-true products are oneDNN's (models/layers/products.py) where the same can be said of them, by FASTER_PRODUCTS and
FASTER_RUN.

In a sweep nothing is chosen: its arms are compared, and must not differ by what each of them was fast at.
"""

import copy
import hashlib
import json
import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import torch
from omegaconf import DictConfig, OmegaConf, open_dict

from batch import Batch
from datamodules.kinds.steps import StepDataModule
from errors import RequestError
from launcher.jobs.run_folder import RunFolder, write_atomically
from launcher.lab import SWEEP_RECORD
from models.base import LanguageModel
from models.boosting.ensemble import Boosted
from models.heads import Scored
from models.layers import products as libraries
from models.layers.products import Library
from runs.files import read_json
from tasks.hardware import compiling, machine, probe
from tasks.trainer import resolve_accelerator, resolve_precision

WORTHWHILE = 1.5  # how much faster bf16 must be: it costs 16 bits of each product
FEWER_THREADS = 1.1  # how much faster one thread must be than all
FASTER_PRODUCTS, FASTER_RUN = 1.1, 1.05  # how much faster oneDNN must be: products, and a short run
UPDATES, SHORT_FLOPS = 4, 2e10  # of the short run: updates in each precision, arithmetic of one
LEARNING_RATE, AGREES = 1e-3, 0.01  # of its updates; how far, of fp32's, the loss may be off
RECORD = "hardware.json"


CHOSEN = ("precision", "threads", "products")  # keys of `trainer` that may be left to the machine


class Way(NamedTuple):
    """How a short run computes."""

    half: bool
    library: Library


PLAIN, BF16, ONEDNN = Way(False, "torch"), Way(True, "torch"), Way(False, "onednn")


class Short(NamedTuple):
    """Of a short run: how much faster the other way was, and how far its loss was off at most, as a share."""

    gain: float
    off: float


class Choice(NamedTuple):
    precision: str
    threads: int | None
    products: Library
    words: str


def settle(cfg: DictConfig, run: RunFolder, model: LanguageModel, data: StepDataModule, *, fresh: bool) -> None:
    """Fills in what `trainer.precision`, `threads`, `products` and `compile` leave open, and keeps it with the run.

    Args:
        fresh: the run begins here. What an earlier one left open, which did not look, was fp32, all threads and
            PyTorch's own products.
    """
    section = cfg.trainer
    if fresh and is_open(cfg, run):
        found = choose(model, cfg, lambda: next(iter(data.train_dataloader()))[0])
        print(f"hardware {found.words}", flush=True)
        with open_dict(cfg):
            section.precision, section.threads, section.products = found[:3]
        write_atomically(run.path / ".hydra" / "config.yaml", OmegaConf.to_yaml(cfg))
        facts = {"processor": machine.processor()} | {name: section[name] for name in CHOSEN}
        write_atomically(run.path / RECORD, json.dumps(facts, indent=1) + "\n")
        run.results["hardware"] = facts
    elif run.rank == 0 and (words := elsewhere(cfg)):
        print(f"hardware {words}", flush=True)
    if section.compile == "auto":
        compiles, why = (False, "arms of a sweep are compared") if in_sweep(run) else compiling.decide(cfg, model, data)
        if run.rank == 0:
            print(f"compile  trainer.compile={str(compiles).lower()}: {why}", flush=True)
        with open_dict(cfg):
            section.compile = compiles
        write_atomically(run.path / ".hydra" / "config.yaml", OmegaConf.to_yaml(cfg))
    if isinstance(section.get("threads"), int):
        torch.set_num_threads(section.threads)
    if section.get("products") == "onednn":
        if fresh:
            check_onednn(section)
        libraries.choose("onednn")  # on with a run elsewhere: layers take it where it is there
        libraries.follow(model)


def check_onednn(section: DictConfig) -> None:
    """Raises RequestError where there is but one way to multiply."""
    device = resolve_accelerator(section.accelerator)
    fp32_on_cpu = device == "cpu" and resolve_precision(section.precision, device) == "32-true"
    if not fp32_on_cpu or section.compile is True or not libraries.is_there():
        raise RequestError(
            f"trainer.products=onednn is for fp32 on a CPU whose PyTorch has oneDNN, uncompiled; this run has "
            f"trainer.accelerator={section.accelerator} trainer.precision={section.precision} "
            f"trainer.compile={str(section.compile).lower()}.\nType trainer.products=torch, or what it is for."
        )


@contextmanager
def given_back() -> Iterator[None]:
    """Another job of this process has its own number of threads, and its own products."""
    before = torch.get_num_threads()
    try:
        with libraries.by("torch"):
            yield
    finally:
        torch.set_num_threads(before)


def is_open(cfg: DictConfig, run: RunFolder) -> bool:
    """Whether this run has a CPU for itself, and leaves something to it."""
    section = cfg.trainer
    left = "auto" in (section.get(name) for name in CHOSEN)
    alone = run.world_size == 1 and section.strategy == "single" and not in_sweep(run)
    return left and alone and resolve_accelerator(section.accelerator) == "cpu"


def in_sweep(run: RunFolder) -> bool:
    return (run.path.parent / SWEEP_RECORD).is_file()


def elsewhere(cfg: DictConfig) -> str | None:
    """What to say where a run goes on with a choice that was made on another processor."""
    source = cfg.get("resume") or cfg.get("rerun")
    facts = read_json(Path(str(source)) / RECORD) if source else None
    if not facts or facts.get("processor") == machine.processor():
        return None
    library = cfg.trainer.get("products") or "torch"
    kept = f"{cfg.trainer.precision}, {cfg.trainer.get('threads')} thread(s), {library}'s products"
    return f"{kept}, as it was chosen on {facts.get('processor')}; this is {machine.processor()}"


def outlook(cfg: DictConfig, run: RunFolder, model: LanguageModel) -> dict[str, str]:
    """What task=check says of the processor, and of the choice that a run would make."""
    shapes = probe.largest(probe.shapes_of(model, rows_of(cfg)))
    known = probe.probed(shapes)
    gain, by_onednn, threads = products(known, shapes)
    lines = {"processor": f"{known['processor']}, reads {known['gb_per_second']} GB/s"}
    for shape in shapes:
        of = known["gflops"][probe.name(shape)]
        told = (f"{n} thread(s) " + " ".join(f"{kind} {of[n][kind]:.0f}" for kind in of[n]) for n in of)
        lines[f"  {probe.name(shape)}"] = ", ".join(told) + " GFLOP/s"
    if is_open(cfg, run):
        half = f"bf16-mixed if a short run agrees (products {gain:.1f} x as fast)"
        lines["would choose"] = half if gain >= WORTHWHILE else f"32-true (bf16 products {gain:.1f} x as fast)"
        lines["would choose"] += f", {threads['bf16' if gain >= WORTHWHILE else 'fp32']} thread(s)"
        if by_onednn >= FASTER_PRODUCTS:
            lines["would choose"] += f"; in 32-true oneDNN if a short run agrees (products {by_onednn:.2f} x as fast)"
    return lines


def rows_of(cfg: DictConfig) -> int:
    return int(cfg.data.get("batch_size", 1)) * int(cfg.data.get("seq_len", 1))


class Products(NamedTuple):
    """`gain`: how much faster those in bf16 are, `by_onednn`: those in fp32 by oneDNN. `threads`: the best number of
    them, by kind."""

    gain: float
    by_onednn: float
    threads: dict[str, int]


def products(known: Mapping[str, Any], shapes: Counter[probe.Shape]) -> Products:
    """Of all products of a model, each precision with its best number of threads."""
    best, threads = {}, {}
    for kind in probe.KINDS:
        times = {n: product_seconds(known, shapes, kind, n) for n in probe.thread_counts()}
        threads[kind] = fewest(times)
        best[kind] = times[threads[kind]]
    bf16, by_onednn = (best["fp32"] / best[kind] if shapes else 1.0 for kind in ("bf16", "onednn"))
    return Products(bf16, by_onednn, threads)


def choose(model: LanguageModel, cfg: DictConfig, first_micro: Callable[[], Batch]) -> Choice:
    """What is typed stays. `first_micro`: gives a micro-batch for the short run."""
    precision, threads = cfg.trainer.precision, cfg.trainer.threads
    shapes = probe.largest(probe.shapes_of(model, rows_of(cfg)))
    known = probe.probed(shapes)
    gain, by_onednn, best = products(known, shapes)
    told, open_keys = [machine.processor()], []
    if precision == "auto" and cfg.trainer.get("products") == "onednn":  # typed, and it is for fp32
        precision, open_keys = "32-true", ["trainer.precision=32-true"]
    if precision == "auto":
        half = lambda: kept_short_run(known, model, first_micro(), BF16)  # noqa: E731
        precision, words = precision_for(gain, half)
        told, open_keys = [*told, words], [f"trainer.precision={precision}"]
    library: Any = cfg.trainer.get("products") or "torch"
    if library == "auto":
        library, words = "torch", ""
        if precision == "32-true" and cfg.trainer.get("compile") is not True:
            library, words = library_for(by_onednn, lambda: kept_short_run(known, model, first_micro(), ONEDNN))
        if library == "onednn":
            told, open_keys = [*told, words], [*open_keys, "trainer.products=onednn"]
    if threads == "auto":
        threads = best[{"32-true": "onednn" if library == "onednn" else "fp32"}.get(precision, "bf16")]
        open_keys.append(f"trainer.threads={threads}")
    return Choice(precision, threads, library, f"{', '.join(told)}: {' '.join(open_keys) or 'as it was typed'}")


def precision_for(gain: float, short_run: Callable[[], Short | None]) -> tuple[str, str]:
    """The precision, and why."""
    why = f"bf16 products {gain:.1f} x as fast as fp32"
    if gain < WORTHWHILE:
        return "32-true", why
    if (short := short_run()) is None:
        return "32-true", f"{why}, but this model cannot be tried"
    why += f", a short run {short.gain:.1f} x, its loss within {100 * short.off:.2g} %"
    return ("bf16-mixed" if short.gain >= WORTHWHILE and short.off <= AGREES else "32-true"), why


def library_for(gain: float, short_run: Callable[[], Short | None]) -> tuple[Library, str]:
    """Whose products in fp32, and why."""
    why = f"oneDNN's fp32 products {gain:.1f} x as fast"
    if gain < FASTER_PRODUCTS or not libraries.is_there() or (short := short_run()) is None:
        return "torch", why
    why += f", a short run {short.gain:.2f} x"
    return ("onednn" if short.gain >= FASTER_RUN and short.off <= AGREES else "torch"), why


def product_seconds(known: Mapping[str, Any], shapes: Counter[probe.Shape], kind: str, n_threads: int) -> float:
    """Of all products of these shapes."""
    speeds = known["gflops"]
    seconds = 0.0
    for shape, times in shapes.items():
        of = speeds[probe.name(shape)][str(n_threads)]
        seconds += times * probe.flops(shape) / 1e9 / of.get(kind, of["fp32"])  # oneDNN may not be there
    return seconds


def fewest(times: Mapping[int, float]) -> int:
    """Threads: all of them, unless fewer are clearly faster."""
    most = max(times)
    fastest = min(times, key=lambda n: times[n])
    return fastest if times[most] > FEWER_THREADS * times[fastest] else most


def kept_short_run(known: dict[str, Any], model: LanguageModel, micro: Batch, way: Way) -> Short | None:
    """Once a machine, model and way, so that the choice stays the same from run to run.

    None of a model that predicts no tokens (a reward model), or learns nothing before its first stage (boosting).
    """
    learns = any(p.requires_grad for p in model.parameters())
    if not learns or isinstance(model, Scored | Boosted) or not {"ids", "targets"} <= micro.keys():
        return None
    sizes = [(name, list(p.shape)) for name, p in model.named_parameters()]
    key = hashlib.sha256(json.dumps([sizes, list(micro["ids"].shape)]).encode()).hexdigest()[:16]
    key, runs = key if way == BF16 else f"{key} {way.library}", known.get("short_runs")
    known["short_runs"] = runs = runs if isinstance(runs, dict) else {}
    kept = runs.get(key)  # the file is anybody's to change
    if not (isinstance(kept, list) and len(kept) == 2 and all(isinstance(n, int | float) for n in kept)):
        runs[key] = list(short_run(model, micro, way))
        machine.write(machine.cache_file(), known)
    return Short(*runs[key])


def short_run(model: LanguageModel, micro: Batch, way: Way) -> Short:
    """A few updates of a copy in fp32 by PyTorch's products, and as many the other way, on rows of one micro-batch."""
    most = max(1, int(SHORT_FLOPS / max(1, model.flops_per_token(micro["ids"].shape[1]) * micro["ids"].shape[1])))
    rows: Batch = {name: value[:most] for name, value in micro.items()}
    plain, other = (tried(model, rows, one) for one in (PLAIN, way))
    off = max(abs(a - b) / max(abs(a), 1e-9) for a, b in zip(plain[0], other[0], strict=True))
    return Short(plain[1] / other[1], off if math.isfinite(off) else math.inf)


def tried(model: LanguageModel, micro: Batch, way: Way) -> tuple[list[float], float]:
    """The loss after each update, per token, and the seconds of the fastest update."""
    trained = copy.deepcopy(model).train()
    if way.library == "onednn":
        libraries.follow(trained)
    state, optimizer = torch.random.get_rng_state(), torch.optim.AdamW(trained.parameters(), lr=LEARNING_RATE)
    losses, times = [], []
    count = int((micro["targets"] >= 0).sum())

    def update() -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=way.half), libraries.by(way.library):
            out = trained(**trained.inputs_of(micro))
        assert out.loss is not None
        (out.loss / max(1, count)).backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(float(out.loss.detach()) / max(1, count))

    try:
        for _ in range(UPDATES):
            times.append(probe.seconds(update))
    finally:
        torch.random.set_rng_state(state)
    return losses, min(times[1:])
