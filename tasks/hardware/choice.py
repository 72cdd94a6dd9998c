"""`hardware=auto` on a CPU: precision and threads by what this processor is fast at, said in one line and kept.

bf16-mixed is taken where both hold, else 32-true:
1. the model's products are at least WORTHWHILE times as fast (tasks/hardware/probe.py), and
2. a short run of a copy of the model is, and its loss is that of fp32.

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
from launcher.jobs.run_folder import RunFolder, write_atomically
from launcher.lab import SWEEP_RECORD
from models.base import LanguageModel
from models.boosting.ensemble import Boosted
from models.heads import Scored
from runs.files import read_json
from tasks.hardware import machine, probe
from tasks.trainer import resolve_accelerator

WORTHWHILE = 1.5  # how much faster bf16 must be: it costs 16 bits of each product
FEWER_THREADS = 1.1  # how much faster one thread must be than all
UPDATES, SHORT_FLOPS = 4, 2e10  # of the short run: updates in each precision, arithmetic of one
LEARNING_RATE, AGREES = 1e-3, 0.01  # of its updates; how far, of fp32's, the loss may be off
RECORD = "hardware.json"


class Short(NamedTuple):
    """Of a short run: how much faster bf16 was, and how far its loss was off at most, as a share."""

    gain: float
    off: float


class Choice(NamedTuple):
    precision: str
    threads: int | None
    words: str


def settle(cfg: DictConfig, run: RunFolder, model: LanguageModel, data: StepDataModule, *, fresh: bool) -> None:
    """Fills in what `trainer.precision` and `trainer.threads` leave to the machine, and keeps it with the run.

    Args:
        fresh: the run begins here. What an earlier one left open, which did not look, was fp32 and all threads.
    """
    section = cfg.trainer
    if fresh and is_open(cfg, run):
        found = choose(model, cfg, lambda: next(iter(data.train_dataloader()))[0])
        print(f"hardware {found.words}", flush=True)
        with open_dict(cfg):
            section.precision, section.threads = found.precision, found.threads
        write_atomically(run.path / ".hydra" / "config.yaml", OmegaConf.to_yaml(cfg))
        facts = {"processor": machine.processor(), "precision": found.precision, "threads": found.threads}
        write_atomically(run.path / RECORD, json.dumps(facts, indent=1) + "\n")
        run.results["hardware"] = facts
    elif run.rank == 0 and (words := elsewhere(cfg)):
        print(f"hardware {words}", flush=True)
    if isinstance(section.get("threads"), int):
        torch.set_num_threads(section.threads)


@contextmanager
def threads_given_back() -> Iterator[None]:
    """Another job of this process has its own number of threads."""
    before = torch.get_num_threads()
    try:
        yield
    finally:
        torch.set_num_threads(before)


def is_open(cfg: DictConfig, run: RunFolder) -> bool:
    """Whether this run has a CPU for itself, and leaves something to it."""
    section = cfg.trainer
    left = "auto" in (section.precision, section.get("threads"))
    alone = run.world_size == 1 and section.strategy == "single" and not (run.path.parent / SWEEP_RECORD).is_file()
    return left and alone and resolve_accelerator(section.accelerator) == "cpu"


def elsewhere(cfg: DictConfig) -> str | None:
    """What to say where a run goes on with a choice that was made on another processor."""
    source = cfg.get("resume") or cfg.get("rerun")
    facts = read_json(Path(str(source)) / RECORD) if source else None
    if not facts or facts.get("processor") == machine.processor():
        return None
    kept = f"{cfg.trainer.precision}, {cfg.trainer.get('threads')} thread(s)"
    return f"{kept}, as it was chosen on {facts.get('processor')}; this is {machine.processor()}"


def outlook(cfg: DictConfig, run: RunFolder, model: LanguageModel) -> dict[str, str]:
    """What task=check says of the processor, and of the choice that a run would make."""
    shapes = probe.largest(probe.shapes_of(model, rows_of(cfg)))
    known = probe.probed(shapes)
    gain, threads = products(known, shapes)
    lines = {"processor": f"{known['processor']}, reads {known['gb_per_second']} GB/s"}
    for shape in shapes:
        of = known["gflops"][probe.name(shape)]
        told = (f"{n} thread(s) " + " ".join(f"{kind} {of[n][kind]:.0f}" for kind in of[n]) for n in of)
        lines[f"  {probe.name(shape)}"] = ", ".join(told) + " GFLOP/s"
    if is_open(cfg, run):
        half = f"bf16-mixed if a short run agrees (products {gain:.1f} x as fast)"
        lines["would choose"] = half if gain >= WORTHWHILE else f"32-true (bf16 products {gain:.1f} x as fast)"
        lines["would choose"] += f", {threads['bf16' if gain >= WORTHWHILE else 'fp32']} thread(s)"
    return lines


def rows_of(cfg: DictConfig) -> int:
    return int(cfg.data.get("batch_size", 1)) * int(cfg.data.get("seq_len", 1))


class Products(NamedTuple):
    """`gain`: how much faster those in bf16 are. `threads`: the best number of them, by kind."""

    gain: float
    threads: dict[str, int]


def products(known: Mapping[str, Any], shapes: Counter[probe.Shape]) -> Products:
    """Of all products of a model, each precision with its best number of threads."""
    best, threads = {}, {}
    for kind in ("fp32", "bf16"):
        times = {n: product_seconds(known, shapes, kind, n) for n in probe.thread_counts()}
        threads[kind] = fewest(times)
        best[kind] = times[threads[kind]]
    return Products(best["fp32"] / best["bf16"] if shapes else 1.0, threads)


def choose(model: LanguageModel, cfg: DictConfig, first_micro: Callable[[], Batch]) -> Choice:
    """What is typed stays. `first_micro`: gives a micro-batch for the short run."""
    precision, threads = cfg.trainer.precision, cfg.trainer.threads
    shapes = probe.largest(probe.shapes_of(model, rows_of(cfg)))
    known = probe.probed(shapes)
    gain, best = products(known, shapes)
    told, open_keys = [machine.processor()], []
    if precision == "auto":
        precision, words = precision_for(gain, lambda: kept_short_run(known, model, first_micro()))
        told, open_keys = [*told, words], [f"trainer.precision={precision}"]
    if threads == "auto":
        threads = best["bf16" if precision.startswith("bf16") else "fp32"]
        open_keys.append(f"trainer.threads={threads}")
    return Choice(precision, threads, f"{', '.join(told)}: {' '.join(open_keys)}")


def precision_for(gain: float, short_run: Callable[[], Short | None]) -> tuple[str, str]:
    """The precision, and why."""
    why = f"bf16 products {gain:.1f} x as fast as fp32"
    if gain < WORTHWHILE:
        return "32-true", why
    if (short := short_run()) is None:
        return "32-true", f"{why}, but this model cannot be tried"
    why += f", a short run {short.gain:.1f} x, its loss within {100 * short.off:.2g} %"
    return ("bf16-mixed" if short.gain >= WORTHWHILE and short.off <= AGREES else "32-true"), why


def product_seconds(known: Mapping[str, Any], shapes: Counter[probe.Shape], kind: str, n_threads: int) -> float:
    """Of all products of these shapes."""
    speeds = known["gflops"]
    return sum(
        times * probe.flops(shape) / 1e9 / speeds[probe.name(shape)][str(n_threads)][kind]
        for shape, times in shapes.items()
    )


def fewest(times: Mapping[int, float]) -> int:
    """Threads: all of them, unless fewer are clearly faster."""
    most = max(times)
    fastest = min(times, key=lambda n: times[n])
    return fastest if times[most] > FEWER_THREADS * times[fastest] else most


def kept_short_run(known: dict[str, Any], model: LanguageModel, micro: Batch) -> Short | None:
    """Once a machine and model, so that the choice stays the same from run to run.

    None of a model that predicts no tokens (a reward model), or learns nothing before its first stage (boosting).
    """
    learns = any(p.requires_grad for p in model.parameters())
    if not learns or isinstance(model, Scored | Boosted) or not {"ids", "targets"} <= micro.keys():
        return None
    sizes = [(name, list(p.shape)) for name, p in model.named_parameters()]
    key = hashlib.sha256(json.dumps([sizes, list(micro["ids"].shape)]).encode()).hexdigest()[:16]
    runs = known.setdefault("short_runs", {})
    if key not in runs:
        runs[key] = list(short_run(model, micro))
        machine.write(machine.cache_file(), known)
    return Short(*runs[key])


def short_run(model: LanguageModel, micro: Batch) -> Short:
    """A few updates of a copy in each precision, on rows of one micro-batch."""
    most = max(1, int(SHORT_FLOPS / max(1, model.flops_per_token(micro["ids"].shape[1]) * micro["ids"].shape[1])))
    rows: Batch = {name: value[:most] for name, value in micro.items()}
    fp32, bf16 = (tried(model, rows, half=half) for half in (False, True))
    off = max(abs(a - b) / max(abs(a), 1e-9) for a, b in zip(fp32[0], bf16[0], strict=True))
    return Short(fp32[1] / bf16[1], off if math.isfinite(off) else math.inf)


def tried(model: LanguageModel, micro: Batch, *, half: bool) -> tuple[list[float], float]:
    """The loss after each update, per token, and the seconds of the fastest update."""
    trained = copy.deepcopy(model).train()
    state, optimizer = torch.random.get_rng_state(), torch.optim.AdamW(trained.parameters(), lr=LEARNING_RATE)
    losses, times = [], []
    count = int((micro["targets"] >= 0).sum())

    def update() -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
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
