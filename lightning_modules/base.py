"""What every objective shares: one training step = one optimizer update over all micro-batches of all ranks.

The loss is the mean over the supervised tokens of the *global* batch. Each micro-batch contributes its sum, divided by
the number of tokens that all micro-batches and ranks have together: known before the first forward pass. Averaging
micro-batch means instead is a different loss as soon as they are ragged (huggingface/transformers#34191).

Randomness (dropout) is drawn from a generator seeded by (seed, step, rank), so there is no state to save: a run that
was stopped anywhere goes on with the numbers it would have drawn.
"""

import math
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import lightning.pytorch as pl
import torch
import torch.distributed as dist
from torch import Tensor
from torch.nn.utils import get_total_norm

from bounds import PositiveFloat, PositiveInt, Seed
from errors import RunError
from lightning_modules.by_source import BySource
from models.adapters.packed import adopt
from models.base import LanguageModel, Output
from models.layers.loss import IGNORE

Batch = dict[str, Tensor]


class NonFiniteError(RunError):
    """Loss or gradient is NaN or infinite; raised before the update. `evidence` is what one needs to look into it."""

    def __init__(self, message: str, evidence: dict[str, Any]):
        super().__init__(message)
        self.evidence = evidence


class Totals(NamedTuple):
    """Sums over validation tokens, float64: nats and tokens of all targets; nats and bytes of those that are text."""

    nll: float = 0.0
    tokens: float = 0.0
    text_nll: float = 0.0
    text_bytes: float = 0.0


class LanguageModule(pl.LightningModule):
    """Base of all objectives. A subclass says what one micro-batch's loss is (`loss`).

    Args:
        model: the network.
        optimizer: called with `model=`; gives one torch optimizer whose groups carry "initial_lr".
        schedule: updates done -> multiplier of each group's rate.
        token_bytes: (V,) UTF-8 bytes that each token id stands for, 0 for specials; for bits per byte.
        seed: root of all randomness. grad_clip: largest global gradient norm, or None. log_every: updates between logs.
    """

    needs: tuple[str, ...] = ()

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
        self.token_bytes = token_bytes  # stays on the CPU, where totals are summed
        self.tokens_seen = 0  # supervised tokens, all ranks
        self.step_tokens = 0  # the same of the last update
        self.step_started = 0.0  # when the last update and all that followed it had ended
        self.stop_signal = 0  # set by this rank's signal handler
        self.stop_agreed = 0  # what the ranks agreed on, once per update
        self.last_step: dict[str, float] = {}  # what the progress bar shows
        self.step_stats: dict[str, Tensor] = {}  # what the model counted in this update so far
        self.last_stats: dict[str, Tensor] = {}  # in the last one, over all ranks
        self.recent_stats: dict[str, Tensor] = {}  # the same of all updates since the last log
        self._totals = Totals()
        self.extra_metrics: dict[str, float] = {}  # what callbacks measured in this validation; equal on all ranks

    # ---- what an objective defines -----------------------------------------------------------------------------------

    def loss(self, micro: Batch) -> Output:
        """Forward pass of one micro-batch: `loss` is the sum over its supervised tokens."""
        raise NotImplementedError

    @classmethod
    def prepare_model(cls, model: LanguageModel) -> LanguageModel:
        """The model that this objective trains, made from a language model; before any weights are loaded."""
        return model

    def routed_padding(self, micro: Batch) -> Tensor | None:
        """For experts, which count their tokens (S15). Attention does not look at padding: it comes last."""
        return micro.get("padding") if self.model.inactive_parameters() else None

    def units(self, micro: Batch) -> int:
        """What `loss` sums over, hence what it is divided by: supervised tokens, unless an objective says otherwise."""
        return supervised_tokens(micro)

    # ---- set-up ------------------------------------------------------------------------------------------------------

    def configure_model(self) -> None:
        if isinstance(self.trainer.strategy, pl.strategies.ModelParallelStrategy):
            _shard(self.model, self.device_mesh)
        if self.compile_model:
            self.model.compile()  # in place: parameter names stay as they are

    def configure_optimizers(self) -> torch.optim.Optimizer:
        assert self._make_optimizer is not None, "this module was built without an optimizer"
        return self._make_optimizer(model=self.model)

    # ---- one update --------------------------------------------------------------------------------------------------

    def training_step(self, batch: list[Batch], batch_idx: int) -> None:
        step, world = self.trainer.global_step, self.trainer.world_size
        torch.manual_seed(step_seed(self.seed, step, self.global_rank))
        multiplier = self._set_learning_rate(step)
        units, tokens = self._agree(sum(map(self.units, batch)), sum(map(supervised_tokens, batch)))
        total_loss, sums = self._backward(batch, scale=world / units)
        norm = self._clip()
        if not math.isfinite(norm) and self._scaler is None:  # with fp16's scaler, a skipped update is normal
            raise self._non_finite(batch, norm)
        optimizer: Any = self.optimizers()  # Lightning's wrapper counts its steps: that is global_step
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        self._use_stats(step)
        self.step_tokens = tokens
        self.tokens_seen += tokens
        if (step + 1) % self.log_every == 0 or step == 0:
            loss = self._sum_over_ranks(total_loss) / units
            self.last_step = {"train/loss": loss, "train/grad_norm": norm, "train/lr_multiplier": multiplier}
            self.last_step |= {f"train/{name}": self._sum_over_ranks(x) / units for name, x in sorted(sums.items())}
            counted = self.model.stats_metrics(self.recent_stats)
            self.last_step |= {f"train/{name}": value for name, value in counted.items()}
            self.recent_stats = {}

    def on_train_start(self) -> None:
        self.step_started = time.perf_counter()

    def on_train_batch_end(self, *_: Any) -> None:
        self.step_started = time.perf_counter()  # Lightning calls this after the callbacks' hooks

    def _set_learning_rate(self, step: int) -> float:
        multiplier = self._schedule(step) if self._schedule is not None else 1.0
        for group in self._torch_optimizer.param_groups:
            group["lr"] = group["initial_lr"] * multiplier
        return multiplier

    def _agree(self, units: int, tokens: int) -> tuple[int, int]:
        """Units and supervised tokens over all ranks; on the way, ranks agree on whether to stop after this update."""
        if self.trainer.world_size > 1:
            facts = torch.tensor([units, tokens, self.stop_signal], dtype=torch.int64, device=self.device)
            counts = facts[:2].clone()
            dist.all_reduce(counts)
            dist.all_reduce(facts, op=dist.ReduceOp.MAX)
            units, tokens, self.stop_agreed = int(counts[0]), int(counts[1]), int(facts[2])
        if units == 0:
            raise RunError("a whole batch has no token to learn from: every target is masked. Look at the data's mask.")
        return units, tokens

    def _backward(self, batch: list[Batch], *, scale: float) -> tuple[Tensor, dict[str, Tensor]]:
        """Accumulates gradients of the global mean; returns this rank's summed loss and `Output.sums`, detached.

        `scale` = world size / global units: DDP and FSDP average gradients over ranks, which takes the former back.
        """
        total = torch.zeros((), device=self.device)
        sums: dict[str, Tensor] = {}
        for i, micro in enumerate(batch):
            self._sync_gradients(last=i == len(batch) - 1)
            out = self.loss(micro)
            assert out.loss is not None
            objective = out.loss * scale
            if out.aux:  # means over this micro-batch's tokens: weighted by their number, as the loss is
                objective = objective + sum(out.aux.values()) * (self.units(micro) * scale)
            self.manual_backward(objective)
            total += out.loss.detach()
            sums = {name: value + sums.get(name, 0) for name, value in out.sums.items()}
            self.step_stats = _added(self.step_stats, out.stats)
        return total, sums

    def _use_stats(self, step: int) -> None:
        """What the model counted, summed over ranks: for the model itself (balancing of experts) and for the log."""
        if not self.step_stats:
            return
        if self.trainer.world_size > 1:
            for value in self.step_stats.values():
                dist.all_reduce(value)
        self.model.after_update(self.step_stats, step=step)
        self.recent_stats = _added(self.recent_stats, self.step_stats)
        self.last_stats, self.step_stats = self.step_stats, {}

    def _sync_gradients(self, *, last: bool) -> None:
        """Ranks exchange gradients once per update, with the last micro-batch."""
        wrapped = self.trainer.strategy.model
        if isinstance(wrapped, torch.nn.parallel.DistributedDataParallel):
            wrapped.require_backward_grad_sync = last
        elif isinstance(self.model, torch.distributed.fsdp.FSDPModule):
            self.model.set_requires_gradient_sync(last)

    def _clip(self) -> float:
        """Global gradient norm before clipping. Scales in place only where it is above the bound."""
        if self._scaler is not None:
            self._scaler.unscale_(self._torch_optimizer)
        grads = [p.grad for p in self.model.parameters() if p.grad is not None]
        norm = get_total_norm(grads)
        if hasattr(norm, "full_tensor"):  # FSDP: each rank holds a part of each gradient
            norm = norm.full_tensor()
        value = float(norm)
        if self.grad_clip is not None and value > self.grad_clip:
            torch._foreach_mul_(grads, self.grad_clip / (value + 1e-6))
        return value

    def _non_finite(self, batch: list[Batch], norm: float) -> NonFiniteError:
        bad = [n for n, p in self.model.named_parameters() if p.grad is not None and not _is_finite(p.grad)]
        evidence = {
            "step": self.trainer.global_step,
            "rank": self.global_rank,
            "grad_norm": norm,
            "parameters_with_non_finite_gradient": bad,
            "batch": [{k: v.cpu() for k, v in micro.items()} for micro in batch],
        }
        self.zero_grad(set_to_none=True)
        return NonFiniteError(
            f"step {self.trainer.global_step + 1}: the gradient is not finite (norm {norm}), in {len(bad)} parameters, "
            f"first {', '.join(bad[:3])}.\nStopped before the update. Try a lower optimizer.lr or a longer "
            "schedule.warmup_steps; with 16-mixed precision, try trainer.precision=bf16-mixed.",
            evidence,
        )

    # ---- validation --------------------------------------------------------------------------------------------------

    def on_validation_epoch_start(self) -> None:
        self._totals, self.extra_metrics = Totals(), {}
        trainer: Any = self.trainer
        self._by_source = BySource(getattr(trainer.datamodule, "source_names", ()))

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        out = self.loss(batch)
        assert out.nll_BT is not None
        added = token_totals(out.nll_BT, batch["targets"], self.token_bytes)
        if "source" in batch:
            self._by_source.add(out.nll_BT, batch["targets"], batch["source"], self.token_bytes)
        self._totals = Totals(*(a + b for a, b in zip(self._totals, added, strict=True)))

    def on_validation_epoch_end(self) -> None:
        self.val_metrics = metrics_of(Totals(*self._over_ranks(self._totals).tolist())) | self.extra_metrics
        self.val_metrics |= self._by_source.metrics(self._over_ranks)
        for name, value in self.val_metrics.items():
            # for callbacks such as EarlyStopping; loggers get it from Metrics. Equal on all ranks already.
            self.log(name, value, logger=False, sync_dist=self.trainer.world_size > 1)

    def _over_ranks(self, sums: Any) -> Tensor:
        values = torch.as_tensor(sums, dtype=torch.float64)
        if self.trainer.world_size == 1:
            return values
        # gloo and nccl know float64, mps does not, and never has more than one rank
        values = values.to(self.device)
        dist.all_reduce(values)
        return values.cpu()

    # ---- state -------------------------------------------------------------------------------------------------------

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["tokens_seen"] = self.tokens_seen
        if getattr(self.model, "adapter", None) is not None:
            checkpoint["adapter"] = self.model.adapter

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.tokens_seen = checkpoint["tokens_seen"]
        adopt(self.model, checkpoint["state_dict"], prefix="model.")

    # ---- small helpers -----------------------------------------------------------------------------------------------

    @property
    def _torch_optimizer(self) -> torch.optim.Optimizer:
        return self.trainer.optimizers[0]

    @property
    def _scaler(self) -> Any:
        return getattr(self.trainer.precision_plugin, "scaler", None)

    def _sum_over_ranks(self, value: Tensor) -> float:
        if self.trainer.world_size > 1:
            dist.all_reduce(value)
        return value.item()


def step_seed(seed: int, step: int, rank: int) -> int:
    """One 63-bit seed for (seed, step, rank); splitmix64's finaliser, so that neighbours share nothing."""
    mask = 2**64 - 1
    x = (seed * 0x9E3779B97F4A7C15 + step * 0xBF58476D1CE4E5B9 + rank * 0x94D049BB133111EB) & mask
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & mask
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & mask
    return (x ^ (x >> 31)) >> 1


def _added(sums: dict[str, Tensor], more: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: value if name not in sums else sums[name] + value for name, value in more.items()}


def supervised_tokens(micro: Batch) -> int:
    """Targets that count."""
    return int((micro["targets"] != IGNORE).sum())


def token_totals(nll_BT: Tensor, targets_BT: Tensor, token_bytes_V: Tensor | None) -> Totals:
    """Sums for loss and bits per byte. Specials stand for no bytes: neither they nor their loss enter the latter."""
    nll_BT, targets_BT = nll_BT.cpu().double(), targets_BT.cpu()  # float64 sums: mps has none
    counted = targets_BT != IGNORE
    nll_BT = nll_BT * counted
    nll, tokens = nll_BT.sum().item(), counted.sum().item()
    if token_bytes_V is None:
        return Totals(nll, tokens)
    lengths_BT = token_bytes_V[targets_BT.clamp_min(0)] * counted
    return Totals(nll, tokens, (nll_BT * (lengths_BT > 0)).sum().item(), lengths_BT.sum().item())


def metrics_of(totals: Totals) -> dict[str, float]:
    """val/loss (nats per token), val/perplexity, and val/bpb (bits per byte of text) where the bytes are known."""
    loss = totals.nll / totals.tokens if totals.tokens else math.nan
    metrics = {"val/loss": loss, "val/perplexity": math.exp(min(loss, 700.0))}  # exp(710) overflows
    if totals.text_bytes:
        metrics["val/bpb"] = totals.text_nll / math.log(2) / totals.text_bytes
    return metrics


def _is_finite(grad: Tensor) -> bool:
    local = grad.to_local() if hasattr(grad, "to_local") else grad
    return bool(local.isfinite().all())


def _shard(model: LanguageModel, mesh: Any) -> None:
    """FSDP2: each block's parameters are gathered when it runs, the rest (embedding, head) with the model."""
    from torch.distributed.fsdp import fully_shard

    dp_mesh = mesh["data_parallel"]
    for block in model.blocks:  # type: ignore[union-attr]
        fully_shard(block, mesh=dp_mesh)
    fully_shard(model, mesh=dp_mesh)
