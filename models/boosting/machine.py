"""Which update does what: stages one after the other, then perhaps corrective steps. Knows no network and no trainer.

    stage 0: fit ... fit, close | stage 1: fit ... fit, close | ... | corrective: start, fit ... fit, end

Update k belongs to stage k // steps_per_stage. A stage that does not lower the loss on the dev part is dropped; after
`patience` of them in a row no further stage follows. Corrective steps come next, if a stage was kept that they could
correct. What happened so far is all that is remembered, so a run that stopped anywhere goes on from `state_dict`.

A run may begin with stages that another one trained, on other data: they stay as they are, and its own come behind.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from torch import Tensor

from errors import RequestError
from models.boosting.plan import Plan

Weights = dict[str, Tensor]
Record = dict[str, Any]


class Turn(NamedTuple):
    """One update: its stage, from 0 (`plan.stages`: corrective), and its place among the `length` of that phase."""

    stage: int
    within: int
    length: int
    corrective: bool = False
    looks: bool = False  # at the dev part afterwards, to keep the learner that was best

    @property
    def first(self) -> bool:
        return self.within == 0

    @property
    def last(self) -> bool:
        return self.within + 1 == self.length

    @property
    def closes(self) -> bool:
        """Whether the stage's step is chosen after it."""
        return self.last and not self.corrective


class StageMachine:
    """The course of a boosted run.

    Args: first: stages that were there before this run.

    `records`: one dictionary per stage, stage 0 being the base: what summary.json calls `stages`.
    `corrective`: what corrective steps did to the dev part, once they are done.
    """

    def __init__(self, plan: Plan, *, first: int = 0):
        self.plan, self.first = plan, first
        self.records: list[Record] = []
        self.corrective: Record | None = None
        self.seconds = 0.0  # of the stage so far
        self._looks: list[list[float]] = []  # at the dev part in this stage: [updates of the run, loss]
        self._best: dict[str, Any] = {}  # early stopping inside a stage: {"stage", "loss", "step", "state"}
        self._mean: dict[str, Any] = {}  # of the learner's weights over a stage: {"stage", "updates", "state"}
        self._before: dict[str, Any] = {}  # the ensemble before corrective steps: {"loss", "state"}

    # ---- where an update stands --------------------------------------------------------------------------------------

    def turn(self, step: int) -> Turn:
        """What update `step`, from 0, is for."""
        size, every = self.plan.steps_per_stage, self.plan.best_every
        if step >= self.stages_end:
            return Turn(self.plan.stages, step - self.stages_end, self.plan.corrective_steps, corrective=True)
        stage, within = divmod(step + self.first * size, size)
        looks = every > 0 and ((step + 1) % every == 0 or within + 1 == size)
        return Turn(stage, within, size, looks=looks)

    @property
    def stopped(self) -> bool:
        """Whether as many stages in a row were dropped as patience allows."""
        last = self.records[self.first + 1 :][-self.plan.patience :]
        return len(last) == self.plan.patience and not any(record["kept"] for record in last)

    @property
    def stages_end(self) -> int:
        """The update with which corrective steps begin: sooner where stages were dropped."""
        trained = len(self.records) - 1 if self.stopped else self.plan.stages
        return (trained - self.first) * self.plan.steps_per_stage

    @property
    def end(self) -> int:
        """Updates of the whole run, as far as can be said by now."""
        return self.stages_end + (0 if self.nothing_to_correct else self.plan.corrective_steps)

    @property
    def nothing_to_correct(self) -> bool:
        """Whether all stages are done and none was kept."""
        done = self.stopped or len(self.records) > self.plan.stages
        return done and not any(record["kept"] for record in self.records[1:])

    @property
    def may_grow(self) -> bool:
        """Whether stages could follow: none can behind one that was dropped, or behind corrective steps."""
        return not self.records or (self.records[-1]["kept"] and self.corrective is None)

    # ---- stages ------------------------------------------------------------------------------------------------------

    def average(self, stage: int, weights: Weights) -> None:
        """Takes a learner's weights after an update into their mean; it is over all updates until the decay's reach."""
        if self._mean.get("stage") != stage:
            self._mean = {"stage": stage, "updates": 0, "state": weights}
        done = self._mean["updates"]
        share = 1 - min(self.plan.average, done / (done + 1))
        mean = {name: value.lerp(weights[name], share) for name, value in self._mean["state"].items()}
        self._mean |= {"updates": done + 1, "state": mean}

    @property
    def mean_weights(self) -> Weights | None:
        """Of the learner in training; None where nothing is averaged."""
        return self._mean.get("state")

    def open(self, facts: Record, *, earlier: Sequence[Record] = ()) -> None:
        """Stage 0, the base, and the stages that were there before: they have records before anything is trained."""
        self.records = [{"stage": 0, "eta": None, "kept": True, "parameters": 0} | facts]
        self.records += [{"stage": m, "earlier": True} | record for m, record in enumerate(earlier, 1)]

    def look(self, stage: int, *, loss: float, step: int, weights: Callable[[], Weights]) -> None:
        """Keeps a learner's `weights()` after `step` updates if none of its stage had a lower dev loss."""
        self._looks.append([step, loss])
        if not self._best or self._best["stage"] != stage or loss < self._best["loss"]:
            self._best = {"stage": stage, "loss": loss, "step": step, "state": weights()}

    @property
    def last_look(self) -> float:
        """Loss on the dev part when this stage last looked at it."""
        return self._looks[-1][1]

    @property
    def best_weights(self) -> Weights | None:
        """Of the learner in training where it was best; None if nobody looks."""
        return self._best.get("state")

    def close(self, facts: Record, *, parameters: int, etas: Sequence[float] = ()) -> None:
        """Ends a stage. facts: see `stage.closing`. etas: steps of the stages before, where they were fitted anew."""
        for record, eta in zip(self.records[1:], etas, strict=False):
            record["eta"] = eta
        best = {"best_step": self._best["step"], "looks": self._looks} if self._best else {}
        number, seconds = len(self.records), round(self.seconds, 3)
        self.records.append({"stage": number, "parameters": parameters, "seconds": seconds} | best | facts)
        self._best, self._mean, self._looks, self.seconds = {}, {}, [], 0.0

    def validated(self, metrics: dict[str, float]) -> None:
        """The first validation after a stage is closed is that of the ensemble with it."""
        if self.records and "val/loss" not in self.records[-1]:
            self.records[-1] |= metrics

    # ---- corrective steps --------------------------------------------------------------------------------------------

    def start_correcting(self, loss: float, weights: Weights) -> None:
        """loss: of the whole ensemble on the dev part, NaN without one. weights: of all learners, to go back to."""
        self._before = {"loss": loss, "state": weights}

    def end_correcting(self, loss: float) -> Weights | None:
        """The better of before and after stays. Returns the weights to go back to, None where `loss` is the better."""
        before, earlier = self._before["loss"], self._before["state"]
        kept = math.isnan(before) or loss < before
        self.corrective, self._before = {"dev/before": before, "dev/after": loss, "kept": kept}, {}
        return None if kept else earlier

    # ---- state -------------------------------------------------------------------------------------------------------

    def summary(self) -> Record:
        corrective = {} if self.corrective is None else {"corrective": self.corrective}
        return {"stages": self.records} | corrective

    def state_dict(self) -> dict[str, Any]:
        return {
            **{"records": self.records, "best": self._best, "before": self._before},
            **{"seconds": self.seconds, "corrective": self.corrective, "mean": self._mean, "looks": self._looks},
            "first": self.first,
        }

    def load_state_dict(self, state: dict[str, Any], *, stages: int) -> None:
        """stages: how many the saved run was to train. Raises RequestError where no more of them can follow."""
        if self.plan.stages > stages and (state["before"] or state["corrective"] is not None):
            raise RequestError(
                f"gbft.stages={self.plan.stages}: that run's {stages} stages have been corrected together already, and "
                "no stage can follow corrective steps.\n"
                f"Start it anew with gbft.stages={self.plan.stages}; the corrective steps then come behind all of them."
            )
        self.records, self._best, self._before = state["records"], state["best"], state["before"]
        self.seconds, self.corrective = state["seconds"], state["corrective"]
        # runs of before have none of these
        self._mean, self._looks, self.first = state.get("mean", {}), state.get("looks", []), state.get("first", 0)


def table(records: list[Record]) -> str:
    """The stages for the screen."""
    lines = ["stage     eta  dev/loss  val/loss  parameters"]
    for r in records:
        eta = "" if r["eta"] is None else f"{r['eta']:.3f}" if r["kept"] else "dropped"
        losses = [f"{r[name]:10.4f}" if name in r else " " * 10 for name in ("dev/loss", "val/loss")]
        lines.append(f"{r['stage']:5d} {eta:>7}{''.join(losses)}{r['parameters']:12,}")
    return "\n".join(lines)
