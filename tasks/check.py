"""task=check: compose everything, build the model without memory, collate one batch, print the plan, stop."""

import shutil
from collections.abc import Callable
from typing import Any

import torch
from omegaconf import DictConfig
from torch._subclasses.fake_tensor import FakeTensorMode

from datamodules.kinds.steps import StepDataModule
from launcher.jobs.run_folder import RunFolder
from lightning_modules.base import LanguageModule
from models.boosting.ensemble import Boosted
from tasks import parts
from tasks.hardware.choice import outlook
from tasks.trainer import resolve_accelerator, resolve_precision

# of the keys and sections that every config has (launcher/config/reads.py): as tasks/fit.py, whose line it is
READS = ("a run",)

GB = 1e9


def check(cfg: DictConfig, run: RunFolder) -> None:
    """Prints parameters, FLOPs, memory, tokens, steps and disk of the run that the line would start."""
    data = parts.build_data(cfg, run)
    with FakeTensorMode(allow_non_fake_inputs=True):  # shapes, dtypes and kernels, but no memory
        model = parts.build_model(cfg, vocab_size=data.tokenizer.vocab_size)
        objective = parts.build_objective(cfg, data, model, run)
        objective.check_data(data)
        objective.configure_optimizers()
    if isinstance(model, Boosted):  # which stage is next is a number that the plan reads, no shape
        model.closed = torch.zeros((), dtype=torch.int64)
    batch = next(iter(data.train_dataloader()))
    shapes = objective.update_shapes(batch)
    with FakeTensorMode(allow_non_fake_inputs=True):
        # of an ensemble the base: which stages there are is known when they have been trained
        activations = saved_bytes(getattr(model, "base", model), batch[0], shapes[0])
    if cfg.get("adapter"):  # peft moves what it adds, which fake tensors do not allow
        with torch.device("meta"):
            objective.model = parts.build_model(cfg, vocab_size=data.tokenizer.vocab_size)
            parts.add_adapter(cfg, objective.model)
    plan = make_plan(cfg, data, objective, shapes, activations, run)
    run.results |= {"parameters": model.parameter_counts(), "plan": plan}
    print("\n".join(f"  {name:<22}{value}" for name, value in plan.items()))
    print("\nThe plan holds together. The same line without task=check starts the run.")


def saved_bytes(model: Any, micro: dict[str, torch.Tensor], shape: tuple[int, int]) -> int:
    """Bytes that one forward pass keeps for the backward pass, parameters not counted.

    Args:
        micro: tells which columns a batch has. shape: rows and tokens of those that have as many as `ids`.
    """
    parameters = {p.untyped_storage()._cdata for p in model.parameters()}
    kept: dict[int, int] = {}

    def note(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        kept[storage._cdata] = storage.nbytes()
        return tensor

    unpack: Callable[[Any], Any] = lambda tensor: tensor  # noqa: E731
    # not padding: how many tokens experts then take depends on what is in the batch
    read = {name: micro[name] for name in ("ids", "targets", "documents") if name in micro}
    sized = {name: shape if value.shape == micro["ids"].shape else value.shape for name, value in read.items()}
    fake = {name: torch.empty(sized[name], dtype=value.dtype) for name, value in read.items()}
    with torch.autograd.graph.saved_tensors_hooks(note, unpack):
        model(**model.inputs_of(fake))
    return sum(size for storage, size in kept.items() if storage not in parameters)


def make_plan(
    cfg: DictConfig,
    data: StepDataModule,
    objective: LanguageModule,
    shapes: list[tuple[int, int]],
    activations: int,
    run: RunFolder,
) -> dict[str, str]:
    """What the user wants to know before the machine is busy for a week."""
    model = objective.model
    counts = model.parameter_counts()
    world = planned_world_size(cfg)
    tokens_per_step = sum(rows * tokens for rows, tokens in shapes) * world
    flops = model.flops_per_token(cfg.data.seq_len)
    # fp32 master weights, their gradients, two moments (Adam); activations of one micro-batch in each trained network
    beside = objective.beside()
    networks = [(counts["total"], counts["trainable"]), *beside.values()]
    activations = round(activations * sum(total for total, trained in networks if trained) / counts["total"])
    memory = sum(16 * trained + 4 * (total - trained) for total, trained in networks) + activations
    # last.ckpt with the optimizer's state, best.ckpt with weights only
    disk = 16 * counts["total"] + sum(4 * total + 8 * trained for total, trained in beside.values())
    steps = objective.run_length(cfg.trainer.max_steps)
    accelerator = resolve_accelerator(cfg.trainer.accelerator)
    return {
        "model": f"{type(model).__name__}, vocabulary {model.vocab_size:,}, context {model.seq_len:,}",
        "parameters": "  ".join(f"{name} {value:,}" for name, value in counts.items()),
        **({"beside the model": in_words(beside)} if beside else {}),
        **data.facts(),
        "hardware": f"{accelerator}, {world} process(es), {resolve_precision(cfg.trainer.precision, accelerator)}",
        **(outlook(cfg, run, model) if accelerator == "cpu" else {}),
        "micro-batch": " x ".join(map(str, shapes[0])) + f" tokens, {len(shapes)} per update and device",
        "tokens per step": f"{tokens_per_step:,}",
        "steps": f"{steps:,}" + ("" if cfg.trainer.max_time is None else f", at most {cfg.trainer.max_time}"),
        "tokens per run": f"{tokens_per_step * steps:,}",
        "FLOPs per token": f"{flops:,}",
        "FLOPs per run": f"{flops * tokens_per_step * steps:.3g}",
        "memory per device": f"about {memory / GB:.2f} GB, {activations / GB:.2f} of it activations (32-bit)",
        "disk": f"{disk / GB:.2f} GB for checkpoints, {shutil.disk_usage(run.path).free / GB:.1f} GB free",
    }


def in_words(beside: dict[str, tuple[int, int]]) -> str:
    return ", ".join(
        f"{name} {total:,}" + (", trained" if trained else "") for name, (total, trained) in beside.items()
    )


def planned_world_size(cfg: DictConfig) -> int:
    """Processes that the run would have: a check itself runs in one."""
    if cfg.trainer.strategy == "single":
        return 1
    devices = torch.cuda.device_count() if cfg.trainer.devices == "auto" else cfg.trainer.devices
    return max(1, devices) * cfg.trainer.nodes
