"""Lightning's Trainer from the keys under `trainer`."""

import atexit
import ctypes
import logging
import sys
import warnings
from pathlib import Path
from typing import Any, Literal

import lightning.pytorch as pl
import torch
import torch.distributed as dist
from lightning.fabric.plugins.environments import ClusterEnvironment, LightningEnvironment, TorchElasticEnvironment
from lightning.pytorch.callbacks import EarlyStopping
from lightning.pytorch.profilers import SimpleProfiler
from lightning.pytorch.strategies import DDPStrategy, ModelParallelStrategy, SingleDeviceStrategy, Strategy

from bounds import Duration, NonNegativeFloat, OpenShare, PositiveFloat, PositiveInt
from callbacks.averaging import Averaging
from callbacks.checkpoints import AtomicCheckpointIO, Checkpoints
from callbacks.deadline import Deadline
from callbacks.metrics import Metrics
from callbacks.stop import StopOnSignal
from callbacks.validation import Validation
from datamodules.kinds.steps import StepDataModule
from errors import RequestError
from launcher.jobs import joining
from runs.direction import best_mode

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # mallopt(3)


def build_trainer(
    *,
    run_dir: Path,
    began: float,
    callbacks: list[pl.Callback],
    loggers: list[Any],
    max_steps: PositiveInt,
    max_time: Duration | None,
    val_every: PositiveInt,
    checkpoint_every: PositiveInt,
    checkpoint_minutes: PositiveFloat | None = None,
    keep_last: PositiveInt = 1,
    monitor: str = "val/loss",
    monitor_mode: Literal["min", "max"] | None = None,
    patience: PositiveInt | None = None,
    min_delta: NonNegativeFloat = 0.0,
    val_tokens: PositiveInt | None = None,
    ema: OpenShare | None = None,
    log_every: PositiveInt,
    grad_clip: PositiveFloat | None,
    accumulate: PositiveInt,
    tokens_per_step: PositiveInt | None,
    compile: bool | Literal["auto"],
    profile: Literal["simple"] | None,
    accelerator: Literal["auto", "cpu", "gpu", "mps"],
    devices: PositiveInt | Literal["auto"],
    nodes: PositiveInt,
    strategy: Literal["single", "ddp", "fsdp"],
    precision: Literal["auto", "32-true", "bf16-mixed", "bf16-true", "16-mixed"],
    threads: PositiveInt | Literal["auto"] | None = None,
    products: Literal["auto", "torch", "onednn"] = "torch",
    val_batch_tokens: PositiveInt = 1,
) -> pl.Trainer:
    """A Trainer whose rhythm (validation, checkpoints, logs) is in optimizer updates and belongs to our callbacks.

    `max_time` counts from `began`, a `time.monotonic()`. `grad_clip`, `accumulate`, `tokens_per_step`, `compile`,
    `threads` and `products` are used by the module, the data and tasks/hardware (see tasks/fit.py).
    `val_batch_tokens`: tokens of a validation batch over all ranks, for `val_tokens`.

    Raises:
        RequestError: the accelerator asked for is not on this machine; a key that would change nothing.
    """
    if min_delta and patience is None:
        raise RequestError(f"trainer.min_delta={min_delta} is for trainer.patience: type trainer.patience=3 too.")
    device, mode = resolve_accelerator(accelerator), best_mode(monitor, monitor_mode)
    saved = Checkpoints(
        folder=run_dir / "checkpoints",
        every=checkpoint_every,
        minutes=checkpoint_minutes,
        keep_last=keep_last,
        monitor=monitor,
        mode=mode,
    )
    return pl.Trainer(
        default_root_dir=run_dir,
        accelerator=device,
        # ranks are started by launcher/jobs/ranks.py or torchrun: one device each, all of this node's visible
        devices=joining.processes("LOCAL_WORLD_SIZE"),
        num_nodes=nodes,
        strategy=_strategy(strategy, device),
        precision=resolve_precision(precision, device),
        plugins=[AtomicCheckpointIO(), _environment()],
        max_steps=max_steps,
        max_epochs=-1,  # the training loader has no end
        # never by Lightning's own count, see callbacks/validation.py
        val_check_interval=2**62,
        check_val_every_n_epoch=None,
        limit_val_batches=None if val_tokens is None else -(-val_tokens // val_batch_tokens),
        num_sanity_val_steps=0,
        use_distributed_sampler=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        logger=loggers,
        profiler=SimpleProfiler(dirpath=run_dir, filename="profile") if profile else None,
        callbacks=[
            Metrics(log_every=log_every),
            *callbacks,
            *([] if ema is None else [Averaging(decay=ema, folder=run_dir / "checkpoints")]),
            Validation(every=val_every),
            saved,
            *([] if patience is None else [early_stopping(monitor, mode, patience=patience, min_delta=min_delta)]),
            StopOnSignal(),
            *([] if max_time is None else [Deadline(max_time, began=began)]),
        ],
    )


def _environment() -> ClusterEnvironment:
    """Ours and torchrun's ranks, or none. Lightning's own look around takes the shell of a batch system, which has
    SLURM_NTASKS set, for one of its tasks.
    """
    launched = dist.is_available() and dist.is_torchelastic_launched()
    return TorchElasticEnvironment() if launched else LightningEnvironment()


class Patience(EarlyStopping):
    """Lightning's, but that a resume may ask for more patience than its checkpoint says."""

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        super().load_state_dict(state_dict | {"patience": self.patience})


def early_stopping(monitor: str, mode: str, *, patience: int, min_delta: float) -> Patience:
    """Ends training after `patience` validations in a row without a gain above `min_delta`."""
    return Patience(
        monitor, min_delta=min_delta, patience=patience, mode=mode, verbose=False, check_on_train_epoch_end=False
    )


def fit_and_validate(
    trainer: pl.Trainer, module: pl.LightningModule, data: StepDataModule, checkpoint: Path | None
) -> None:
    """Trains, from `checkpoint` where there is one. A run that was stopped in its last validation still gets it."""
    trainer.fit(module, data, ckpt_path=checkpoint, weights_only=True)
    validation = next(c for c in trainer.callbacks if isinstance(c, Validation))  # type: ignore[attr-defined]
    if validation.validated_step != trainer.global_step:  # no step was left, so fit() had nothing to do
        trainer.validate(module, data, verbose=False)


def prepare_process() -> None:
    """What this process needs before it trains: quiet libraries, fast numbers, memory that is kept, a clean end."""
    quiet_lightning()
    settle_torch()
    keep_freed_memory()
    atexit.register(leave_process_group)


def leave_process_group() -> None:
    """Ends gloo's threads before the interpreter ends: a rank could die of SIGABRT after its work was done.

    Lightning 2.6 does so for nccl only.
    """
    if dist.is_available() and dist.is_initialized():
        dist.destroy_process_group()


def quiet_lightning() -> None:
    """Its hints about hardware and products say nothing about this run; warnings stay."""
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", message=".*overridden `on_before_batch_transfer`")  # LanguageModule counts there
    warnings.filterwarnings("ignore", message=".*does not have many workers")  # data.workers says why there are none
    warnings.filterwarnings("ignore", message=".*LeafSpec.*")  # between lightning 2.6 and torch 2.13
    warnings.filterwarnings("ignore", message=".*module.s. in eval mode at the start")  # a frozen base is meant to be


def settle_torch() -> None:
    """PyTorch's settings for the whole process, before a model is used."""
    # denormals cost 10 to 100 times a normal number on a CPU (rarely touched embedding rows under Adam make them)
    torch.set_flush_denormal(True)
    torch.set_float32_matmul_precision("high")  # TF32 on GPUs for what is left in fp32; no effect on a CPU
    torch.backends.cuda.enable_cudnn_sdp(False)  # models/layers/attention.py, any_length; training may want it again


def keep_freed_memory() -> None:
    """Large tensors come from memory that was used before, where the C library would hand each one back to Linux.

    Fresh pages are zeroed one by one when they are first touched: a GPT-2 update took 5.7 s instead of 6.9 s
    (benchmarks/gpt2_step.py). Does nothing on systems without glibc.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        mallopt(M_MMAP_MAX, 0)
        mallopt(M_TRIM_THRESHOLD, -1)  # -1, unsigned there, is never


def resolve_accelerator(accelerator: str) -> str:
    """cpu, gpu or mps: what "auto" means here. Raises RequestError if the accelerator named is not there."""
    present = {"gpu": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if accelerator == "auto":
        return next(name for name in ("gpu", "mps", "cpu") if present[name])
    if not present[accelerator]:
        have = ", ".join(name for name, there in present.items() if there)
        raise RequestError(
            f"trainer.accelerator={accelerator}, but PyTorch {torch.__version__} finds none here. It finds: {have}.\n"
            "Type hardware=auto to take what there is."
        )
    return accelerator


def resolve_precision(precision: str, accelerator: str) -> Any:
    """auto: bf16 on GPUs that have it; elsewhere fp32, unless tasks/hardware/choice.py has chosen before."""
    if precision != "auto":
        return precision
    return "bf16-mixed" if accelerator == "gpu" and torch.cuda.is_bf16_supported() else "32-true"


def micro_batches_per_step(*, accumulate: int, tokens_per_step: int | None, batch_tokens: int, world_size: int) -> int:
    """Micro-batches per update and device, from `accumulate` or from a target of tokens.

    Args:
        batch_tokens: tokens of one micro-batch on one device. world_size: devices.

    Raises:
        RequestError: the target is no multiple of what all devices take at once, or both are set.
    """
    at_once = batch_tokens * world_size
    if tokens_per_step is None:
        return accumulate
    if accumulate != 1:
        raise RequestError(
            f"trainer.accumulate={accumulate} and trainer.tokens_per_step={tokens_per_step} say the same thing twice.\n"
            "Set one of them."
        )
    if tokens_per_step % at_once:
        below = max(1, tokens_per_step // at_once) * at_once
        raise RequestError(
            f"trainer.tokens_per_step={tokens_per_step} is not a multiple of {at_once}, the tokens of one micro-batch "
            f"on all devices (data.batch_size x data.seq_len x {world_size} devices).\n"
            f"Try trainer.tokens_per_step={below} or {below + at_once}, or another data.batch_size."
        )
    return tokens_per_step // at_once


def _strategy(name: str, accelerator: str) -> Strategy | str:
    backend = "gloo" if accelerator == "cpu" else None
    world = joining.processes("WORLD_SIZE")
    if name == "ddp":
        return DDPStrategy(process_group_backend=backend, gradient_as_bucket_view=True)
    if name == "fsdp":
        return ModelParallelStrategy(
            data_parallel_size=world,
            tensor_parallel_size=1,
            save_distributed_checkpoint=False,  # one file that every other set-up can read
            process_group_backend=backend,
        )
    device = {"gpu": "cuda:0", "mps": "mps", "cpu": "cpu"}[accelerator]
    return SingleDeviceStrategy(torch.device(device))
