"""What every objective shares: one training step = one optimizer update over all micro-batches of all ranks.

The loss is the mean over the supervised tokens of the *global* batch. Each micro-batch contributes its sum, divided by
the number of tokens that all micro-batches and ranks have together: known before the first forward pass. Averaging
micro-batch means instead is a different loss as soon as they are ragged (huggingface/transformers#34191).

Randomness (dropout) is drawn from a generator seeded by (seed, step, rank), so there is no state to save: a run that
was stopped anywhere goes on with the numbers it would have drawn.
"""

import math
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
import torch.distributed as dist
from torch import Tensor
from torch.nn.utils import get_total_norm

from batch import Batch
from bounds import PositiveFloat, PositiveInt, Seed
from errors import RunError
from lightning_modules.sums import Sums, source_metrics, source_sums, text_metrics, text_sums
from lightning_modules.update import (
    Measured,
    NonFiniteError,
    Size,
    Unsettled,
    added,
    clip_gradients,
    is_finite,
    read_tokens,
    seed_generators,
    step_seed,
    supervised_tokens,
)
from models.adapters.packed import adopt
from models.base import LanguageModel, Output
from models.sharding import is_sharded, shard

LATER = {"cuda"}  # devices that compute while Python goes on


@dataclass(frozen=True)
class Start:
    """What a run begins with, for `learn_start` and `begin`.

    Args:
        data: the data module, prepared and told its rank. folder: of the run.
        weights: where the weights are from; None: they are random. resumed: a checkpoint follows.
        train: `train(module, data, steps=..., folder=...)`: a short run of its own in a folder below this one's.
        reference_text: `reference_text(batch_size=...)`: the language reference inside Python, as a data module.
    """

    data: Any
    folder: Path
    weights: str | None
    resumed: bool
    rank: int
    train: Callable[..., None]
    reference_text: Callable[..., Any]

    @property
    def from_scratch(self) -> bool:
        return self.weights is None and not self.resumed


# after training on answers one talks to the model
TALK: dict[str, str | None] = {"sample": None, "talk": "python run.py task=chat init_from={run}"}


class LanguageModule(pl.LightningModule):
    """Base of all objectives. A subclass says what one micro-batch's loss is, and what of a run's course is its own.

    How to add one: CONTRIBUTING.md, "Adding an objective".

    Args:
        model: the network.
        optimizer: called with `model=`; gives one torch optimizer whose groups carry "initial_lr".
        schedule: updates done -> multiplier of each group's rate.
        token_bytes: (V,) UTF-8 bytes that each token id stands for, 0 for specials; for bits per byte.
        seed: root of all randomness. grad_clip: largest global gradient norm, or None. log_every: updates between logs.
    """

    needs: tuple[str, ...] = ()  # kinds of data, of which it takes one: tokens, conversations, pairs, labels
    horizon: tuple[str, ...] = ()  # keys that resume= may move, beside the trainer's own
    # arguments that tasks/parts.py gives to whoever takes them: never keys of a config
    filled_in = (
        "model", "tokenizer", "data", "run", "seed", "optimizer", "schedule", "token_bytes", "load_model", "adapter",
        "reward", "grad_clip", "log_every", "strategy", "max_steps", "accelerator", "compile_model", "ema", "patience",
    )  # fmt: skip
    judges = False  # True: what it trains scores answers, and gives none
    validates_losses = True  # validation sums losses up; False: it samples answers
    one_shape = False  # True: all its batches have as many tokens a row
    updates_per_item = 1  # optimizer updates that one item of the training data serves
    may_learn_nothing = False  # True: an update may find nothing in its rows that it learns from

    def __init__(
        self,
        *,
        model: LanguageModel,
        optimizer: Callable[..., torch.optim.Optimizer] | None = None,
        schedule: Callable[[int], float] | None = None,
        token_bytes: Tensor | None = None,
        seed: Seed = 0,
        grad_clip: PositiveFloat | None = None,
        log_every: PositiveInt = 10,
        compile_model: bool = False,
    ):
        super().__init__()
        self.automatic_optimization = False
        self.model, self._make_optimizer, self._schedule = model, optimizer, schedule
        self.seed, self.grad_clip, self.log_every, self.compile_model = seed, grad_clip, log_every, compile_model
        self.token_bytes = token_bytes  # stays on the CPU, where validation is summed
        self.measured = Measured()
        self.stop_signal = 0  # set by this rank's signal handler
        self.stop_agreed = 0  # what the ranks agreed on, once per update
        self._counted: Size | None = None  # of the next update, if it was counted on the CPU
        self._unsettled: Unsettled | None = None  # the last update, if nobody has waited for it
        self._step_stats: dict[str, Tensor] = {}  # what the model counted in this update so far
        self._recent_stats: dict[str, Tensor] = {}  # the same of all updates since the last log
        self._validation = Sums()

    # ---- what an objective defines -----------------------------------------------------------------------------------

    def loss(self, micro: Batch) -> Output:
        """Forward pass of one micro-batch: `loss` is the sum over its supervised tokens."""
        raise NotImplementedError

    def units(self, micro: Batch) -> int:
        """What `loss` sums over, hence what it is divided by: supervised tokens, unless an objective says otherwise."""
        return supervised_tokens(micro)

    def before_update(self, batch: list[Batch]) -> None:
        """What the loss needs to know of all of an update's micro-batches, before the first of them; on all ranks."""

    def update_metrics(self, sums: dict[str, Tensor], size: Size) -> dict[str, float]:
        """Metrics of an update by name, without "train/", from `Output.sums` over all micro-batches and ranks."""
        return {name: value.item() / size.units for name, value in sums.items()}

    def validation_sums(self, batch: Batch, out: Output) -> dict[str, Tensor]:
        """What a batch adds to a validation, float64 on the CPU; the same names for every batch and rank."""
        assert out.nll_BT is not None
        sums = {"text": text_sums(out.nll_BT, batch["targets"], self.token_bytes)}
        if "source" in batch:
            names = self._source_names()
            source = batch["source"], self.token_bytes
            sums["sources"] = source_sums(out.nll_BT, batch["targets"], *source, n_sources=len(names))
        return sums

    def validation_metrics(self, sums: dict[str, Tensor]) -> dict[str, float]:
        """Metrics by name, without "val/", from the sums over all batches and ranks."""
        metrics = text_metrics(sums["text"])
        return metrics | (source_metrics(sums["sources"], self._source_names()) if "sources" in sums else {})

    # ---- what an objective may say of a run --------------------------------------------------------------------------

    @classmethod
    def prepare_tokenizer(cls, tokenizer: Any) -> Any:
        """The tokenizer with the specials that this objective writes into rows; before any data is read."""
        return tokenizer

    @classmethod
    def prepare_model(cls, model: LanguageModel) -> LanguageModel:
        """The model that this objective trains, made from a language model; before any weights are loaded."""
        return model

    def run_length(self, max_steps: int) -> int:
        """Updates of the run where `max_steps` are asked for."""
        return max_steps

    def check_data(self, data: Any) -> None:
        """Has the data count what of it is not used; before anything is trained, and by task=check.

        Raises:
            RequestError: it cannot learn from this data.
        """

    def learn_start(self, start: Start) -> None:
        """Before adapters are added: what is learned first in a run `from_scratch`."""

    def begin(self, start: Start) -> None:
        """After weights and adapters, before the Trainer: rows held out, judges loaded, what is computed once."""

    def record(self) -> dict[str, Any]:
        """What it adds to summary.json, also after a failure."""
        return {}

    def farewell(self) -> dict[str, str | None]:
        """What to type next that only it knows: label -> a command with {run} for the run's folder, None for none."""
        return {}

    def trained(self) -> dict[str, torch.nn.Module]:
        """The networks that updates change, by name: each is clipped by its own norm. The first is what is saved."""
        return {"model": self.model}

    # ---- what task=check asks ----------------------------------------------------------------------------------------

    def beside(self) -> dict[str, tuple[int, int]]:
        """Parameters, all and trained ones, of the networks that a run keeps beside `model`, by name."""
        return {}

    def update_shapes(self, batch: list[Batch]) -> list[tuple[int, int]]:
        """Rows and tokens of each micro-batch of an update on this rank; the longest where they vary."""
        return [(micro["ids"].shape[0], micro["ids"].shape[1]) for micro in batch]

    # ---- set-up ------------------------------------------------------------------------------------------------------

    def configure_model(self) -> None:
        if isinstance(self.trainer.strategy, pl.strategies.ModelParallelStrategy):
            shard(self.model, self.device_mesh)
        torch.backends.cuda.enable_cudnn_sdp(self.one_shape)  # see models/layers/attention.py, any_length
        if self.compile_model:
            self.model.compile()  # in place: parameter names stay as they are

    def configure_optimizers(self) -> torch.optim.Optimizer:
        assert self._make_optimizer is not None, "this module was built without an optimizer"
        return self._make_optimizer(model=self.model)

    # ---- one update --------------------------------------------------------------------------------------------------

    def on_before_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        """Counts while the micro-batches lie on the CPU: a GPU would have to end all that it has to do first."""
        if self.trainer.training and self.settles_later:
            self._counted = self._count(batch)
        return batch

    def training_step(self, batch: list[Batch], batch_idx: int) -> None:
        self.update(batch)

    def update(self, batch: list[Batch]) -> None:
        """One optimizer update over the micro-batches `batch`.

        Where `settles_later`, a gradient that is not finite is told at the next update, log, validation or checkpoint:
        so the next batch is fetched, counted and copied while the GPU still computes. No weight changes in between.
        """
        step = self.trainer.global_step
        seed_generators(step_seed(self.seed, step, self.global_rank), self.device)
        multiplier = self._set_learning_rate(step)
        self.before_update(batch)
        size = self._agree(batch)
        self.settle()
        sums = self._backward(batch, size)
        norm = self._step_later(batch) if self.settles_later else self._step_now(batch)
        self.measured.step_tokens = size.tokens
        self.measured.tokens_seen += size.tokens
        logs = (step + 1) % self.log_every == 0 or step == 0
        if logs or self._step_stats:
            self.settle()
        self._use_stats(step)
        if logs:
            self._log_update(sums, size, {"grad_norm": float(norm), "lr_multiplier": multiplier})

    def _step_now(self, batch: list[Batch]) -> float:
        """Clips and updates the weights. Returns the gradient's norm before it was clipped."""
        norm = self._clip()
        if not math.isfinite(norm) and self._scaler is None:  # with fp16's scaler, a skipped update is normal
            raise self._non_finite(batch, norm, self.trainer.global_step)
        optimizer: Any = self.optimizers()  # Lightning's wrapper counts its steps: that is global_step
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return norm

    def _step_later(self, batch: list[Batch]) -> Tensor:
        """The same without waiting for the GPU: AdamW's kernel clips, and leaves all as it is if the norm says so."""
        [network] = self.trained().values()
        norm = get_total_norm([p.grad for p in network.parameters() if p.grad is not None]).float()
        step = self.trainer.global_step
        fused: Any = self._torch_optimizer
        fused.found_inf = 1 - norm.isfinite().float()
        if self.grad_clip is not None:
            fused.grad_scale = ((norm + 1e-6) / self.grad_clip).clamp_min(1)  # what gradients are divided by
        optimizer: Any = self.optimizers()
        optimizer.step()
        self._unsettled = Unsettled(step, batch, norm)
        return norm

    def settle(self) -> None:
        """Waits for the last update, if nobody has. Raises NonFiniteError if it was none: no weight has changed."""
        if self._unsettled is None:
            return
        last, self._unsettled = self._unsettled, None
        if not math.isfinite(norm := float(last.norm)):
            progress: Any = self.trainer.fit_loop.epoch_loop.manual_optimization.optim_step_progress
            progress.total.completed = last.step  # trainer.global_step, which a checkpoint is told
            self.measured.tokens_seen -= self.measured.step_tokens
            raise self._non_finite(last.batch, norm, last.step)
        self.zero_grad(set_to_none=True)

    @property
    def settles_later(self) -> bool:
        """One GPU, AdamW's fused kernel, and updates that are counted before they get there."""
        kind = type(self)
        return (
            self.device.type in LATER
            and self.trainer.world_size == 1
            and self._scaler is None
            and kind.training_step is LanguageModule.training_step
            and kind.before_update is LanguageModule.before_update
            and len(self.trained()) == 1
            and type(self._torch_optimizer) is torch.optim.AdamW
            and all(group["fused"] for group in self._torch_optimizer.param_groups)
            and not is_sharded(self.model)
        )

    def _log_update(self, sums: Sums, size: Size, facts: dict[str, float]) -> None:
        found = sums.over_ranks(world_size=self.trainer.world_size, device=self.device)
        means = {"loss": found.pop("loss").item() / size.units} | facts | self.update_metrics(found, size)
        means |= self.model.stats_metrics(self._recent_stats)
        self.measured.train = {f"train/{name}": value for name, value in means.items()}
        self._recent_stats = {}

    def on_train_start(self) -> None:
        self.measured.step_ended = time.perf_counter()

    def on_train_batch_end(self, *_: Any) -> None:
        self.measured.step_ended = time.perf_counter()  # Lightning calls this after the callbacks' hooks

    def _set_learning_rate(self, step: int) -> float:
        multiplier = self._schedule(step) if self._schedule is not None else 1.0
        for group in self._torch_optimizer.param_groups:
            group["lr"] = group["initial_lr"] * multiplier
        return multiplier

    def _agree(self, batch: list[Batch]) -> Size:
        """How much the update is over all ranks; on the way, ranks agree on whether to stop after it."""
        size, self._counted = self._counted or self._count(batch), None
        if self.trainer.world_size > 1:
            facts = torch.tensor([*size, self.stop_signal], dtype=torch.int64, device=self.device)
            counts = facts[:3].clone()
            dist.all_reduce(counts)
            dist.all_reduce(facts, op=dist.ReduceOp.MAX)
            size, self.stop_agreed = Size(*counts.tolist()), int(facts[3])
        if size.units == 0 and not self.may_learn_nothing:
            raise RunError("a whole batch has no token to learn from: every target is masked. Look at the data's mask.")
        return size._replace(units=max(1, size.units))

    def _count(self, batch: list[Batch]) -> Size:
        """Of this rank."""
        return Size(*(sum(map(count, batch)) for count in (self.units, supervised_tokens, read_tokens)))

    def _backward(self, batch: list[Batch], size: Size) -> Sums:
        """Accumulates gradients of the global mean; returns this rank's sums of the loss and of `Output.sums`.

        Auxiliary losses are means over the tokens that a micro-batch reads, and weighted by their number: what is a
        mean over tokens (the router's z-loss) comes out the same however an update is split; the balance loss, a
        product of two means, is that of each micro-batch. DDP and FSDP average gradients over ranks, which `world`
        takes back.
        """
        world, sums = self.trainer.world_size, Sums()
        for i, micro in enumerate(batch):
            self._sync_gradients(last=i == len(batch) - 1)
            out = self.loss(micro)
            assert out.loss is not None
            objective = out.loss * (world / size.units)
            if out.aux:
                objective = objective + sum(out.aux.values()) * (read_tokens(micro) * world / size.read)
            self.manual_backward(objective)
            sums.add({"loss": out.loss.detach()} | out.sums)
            self._step_stats = added(self._step_stats, out.stats)
        return sums

    def _use_stats(self, step: int) -> None:
        """What the model counted, summed over ranks: for the model itself (balancing of experts) and for the log."""
        if not self._step_stats:
            return
        if self.trainer.world_size > 1:
            for value in self._step_stats.values():
                dist.all_reduce(value)
        self.model.after_update(self._step_stats, step=step)
        self._recent_stats = added(self._recent_stats, self._step_stats)
        self.measured.stats, self._step_stats = self._step_stats, {}

    def _sync_gradients(self, *, last: bool) -> None:
        """Ranks exchange gradients once per update, with the last micro-batch."""
        wrapped = self.trainer.strategy.model
        if isinstance(wrapped, torch.nn.parallel.DistributedDataParallel):
            wrapped.require_backward_grad_sync = last
        elif is_sharded(self.model):
            self.model.set_requires_gradient_sync(last)

    def _clip(self) -> float:
        """Global gradient norm before clipping. Scales in place only where it is above the bound."""
        if self._scaler is not None:
            self._scaler.unscale_(self._torch_optimizer)
        norms = [clip_gradients(network, self.grad_clip) for network in self.trained().values()]
        return norms[0] if all(map(math.isfinite, norms)) else math.nan

    def _non_finite(self, batch: list[Batch], norm: float, step: int) -> NonFiniteError:
        bad = [
            name if part == "model" else f"{part}.{name}"
            for part, network in self.trained().items()
            for name, p in network.named_parameters()
            if p.grad is not None and not is_finite(p.grad)
        ]
        evidence = {
            "step": step,
            "rank": self.global_rank,
            "grad_norm": norm,
            "parameters_with_non_finite_gradient": bad,
            "batch": [{k: v.cpu() for k, v in micro.items()} for micro in batch],
        }
        self.zero_grad(set_to_none=True)
        return NonFiniteError(
            f"step {step + 1}: the gradient is not finite (norm {norm}), in {len(bad)} parameters, "
            f"first {', '.join(bad[:3])}.\nStopped before the update. Try a lower optimizer.lr or a longer "
            "schedule.warmup_steps; with 16-mixed precision, try trainer.precision=bf16-mixed.",
            evidence,
        )

    # ---- validation --------------------------------------------------------------------------------------------------

    def on_validation_start(self) -> None:
        self.settle()

    def on_train_end(self) -> None:
        self.settle()

    def on_validation_epoch_start(self) -> None:
        self._validation, self.measured.extra = Sums(), {}

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        self._validation.add(self.validation_sums(batch, self.loss(batch)))

    def on_validation_epoch_end(self) -> None:
        sums = self._validation.over_ranks(world_size=self.trainer.world_size, device=self.device)
        found = {f"val/{name}": value for name, value in self.validation_metrics(sums).items()}
        self.measured.val = found | self.measured.extra
        for name, value in self.measured.val.items():
            # for callbacks such as EarlyStopping; loggers get it from Metrics. Equal on all ranks already.
            self.log(name, value, logger=False, sync_dist=self.trainer.world_size > 1)

    def metrics_over(self, parts: Iterable[dict[str, Tensor]]) -> dict[str, float]:
        """Metrics of a validation out of what `validation_sums` gave of each batch, over all ranks."""
        sums = Sums()
        for part in parts:
            sums.add(part)
        return self.validation_metrics(sums.over_ranks(world_size=self.trainer.world_size, device=self.device))

    def _source_names(self) -> tuple[str, ...]:
        trainer: Any = self.trainer
        return tuple(getattr(trainer.datamodule, "source_names", ()))

    # ---- state -------------------------------------------------------------------------------------------------------

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.settle()
        checkpoint["tokens_seen"] = self.measured.tokens_seen
        if getattr(self.model, "adapter", None) is not None:
            checkpoint["adapter"] = self.model.adapter

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.measured.tokens_seen = checkpoint["tokens_seen"]
        if "state_dict" in checkpoint:  # FSDP loads its weights by itself
            adopt(self.model, checkpoint["state_dict"], prefix="model.")

    # ---- small helpers -----------------------------------------------------------------------------------------------

    @property
    def _torch_optimizer(self) -> torch.optim.Optimizer:
        return self.trainer.optimizers[0]

    @property
    def _scaler(self) -> Any:
        return getattr(self.trainer.precision_plugin, "scaler", None)
