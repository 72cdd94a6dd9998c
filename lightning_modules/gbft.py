"""Gradient-boosted fine-tuning: freeze F_0; stage by stage fit a small learner to what the ensemble still gets wrong.

    for m = 1..M:  fit h_m to the loss of F_{m-1} + h_m  ->  eta_m from the dev part  ->  F_m = F_{m-1} + eta_m h_m

Which update does what: models/boosting/machine.py. What it minimises: models/boosting/losses.py. The dev part is rows
of the training data that are never trained on, or pairs (gbft.loss=dpo). Learners of other stages get no gradient, so
that one optimizer over all of them is a fresh one for each.

Friedman 2001 (gradient boosting), 2002 (row subsampling); GrowNet, 2002.07971; XGBLoRA, 2410.19694.
"""

import time
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from batch import Batch
from lightning_modules.base import TALK, LanguageModule, Start
from lightning_modules.boosting_start import (
    check_data,
    check_logits,
    check_settings,
    check_start,
    draw_rows,
    learn_base,
    make_room,
    n_rows,
    refuse_ends,
)
from lightning_modules.dpo import completion_log_probs, sequence_log_probs
from lightning_modules.pairs import n_pairs, pair_means, pair_sums, plain_numbers, real_pairs
from lightning_modules.reference import Reference
from lightning_modules.update import step_seed
from models.base import Output
from models.boosting.ensemble import Boosted
from models.boosting.losses import corrective_loss, stage_curvature, stage_loss
from models.boosting.machine import Record, StageMachine, Turn, Weights, table
from models.boosting.pair_loss import pair_losses
from models.boosting.rows import rows_to_learn
from models.boosting.stage import closing, dev_loss, dev_rows_loss
from models.boosting.states import RowStates, check_budget
from models.boosting.units import Unit
from models.preference_losses import sum_over


class GBFTModule(LanguageModule):
    """The stages of `model.plan`. `use_rows` must be called before training."""

    needs = ("tokens", "conversations", "pairs")
    horizon = ("gbft.stages",)

    def __init__(
        self,
        *,
        strategy: str,
        adapter: Any,
        ema: Any = None,
        patience: Any = None,
        cache_dir: str = "outputs/cache",
        **common: Any,
    ):
        """Args: cache_dir: where log-probabilities of pairs under the start are kept.

        Raises RequestError for settings of the run that stages cannot be trained with.
        """
        super().__init__(**common)
        refuse_ends({"ema": ema, "patience": patience})
        check_settings(self.model, strategy=strategy, adapter=adapter, optimizer=self._make_optimizer)
        check_logits(self.ensemble)
        self.plan = self.ensemble.plan
        self.dev: list[Unit] = []
        self.reference: Reference | None = None
        if self.plan.of_pairs:
            self.reference = Reference(completion_log_probs, how="cached", cache_dir=cache_dir)
        self.states = RowStates(self.ensemble, None)
        self._spare: Unit | None = None  # a row to train on where subsampling left none
        self._turn: Turn | None = None  # the update being made; None: what is computed is no training
        self._curvature: dict[int, Tensor] = {}  # fisher's matrix of the stage in training

    @property
    def ensemble(self) -> Boosted:
        assert isinstance(self.model, Boosted)
        return self.model

    @cached_property
    def machine(self) -> StageMachine:
        """Made when it is first asked for: where a run is only planned, nothing can be read of the ensemble before."""
        return StageMachine(self.plan, first=int(self.ensemble.closed))

    @property
    def records(self) -> list[Record]:
        """One of each stage, stage 0 being the base."""
        return self.machine.records

    @property
    def corrective(self) -> Record | None:
        return self.machine.corrective

    # ---- what is said of the run -------------------------------------------------------------------------------------

    def run_length(self, max_steps: int) -> int:
        return self.plan.run_length(max_steps, first=self.machine.first)

    def check_data(self, data: Any) -> None:
        check_data(data, self.plan)
        if self.plan.of_pairs:
            data.pass_over_margins("gbft")
        check_budget(self.ensemble, self.plan.unit_rows * n_rows(data, self.plan), data.seq_len)

    def learn_start(self, start: Start) -> None:
        check_start(self.ensemble, start)
        if self.plan.train_fraction < 1:
            start.data.shorten(self.plan.train_fraction)
        if start.from_scratch:
            learn_base(self.ensemble, start, token_bytes=self.token_bytes, seed=self.seed, log_every=self.log_every)

    def begin(self, start: Start) -> None:
        """Rows that choose the steps, and a place for the cache."""
        dev, spare = draw_rows(start.data, self.plan, seed=self.seed)
        # else a cache would be written, never read
        comes_back = hasattr(start.data, "order") or start.data.train.size is not None
        self.use_rows(dev, spare, start.folder / "cache" if comes_back else None)
        if start.rank == 0 and dev:
            tokens, what = sum(len(row.tokens.targets_N) for row in dev), "pairs" if self.plan.of_pairs else "rows"
            print(f"dev     {tokens:,} tokens in {len(dev)} training {what} choose the steps", flush=True)

    def use_rows(self, dev: Sequence[Unit], spare: Unit, folder: Path | None) -> None:
        """Args: dev: rows that choose steps. spare: a row that is none of them. folder: where states are kept."""
        self.dev, self._spare = list(dev), spare
        dtype = getattr(torch, self.plan.cache_dtype)
        self.states = RowStates(
            self.ensemble, None if self.plan.cache == "none" else folder, budget=self.plan.cache_gb * 1e9, dtype=dtype
        )

    def record(self) -> dict[str, Any]:
        self.states.close()
        return self.machine.summary()

    def farewell(self) -> dict[str, str | None]:
        """The table of stages; more stages may follow, unless the last one was dropped or corrective steps came."""
        print(table(self.records))
        further = f"python run.py resume={{run}} gbft.stages={2 * self.plan.stages}"
        answers = TALK if self.plan.loss in ("sft", "dpo") else {}
        return answers | {"go on": further if self.machine.may_grow else None}

    # ---- the course --------------------------------------------------------------------------------------------------

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """One optimizer, the groups of one learner after those of another: a later stage only adds to its end."""
        assert self._make_optimizer is not None, "this module was built without an optimizer"
        first, *rest = (self._make_optimizer(model=learner) for learner in self.ensemble.learners)
        for other in rest:
            for group in other.param_groups:
                first.add_param_group({k: v for k, v in group.items() if k not in ("lr",)} | {"lr": group["lr"]})
        return first

    def on_fit_start(self) -> None:
        if self.reference is None:
            return
        self.reference.compute(self)
        rows = [row.to(self.device) for row in self.dev]
        self.dev = [row._replace(reference_R=self._with_reference(row.batch)["reference"]) for row in rows]

    def on_train_start(self) -> None:
        """The base has a record, and a loss, before anything is learned."""
        super().on_train_start()
        if not self.records:
            facts = [self._facts_before(m) for m in range(self.machine.first + 1)]
            self.machine.open(facts[0], earlier=facts[1:])
            for callback in self.trainer.callbacks:  # type: ignore[attr-defined]
                if validate := getattr(callback, "validate_now", None):
                    validate(self.trainer)
        if self.machine.stopped and len(self.records) <= self.plan.stages:
            print(
                f"gbft    stage {len(self.records) - 1} was dropped and gbft.patience={self.plan.patience} ends the "
                "run there: no further stage is trained",
                flush=True,
            )
        self._say_what_is_left_out()

    def _say_what_is_left_out(self) -> None:
        if self.plan.corrective_steps and self.machine.nothing_to_correct:
            print("gbft.corrective_steps are left out: no stage was kept that they could correct", flush=True)

    def on_train_batch_start(self, batch: list[Batch], batch_idx: int) -> int | None:
        """-1 once the stages are done, as a resumed run may find them: it ends the epoch, and `should_stop` the run."""
        if self.trainer.global_step < self.machine.end:
            return None
        self.trainer.should_stop = True
        return -1

    def training_step(self, batch: list[Batch], batch_idx: int) -> None:
        started, step = time.perf_counter(), self.trainer.global_step
        turn = self.machine.turn(step)
        if turn.corrective and turn.first:
            self._start_correcting()
        self._fit(batch, turn)
        if self.plan.average and not turn.corrective:
            self.machine.average(turn.stage, copied(self.ensemble.learners[turn.stage]))
        if turn.looks:
            self._look_at_dev(turn.stage, step + 1)
        facts = self._end_of_stage(turn.stage) if turn.closes else {}
        self.machine.seconds += time.perf_counter() - started
        if turn.closes:
            self._close(turn.stage, facts)
        elif turn.last:
            self._end_correcting()

    def on_validation_epoch_end(self) -> None:
        super().on_validation_epoch_end()
        self.machine.validated(self.measured.val)

    def on_fit_end(self) -> None:
        self.states.close()

    # ---- one update --------------------------------------------------------------------------------------------------

    def _fit(self, batch: list[Batch], turn: Turn) -> None:
        step = self.trainer.global_step
        seeds = [step_seed(self.seed + 1 + i, step, self.global_rank) for i in range(len(batch))]
        self._turn = turn
        try:
            rows = rows_to_learn(
                batch, self.plan, stage=turn.stage, seed=self.seed, token_seeds=seeds, spare=self._spare
            )
            self.update([self._with_reference(micro) for micro in rows])
        finally:
            self._turn = None

    def loss(self, micro: Batch) -> Output:
        if self._turn is None:
            return self._whole_loss(micro)
        if self._turn.corrective:
            return corrective_loss(self.ensemble, self.states, micro)
        m = self._turn.stage
        curvature_CC = self._curvature_of(m) if self.plan.objective == "fisher" else None
        return stage_loss(self.ensemble, self.states, micro, m, curvature_CC=curvature_CC)

    def _whole_loss(self, micro: Batch) -> Output:
        """Of the ensemble as it is, in validation."""
        if not self.plan.of_pairs:
            return self.model(**self.model.inputs_of(micro))
        log_probs_R, _, out = sequence_log_probs(self.model, micro)
        reference_R, real_P = self._with_reference(micro)["reference"], real_pairs(micro["lengths"])
        loss_P, told = pair_losses(log_probs_R, reference_R, self.plan.beta)
        return out._replace(loss=loss_P.where(real_P, 0.0).sum(), nll_BT=None, sums=sum_over(real_P, told))

    def _with_reference(self, micro: Batch) -> Batch:
        """The batch; of pairs with `reference`, (2 P,), what the start gives each answer."""
        if self.reference is None:
            return micro
        return micro | {"reference": self.reference.log_probs(self.model, micro)}

    def units(self, micro: Batch) -> int:
        return n_pairs(micro) if self.plan.of_pairs else super().units(micro)

    def validation_sums(self, batch: Batch, out: Output) -> dict[str, Tensor]:
        return pair_sums(batch, out) if self.plan.of_pairs else super().validation_sums(batch, out)

    def validation_metrics(self, sums: dict[str, Tensor]) -> dict[str, float]:
        return plain_numbers(pair_means(sums)) if self.plan.of_pairs else super().validation_metrics(sums)

    def _curvature_of(self, m: int) -> Tensor:
        if m not in self._curvature:
            self._curvature = {m: stage_curvature(self.ensemble, self.states, self.dev, m)}
        return self._curvature[m]

    def _set_learning_rate(self, step: int) -> float:
        """The schedule starts again with each stage, over the stage's own length."""
        turn = self.machine.turn(step)
        known = getattr(self._schedule, "keywords", {})
        keywords = {"total_steps": turn.length} if "total_steps" in known else {}
        multiplier = 1.0 if self._schedule is None else self._schedule(turn.within, **keywords)
        multiplier *= self.plan.corrective_lr_scale if turn.corrective else 1.0
        for group in self._torch_optimizer.param_groups:
            group["lr"] = group["initial_lr"] * multiplier
        return multiplier

    # ---- the dev part ------------------------------------------------------------------------------------------------

    def _dev_loss(self, *, stage: int, states: RowStates | None = None) -> float:
        """Of the ensemble of `stage` stages; NaN without a dev part. states: None reads none that were kept."""
        states = RowStates(self.ensemble, None) if states is None else states
        return dev_loss(self.ensemble, states, self.dev, stage=stage) if self.dev else float("nan")

    def _facts_before(self, stage: int) -> Record:
        """Of the base (0), or of a stage that another run trained: what this run's dev part says of it."""
        dev = {"dev/loss": self._dev_loss(stage=stage, states=self.states)} if self.dev else {}
        if stage == 0:
            return dev
        eta, learner = float(self.ensemble.etas[stage - 1]), self.ensemble.learners[stage - 1]
        return {"eta": eta, "kept": eta != 0, "parameters": sum(p.numel() for p in learner.parameters())} | dev

    def _look_at_dev(self, m: int, done: int) -> None:
        learner, mean = self.ensemble.learners[m], self.machine.mean_weights
        now = copied(learner) if mean is not None else None
        if mean is not None:
            learner.load_state_dict(mean)
        loss = dev_rows_loss(self.ensemble, self.states, self.dev, m, eta=1.0, seen=self.plan.seen_by(m))
        self.machine.look(m, loss=loss, step=done, weights=lambda: copied(learner))
        if now is not None:
            learner.load_state_dict(now)  # the updates go on from where they were

    def _end_of_stage(self, m: int) -> Record:
        """Chooses the step of stage m, with the learner that was best, or else the mean of its weights."""
        if (kept := self.machine.best_weights or self.machine.mean_weights) is not None:
            self.ensemble.learners[m].load_state_dict(kept)
        facts = closing(self.ensemble, self.states, self.dev, m)
        self.ensemble.etas[m] = facts["eta"]
        self.ensemble.closed.fill_(m + 1)
        return facts

    def _close(self, m: int, facts: Record) -> None:
        etas = self.ensemble.etas[:m].tolist() if self.plan.refit_etas else ()
        if self.plan.refit_etas:
            self.states.forget_ensemble()
        self.machine.close(facts, parameters=sum(p.numel() for p in self.ensemble.learners[m].parameters()), etas=etas)
        self._say_what_is_left_out()

    def _start_correcting(self) -> None:
        self._torch_optimizer.state.clear()
        self.machine.start_correcting(self._dev_loss(stage=self.plan.stages), copied(self.ensemble.learners))
        self.states.forget_ensemble()

    def _end_correcting(self) -> None:
        self.states.forget_ensemble()
        if (earlier := self.machine.end_correcting(self._dev_loss(stage=self.plan.stages))) is not None:
            self.ensemble.learners.load_state_dict(earlier)

    # ---- state -------------------------------------------------------------------------------------------------------

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super().on_save_checkpoint(checkpoint)
        if self.reference is not None:
            self.reference.save(checkpoint)
        checkpoint["gbft"] = self.machine.state_dict()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super().on_load_checkpoint(checkpoint)
        if self.reference is not None:
            self.reference.load(checkpoint)
        self.machine.load_state_dict(checkpoint["gbft"], stages=len(checkpoint["state_dict"]["model.etas"]))
        make_room(self.ensemble, checkpoint, self.configure_optimizers)


def copied(part: torch.nn.Module) -> Weights:
    return {name: value.clone() for name, value in part.state_dict().items()}
