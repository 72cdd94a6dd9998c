"""What GRPO, RLOO and PPO share: answers drawn from the policy, what they are worth, updates over them.

    answer      answers to `prompts` questions, `group` to each, by all ranks together; their rewards (answering.py)
    read        log-probabilities under policy and reference by the trainer's own forward pass
    advantages  an objective's own: the one thing in which the three differ
    update      `epochs` x `minibatches` of them, each one step of training like any other

A rollout is a function of the weights at its start, the seed and its number. In the middle of its updates those weights
are gone, so it lies in the checkpoint: a resumed run goes on bit for bit.

Shapes: P prompts, G answers to each, N = P G rows, T tokens. Keys of a rollout: batch.py.
"""

import time
from typing import Any

import torch
from torch import Tensor

from batch import Batch
from bounds import NonNegativeFloat, PositiveInt
from errors import RunError
from lightning_modules.pairs import switch_dropout_off
from lightning_modules.reference import Reference
from lightning_modules.rl import checks
from lightning_modules.rl.answering import AnsweringModule
from lightning_modules.rl.losses import SURROGATES, Bounds, Norm, SurrogateType, k3, summed
from lightning_modules.rl.minibatches import deal, micro_batches, turn_of
from lightning_modules.rl.notes import note_rollout, note_update
from lightning_modules.rl.ranks import own_rows, whole_rollout
from lightning_modules.rl.rollouts import log_probs, with_columns
from lightning_modules.rl.table import shown_rows
from lightning_modules.sums import Sums
from lightning_modules.update import Size
from models.base import Output


class PolicyModule(AnsweringModule):
    """Base of online RL.

    Args:
        epochs: times that a rollout is gone through. minibatches: updates of each. rows: of one forward pass.
        clip_low, clip_high: bounds of the ratio. surrogate: see losses.py. norm: what the loss is divided by.
        kl: weight of the pull to the reference. adapter, strategy: of the config.
    """

    kl_in_loss = False  # a term of the loss (k3), or part of the reward (k1)

    def __init__(
        self,
        *,
        epochs: PositiveInt = 1,
        minibatches: PositiveInt = 1,
        rows: PositiveInt = 64,
        clip_low: NonNegativeFloat = 0.2,
        clip_high: NonNegativeFloat = 0.2,
        surrogate: SurrogateType = "clip",
        norm: Norm = "constant",
        kl: NonNegativeFloat = 0.0,
        strategy: str = "single",
        adapter: Any = None,
        **shared: Any,
    ):
        """Raises RequestError for settings that cannot work together."""
        super().__init__(**shared)
        self.epochs, self.minibatches, self.rows = epochs, minibatches, rows
        self.bounds, self.surrogate, self.norm, self.kl = Bounds(clip_low, clip_high), surrogate, norm, kl
        self.updates_per_item = epochs * minibatches
        checks.check_request(self, data=self.data, model=self.model, strategy=strategy, adapter=adapter)
        self.reward.check(self.data)
        scorer = lambda model, micro: log_probs(model, micro, self.temperature)[0]  # noqa: E731
        self.reference = Reference(scorer, how="online", cache_dir="")
        self.rollout: Batch | None = None  # this rank's rows, in the order of its minibatches
        self.shown: list[dict[str, Any]] = []  # some of the rollout's answers, for people

    def configure_model(self) -> None:
        switch_dropout_off(self.model)
        self.reference.keep_start(self.model)
        super().configure_model()

    # ---- what task=check asks --------------------------------------------------------------------------------------

    def beside(self) -> dict[str, tuple[int, int]]:
        judges = {f"reward.{name}": sum(p.numel() for p in part.parameters()) for name, part in self.reward.items()}
        found = {name: (total, 0) for name, total in judges.items() if total}
        return self.reference.parameters_beside(self.model) | found

    def update_shapes(self, batch: list[Batch]) -> list[tuple[int, int]]:
        questions = self.data.prompts("train")
        longest = self._longest_prompt([questions[i] for i in range(min(256, questions.size or 256))])
        rows = torch.arange(self.prompts * self.group // (self.data.world_size * self.minibatches)).split(self.rows)
        return [(len(some), longest + self.max_new_tokens) for some in rows]

    # ---- rollouts --------------------------------------------------------------------------------------------------

    def training_step(self, batch: list[Batch], batch_idx: int) -> None:
        item, turn = divmod(self.trainer.global_step, self.updates_per_item)
        if turn == 0:
            self.rollout = self.collect(batch[0]["index"], item)
        if self.rollout is None:
            raise RunError("the checkpoint lies in the middle of a rollout's updates and has no rollout in it.")
        start = time.perf_counter()
        batch[:] = self.micro_batches(item, turn)  # what callbacks are shown is what was trained
        self.update(batch)
        self.meter.add("time/update", time.perf_counter() - start, 1 / self.updates_per_item)

    def collect(self, index_P: Tensor, item: int) -> Batch:
        """This rank's rows of rollout `item`, scored, read, with advantages."""
        places = self._deal(item).flatten().tolist()
        rollout, answers, parts = self.answer([self.questions[int(index_P[place])] for place in places], places, item)
        start = time.perf_counter()
        rollout = with_columns(rollout, self.rows, self.read)
        rollout |= self.advantages(rollout)
        note_rollout(self.meter, rollout, answers, parts, self.reward.total(parts), kl=self.kl)
        self.meter.add("time/scoring", time.perf_counter() - start, 0)  # on top of what judging took
        self.shown = shown_rows(answers, parts, rollout, group=self.group, step=self.trainer.global_step)
        if self.trainer.global_step == 0:
            half, world_size = self._rounds, self.trainer.world_size
            for words in checks.of_first_rollout(rollout, self.max_new_tokens, half=half, world_size=world_size):
                self._complain(words)
        return rollout

    @torch.no_grad()
    def read(self, micro: Batch) -> Batch:
        """What forward passes tell of a rollout's rows, (N, T) by name: old, where it is not known by itself, and ref.

        With one update a rollout the update's own log-probabilities are the old ones; the first rollout is checked.
        """
        columns = {"ref": self.reference.log_probs(self.model, micro)} if self._wants_reference else {}
        if self.updates_per_item > 1 or self.trainer.global_step == 0:
            columns["old"] = log_probs(self.model, micro, self.temperature)[0]
        return columns

    def advantages(self, rollout: Batch) -> Batch:
        """{"advantages": (N, T)} and what else the loss needs, from scores (N,), old and ref."""
        raise NotImplementedError

    # ---- the update ------------------------------------------------------------------------------------------------

    def micro_batches(self, item: int, turn: int) -> list[Batch]:
        """This rank's rows of one update, in forward passes of `rows`."""
        assert self.rollout is not None
        return micro_batches(
            self.rollout,
            which=turn_of(turn, minibatches=self.minibatches, seed=self.seed, item=item),
            minibatches=self.minibatches,
            rows=self.rows,
            norm=self.norm,
            longest=self.max_new_tokens,
            every_row=bool(self.kl) and self.kl_in_loss,
        )

    def units(self, micro: Batch) -> int:
        return int(micro["units"])

    def loss(self, micro: Batch) -> Output:
        log_probs_NT, out = log_probs(self.model, micro, self.temperature)
        mask_NT, old_NT = checks.mask_of(micro), micro.get("old", log_probs_NT.detach())
        log_ratio_NT = (log_probs_NT - old_NT).where(mask_NT, 0.0)
        losses_NT = SURROGATES[self.surrogate](log_ratio_NT, log_probs_NT, micro["advantages"], self.bounds)
        note_update(self.meter, log_ratio_NT.detach(), losses_NT.detach(), micro["advantages"], mask_NT, self.bounds)
        if self.trainer.global_step == 0:
            self._complain(checks.nothing_moved(log_ratio_NT.detach(), mask_NT, half=self._rounds))
        if self.kl and self.kl_in_loss:
            losses_NT = losses_NT + self.kl * k3(log_probs_NT, micro["ref"])
        losses_NT = losses_NT + self.more_loss(micro, out, mask_NT)
        return out._replace(loss=summed(losses_NT, mask_NT, self.norm), nll_BT=None)

    def more_loss(self, micro: Batch, out: Output, mask_NT: Tensor) -> Tensor | float:
        """What an objective adds to the loss of each action."""
        return 0.0

    def _log_update(self, sums: Sums, size: Size, facts: dict[str, float]) -> None:
        super()._log_update(sums, size, facts)
        self.measured.train |= self.meter.read(world_size=self.trainer.world_size, device=self.device)

    # ---- state -----------------------------------------------------------------------------------------------------

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """The rollout of all ranks where it is in use still; by its prompts' places, so that any ranks can go on."""
        super().on_save_checkpoint(checkpoint)
        item, turn = divmod(self.trainer.global_step, self.updates_per_item)
        if turn == 0 or self.rollout is None:
            return
        places_P, world = self._deal(item).flatten(), self.trainer.world_size
        checkpoint["rollout"] = whole_rollout(self.rollout, places_P, group=self.group, world_size=world)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super().on_load_checkpoint(checkpoint)
        if "rollout" in checkpoint:
            places_P = self._deal(checkpoint["global_step"] // self.updates_per_item).flatten()
            whole = {"asked": torch.arange(self.prompts).repeat_interleave(self.group)} | checkpoint["rollout"]
            self.rollout = own_rows(whole, places_P, group=self.group, device=self.device)

    # ---- small helpers ---------------------------------------------------------------------------------------------

    @property
    def _wants_reference(self) -> bool:
        """Where it pulls, at the first update, and where its distance is logged."""
        step = self.trainer.global_step
        logged = (step + self.updates_per_item) // self.log_every > step // self.log_every
        return self.kl > 0 or step == 0 or logged

    @property
    def _rounds(self) -> bool:
        """Whether products are rounded to 16 bits, or to the 19 of TF32."""
        return "16" in str(self.trainer.precision) or self.device.type == "cuda"

    def _deal(self, item: int) -> Tensor:
        world, rank = self.trainer.world_size, self.global_rank
        return deal(self.prompts, minibatches=self.minibatches, seed=self.seed, item=item, rank=rank, world_size=world)
