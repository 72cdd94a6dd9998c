"""Gradient-boosted fine-tuning: freeze F_0; stage by stage fit a small learner to what the ensemble still gets wrong.

    for m = 1..M:  fit h_m to the loss of F_{m-1} + h_m  ->  eta_m from the dev part  ->  F_m = F_{m-1} + eta_m h_m

Update k belongs to stage k // steps_per_stage. Learners of other stages get no gradient, so that one optimizer over all
of them is a fresh one for each. A stage is closed at the end of its last update: its step is chosen, and if the loss
on the dev part (rows of the training data that are never trained on) does not fall, it is dropped and the run stops.
Which rows are dev, and which a stage may see, are functions of the rows: nothing has to be remembered for a resume.

Friedman 2001 (gradient boosting), 2002 (row subsampling); GrowNet, 2002.07971; XGBLoRA, 2410.19694.
"""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from batch import IGNORE, Batch
from errors import RequestError
from lightning_modules.base import LanguageModule, Start, step_seed
from lightning_modules.boosting_start import check_data, check_logits, check_start, draw_rows, learn_base, n_rows
from models.base import Output
from models.boosting.ensemble import Boosted
from models.boosting.objectives import fisher_matrix, focus_weights, quadratic_loss
from models.boosting.passes import Inputs
from models.boosting.stage import DevRow, closing, dev_loss, dev_rows_loss, identity_of, is_dev
from models.boosting.states import RowStates, check_budget, share_of
from models.layers.loss import linear_cross_entropy
from optimization.adamw import adamw


class GBFTModule(LanguageModule):
    """The stages of `model.plan`. `use_rows` must be called before training.

    `records`: one dictionary per stage, stage 0 being the base: what summary.json calls `stages`.
    """

    needs = ("tokens", "conversations")

    def __init__(self, *, strategy: str, adapter: Any, **common: Any):
        """Raises RequestError for settings of the run that stages cannot be trained with."""
        super().__init__(**common)
        if not isinstance(self.model, Boosted):
            raise RequestError("objective=gbft needs the section gbft: leave gbft=none out.")
        if adapter:
            raise RequestError(
                "objective=gbft trains learners of its own beside a frozen base; adapter= would be a second kind of "
                "them.\nLeave adapter=... out; learner=lora_top and learner=lora_full are LoRA."
            )
        if getattr(self._make_optimizer, "func", adamw) is not adamw:
            raise RequestError(
                "objective=gbft trains small learners, which have no embedding and no head for other optimizers to "
                "treat apart.\nType optimizer=adamw_stage."
            )
        if strategy != "single":
            raise RequestError("objective=gbft trains on one device: type hardware=auto, cpu or gpu.")
        check_logits(self.model)
        self.plan = self.model.plan
        self.records: list[dict[str, Any]] = []
        self.dev: list[DevRow] = []
        self.states = RowStates(self.model, None)
        self._spare: DevRow | None = None  # a row to train on where subsampling left none
        self._fitting = False
        self._curvature: tuple[int, Tensor] | None = None  # fisher's matrix of a stage
        self._best: dict[str, Any] = {}  # early stopping inside a stage: {"loss", "step", "state"}
        self._before: dict[str, Any] = {}  # the ensemble before corrective steps: {"loss", "state"}
        self._seconds = 0.0  # of the stage so far

    # ---- set-up ------------------------------------------------------------------------------------------------------

    def run_length(self, max_steps: int) -> int:
        return self.plan.run_length(max_steps)

    def learn_start(self, start: Start) -> None:
        check_data(start.data, self.plan)
        check_budget(self.ensemble, n_rows(start.data, self.plan), start.data.seq_len)
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
            tokens = sum(int((row.targets_1T >= 0).sum()) for row in dev)
            print(f"dev     {tokens:,} tokens in {len(dev)} training rows choose the steps", flush=True)

    def record(self) -> dict[str, Any]:
        self.states.close()
        corrective = {} if self.corrective is None else {"corrective": self.corrective}
        return {"stages": self.records} | corrective

    def farewell(self) -> dict[str, str | None]:
        """The table of stages; more stages may follow, unless the last one was dropped or corrective steps came."""
        print(table(self.records))
        further = f"python run.py resume={{run}} gbft.stages={2 * self.plan.stages}"
        ended = self.records and (self.records[-1]["kept"] is False or self.corrective is not None)
        return {"go on": None if ended else further}

    def use_rows(self, dev: Sequence[DevRow], spare: DevRow, folder: Path | None) -> None:
        """Args: dev: rows that choose steps. spare: a row that is none of them. folder: where states are kept."""
        self.dev, self._spare = list(dev), spare
        dtype = getattr(torch, self.plan.cache_dtype)
        self.states = RowStates(
            self.ensemble, None if self.plan.cache == "none" else folder, budget=self.plan.cache_gb * 1e9, dtype=dtype
        )

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """One optimizer, the groups of one learner after those of another: a later stage only adds to its end."""
        assert self._make_optimizer is not None, "this module was built without an optimizer"
        first, *rest = (self._make_optimizer(model=learner) for learner in self.ensemble.learners)
        for other in rest:
            for group in other.param_groups:
                first.add_param_group({k: v for k, v in group.items() if k not in ("lr",)} | {"lr": group["lr"]})
        return first

    @property
    def ensemble(self) -> Boosted:
        assert isinstance(self.model, Boosted)
        return self.model

    @property
    def stage(self) -> int:
        """The stage, from 0, to which the next update belongs; `plan.stages` in the corrective phase."""
        step = self.trainer.global_step
        return self.plan.stages if step >= self.stages_end else step // self.plan.steps_per_stage

    @property
    def stages_end(self) -> int:
        """The update with which corrective steps begin: sooner where stages were dropped."""
        trained = len(self.records) - 1 if self.stopped else self.plan.stages
        return trained * self.plan.steps_per_stage

    @property
    def stopped(self) -> bool:
        """True once as many stages in a row were dropped as patience allows."""
        last = self.records[-self.plan.patience :]
        return len(last) == self.plan.patience and all(r["kept"] is False for r in last)

    def on_train_start(self) -> None:
        super().on_train_start()
        if not self.records:
            self.records = [{"stage": 0, "eta": None, "kept": True, "parameters": 0} | self._dev_facts()]
            self._validate_now()
        if self.stopped and len(self.records) <= self.plan.stages:
            print(
                f"gbft    stage {len(self.records) - 1} was dropped and gbft.patience={self.plan.patience} ends the "
                "run there: no further stage is trained",
                flush=True,
            )
        self._stop_if_done()

    def _stop_if_done(self) -> None:
        """Ends training here, or after the corrective steps; `should_stop` would make Lightning validate once more."""
        if not self.stopped:
            return
        corrective = self.plan.corrective_steps
        if corrective and not any(record["kept"] for record in self.records[1:]):
            print("gbft.corrective_steps are left out: no stage was kept that they could correct", flush=True)
            corrective = 0
        loop = self.trainer.fit_loop.epoch_loop
        loop.max_steps = min(loop.max_steps, self.stages_end + corrective)

    def _validate_now(self) -> None:
        """The base's own loss, before anything is learned."""
        validation = next((c for c in self.trainer.callbacks if type(c).__name__ == "Validation"), None)  # type: ignore[attr-defined]
        if validation is not None:
            validation._run(self.trainer)

    def _dev_facts(self) -> dict[str, float]:
        return {"dev/loss": dev_loss(self.ensemble, self.states, self.dev, stage=0)} if self.dev else {}

    # ---- one update --------------------------------------------------------------------------------------------------

    def training_step(self, batch: list[Batch], batch_idx: int) -> None:
        started, step, stage = time.perf_counter(), self.trainer.global_step, self.stage
        if step == self.stages_end:
            self._start_correcting()
        self._fitting = True
        try:
            super().training_step(self._rows_of(batch, stage, step), batch_idx)
        finally:
            self._fitting = False
        done = step + 1
        if stage < self.plan.stages:
            if self.plan.best_every and (done % self.plan.best_every == 0 or done % self.plan.steps_per_stage == 0):
                self._look_at_dev(stage, done)
            if done % self.plan.steps_per_stage == 0:
                self._close(stage, started)
                return
        elif done == self.stages_end + self.plan.corrective_steps:
            self._end_correcting()
        self._seconds += time.perf_counter() - started

    def loss(self, micro: Batch) -> Output:
        if not self._fitting:
            return self.model(**self.model.inputs_of(micro))
        if self.stage == self.plan.stages:
            return self._corrective_loss(micro)
        return self._stage_loss(micro, self.stage)

    def _stage_loss(self, micro: Batch, m: int) -> Output:
        """Sum over supervised tokens of what stage m minimises, with eta 1: its step is chosen afterwards."""
        inputs, ensemble = self.states.read(micro["ids"], micro.get("documents"), stage=self._seen_by(m))
        plan, head, targets = self.plan, self.ensemble.head.weight, micro["targets"].reshape(-1)
        width, weights = ensemble.shape[-1], self._weights(micro, self._so_far(m, inputs, ensemble), targets)
        if plan.objective == "ce":
            with self.ensemble.in_training([self.ensemble.learners[m]]):
                state = self._with_current(m, inputs, ensemble)
            loss, nll = linear_cross_entropy(
                state.reshape(-1, width), head, targets, softcap=self.ensemble.softcap, weights_N=weights
            )
        else:
            with self.ensemble.in_training([self.ensemble.learners[m]]):
                delta = self.ensemble.correction(m, inputs).reshape(-1, width)
            loss, nll = quadratic_loss(
                plan.objective,
                delta,
                ensemble.reshape(-1, width),
                head,
                targets,
                strength=plan.newton_lambda,
                curvature_CC=self._fisher(m) if plan.objective == "fisher" else None,
                weights_N=weights,
            )
        return Output(inputs.hidden_BTC, loss, nll.view_as(micro["targets"]))

    def _with_current(self, m: int, inputs: Inputs, ensemble: Tensor) -> Tensor:
        """G_{m-1} + Delta_m, or in weight space the network with this stage's update on top."""
        if self.plan.space == "weight":
            return self.ensemble.bent_state(inputs, self.ensemble.weights(m, current=1.0))
        return ensemble + self.ensemble.correction(m, inputs)

    @torch.no_grad()
    def _so_far(self, m: int, inputs: Inputs, ensemble: Tensor) -> Tensor:
        """What the ensemble says before stage m, for `focus`; in weight space rows keep only what the base says."""
        if self.plan.focus and self.plan.space == "weight":
            return self.ensemble.bent_state(inputs, self.ensemble.weights(m))
        return ensemble

    def _seen_by(self, m: int) -> int:
        """How many stages the learner m finds in place: bagged learners find the base alone."""
        return 0 if self.plan.ensemble == "bagged" else m

    def _weights(self, micro: Batch, ensemble: Tensor, targets_N: Tensor) -> Tensor | None:
        """Of each token in the loss: those of the data, and more where the ensemble is wrong, if `focus` is set."""
        given = micro["weights"].reshape(-1) if "weights" in micro else None
        if self.plan.focus == 0:
            return given
        hidden = ensemble.reshape(-1, ensemble.shape[-1])
        with torch.no_grad():
            _, nll = linear_cross_entropy(hidden, self.ensemble.head.weight, targets_N, softcap=self.ensemble.softcap)
        focus = focus_weights(nll, targets_N != IGNORE, self.plan.focus)
        return focus if given is None else focus * given

    def _fisher(self, m: int) -> Tensor:
        if self._curvature is None or self._curvature[0] != m:
            rows = [(self.states.read(r.ids_1T, r.documents_1T, stage=m)[1], r.targets_1T) for r in self.dev]
            hidden = torch.cat([ensemble[0] for ensemble, _ in rows])
            targets = torch.cat([target[0] for _, target in rows])
            self._curvature = (m, fisher_matrix(hidden, self.ensemble.head.weight.detach(), targets))
        return self._curvature[1]

    def _set_learning_rate(self, step: int) -> float:
        """The schedule starts again with each stage, over the stage's own length."""
        plan, correcting = self.plan, self.stage == self.plan.stages
        within = step - self.stages_end if correcting else step % plan.steps_per_stage
        length = plan.corrective_steps if correcting else plan.steps_per_stage
        known = getattr(self._schedule, "keywords", {})
        keywords = {"total_steps": length} if "total_steps" in known else {}
        multiplier = 1.0 if self._schedule is None else self._schedule(within, **keywords)
        multiplier *= plan.corrective_lr_scale if correcting else 1.0
        for group in self._torch_optimizer.param_groups:
            group["lr"] = group["initial_lr"] * multiplier
        return multiplier

    # ---- rows and tokens ---------------------------------------------------------------------------------------------

    def _rows_of(self, batch: list[Batch], stage: int, step: int) -> list[Batch]:
        """The batch without dev rows, and with the rows and tokens that this stage draws."""
        kept = [self._masked(micro, stage, step, i) for i, micro in enumerate(batch)]
        kept = [micro for micro in kept if len(micro["targets"])]
        return kept if kept or self._spare is None else [self._spare.batch(like=batch[0])]

    def _masked(self, micro: Batch, stage: int, step: int, index: int) -> Batch:
        documents, targets = micro.get("documents"), micro["targets"].clone()
        for i, ids in enumerate(micro["ids"]):
            key = identity_of(ids, targets[i], None if documents is None else documents[i])
            drawn = share_of(key, stage + 1, self.seed) < self.plan.row_fraction
            if is_dev(key, self.seed, self.plan) or not drawn:
                targets[i] = IGNORE
        if self.plan.token_fraction < 1:
            generator = torch.Generator().manual_seed(step_seed(self.seed + 1 + index, step, self.global_rank))
            tokens = torch.rand(targets.shape, generator=generator) < self.plan.token_fraction
            targets[~tokens.to(targets.device)] = IGNORE
        rows = (targets != IGNORE).any(1)
        return {name: value[rows] for name, value in (micro | {"targets": targets}).items()}

    # ---- the end of a stage ------------------------------------------------------------------------------------------

    def _look_at_dev(self, m: int, done: int) -> None:
        """Early stopping inside a stage: keeps the learner that was best on the dev part."""
        loss = dev_rows_loss(self.ensemble, self.states, self.dev, m, eta=1.0, seen=self._seen_by(m))
        if not self._best or self._best["stage"] != m or loss < self._best["loss"]:
            state = {name: value.clone() for name, value in self.ensemble.learners[m].state_dict().items()}
            self._best = {"stage": m, "loss": loss, "step": done, "state": state}

    def _close(self, m: int, started: float) -> None:
        facts: dict[str, Any] = {}
        if self.plan.best_every:
            self.ensemble.learners[m].load_state_dict(self._best["state"])
            facts["best_step"], self._best = self._best["step"], {}
        facts |= closing(self.ensemble, self.states, self.dev, m, seen=self._seen_by(m))
        self.ensemble.etas[m] = facts["eta"]
        self.ensemble.closed.fill_(m + 1)
        if self.plan.refit_etas:
            self.states.forget_ensemble()
            for j in range(m):
                self.records[j + 1]["eta"] = float(self.ensemble.etas[j])
        parameters = sum(p.numel() for p in self.ensemble.learners[m].parameters())
        seconds = self._seconds + time.perf_counter() - started
        self._seconds = 0.0
        self.records.append({"stage": m + 1, "parameters": parameters, "seconds": round(seconds, 3)} | facts)
        self._stop_if_done()

    def on_validation_epoch_end(self) -> None:
        super().on_validation_epoch_end()
        closed = int(self.ensemble.closed)
        if closed < len(self.records) and "val/loss" not in self.records[closed]:
            self.records[closed] |= self.measured.val

    # ---- corrective steps --------------------------------------------------------------------------------------------

    def _corrective_loss(self, micro: Batch) -> Output:
        """All kept learners at once, on the loss of the whole ensemble (GrowNet's corrective step)."""
        inputs, _ = self.states.read(micro["ids"], micro.get("documents"), stage=0)
        with self.ensemble.in_training(list(self.ensemble.learners)):
            state = self._state_of_all(inputs)
        targets, state = micro["targets"].reshape(-1), state.reshape(-1, state.shape[-1])
        weights = self._weights(micro, state.detach(), targets)
        head, softcap = self.ensemble.head.weight, self.ensemble.softcap
        loss, nll = linear_cross_entropy(state, head, targets, softcap=softcap, weights_N=weights)
        return Output(inputs.hidden_BTC, loss, nll.view_as(micro["targets"]))

    def _state_of_all(self, inputs: Inputs) -> Tensor:
        count, state = self.plan.stages, inputs.hidden_BTC
        if self.plan.space == "weight":
            return self.ensemble.bent_state(inputs, self.ensemble.weights(count))
        for m in range(count):
            if (eta := self.ensemble.eta(m, of=count)) != 0:
                state = state + eta * self.ensemble.correction(m, inputs)
        return state

    def _start_correcting(self) -> None:
        self._torch_optimizer.state.clear()
        state = {name: value.clone() for name, value in self.ensemble.learners.state_dict().items()}
        self._before = {"loss": self._whole_dev_loss(), "state": state}
        self.states.forget_ensemble()

    def _end_correcting(self) -> None:
        """Keeps the better of before and after."""
        self.states.forget_ensemble()
        after = self._whole_dev_loss()
        before, kept = self._before["loss"], not self.dev or after < self._before["loss"]
        if not kept:
            self.ensemble.learners.load_state_dict(self._before["state"])
        self._before = {}
        self.corrective = {"dev/before": before, "dev/after": after, "kept": kept}

    def _whole_dev_loss(self) -> float:
        states = RowStates(self.ensemble, None)
        return dev_loss(self.ensemble, states, self.dev, stage=self.plan.stages) if self.dev else float("nan")

    corrective: dict[str, Any] | None = None

    # ---- state -------------------------------------------------------------------------------------------------------

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super().on_save_checkpoint(checkpoint)
        checkpoint["gbft"] = {
            **{"records": self.records, "best": self._best, "before": self._before},
            **{"seconds": self._seconds, "corrective": self.corrective},
        }

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super().on_load_checkpoint(checkpoint)
        own = checkpoint["gbft"]
        self.records, self._best, self._before = own["records"], own["best"], own["before"]
        self._seconds, self.corrective = own["seconds"], own["corrective"]
        before = len(checkpoint["state_dict"]["model.etas"])
        if self.plan.stages > before and (self._before or self.corrective is not None):
            raise RequestError(
                f"gbft.stages={self.plan.stages}: that run's {before} stages have been corrected together already, and "
                "no stage can follow corrective steps.\n"
                f"Start it anew with gbft.stages={self.plan.stages}; the corrective steps then come behind all of them."
            )
        self._make_room(checkpoint)

    def _make_room(self, checkpoint: dict[str, Any]) -> None:
        """A finished run may be given more stages: their learners are new, the optimizer has no state of them."""
        prefix = "model."
        state = {k.removeprefix(prefix): v for k, v in checkpoint["state_dict"].items() if k.startswith(prefix)}
        accepted = self.ensemble.accept(state)
        checkpoint["state_dict"] |= {f"{prefix}{name}": value for name, value in accepted.items()}
        for saved in checkpoint.get("optimizer_states", []):
            fresh = self.configure_optimizers().state_dict()["param_groups"]
            saved["param_groups"] += fresh[len(saved["param_groups"]) :]

    def on_fit_end(self) -> None:
        self.states.close()


def table(records: list[dict[str, Any]]) -> str:
    """The stages for the screen."""
    lines = ["stage     eta  dev/loss  val/loss  parameters"]
    for r in records:
        eta = "" if r["eta"] is None else f"{r['eta']:.3f}" if r["kept"] else "dropped"
        losses = [f"{r[name]:10.4f}" if name in r else " " * 10 for name in ("dev/loss", "val/loss")]
        lines.append(f"{r['stage']:5d} {eta:>7}{''.join(losses)}{r['parameters']:12,}")
    return "\n".join(lines)
