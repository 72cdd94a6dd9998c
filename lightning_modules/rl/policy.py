"""What GRPO, RLOO and PPO share: answers drawn from the policy, what they are worth, updates over them.

    collect     answers to `prompts` questions, `group` to each, by all ranks together; their rewards
    read        log-probabilities under policy and reference by the trainer's own forward pass
    advantages  an objective's own: the one thing in which the three differ
    update      `epochs` x `minibatches` of them, each one step of training like any other

A rollout is a function of the weights at its start, the seed and its number. In the middle of its updates those weights
are gone, so it lies in the checkpoint: a resumed run goes on bit for bit.

Shapes: P prompts, G answers to each, N = P G rows, T tokens. Keys of a rollout: batch.py.
"""

import time
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from batch import Batch
from bounds import NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt
from errors import RunError
from evaluation.tool_use import tool_guide
from lightning_modules.base import LanguageModule, Size, Start, step_seed
from lightning_modules.pairs import switch_dropout_off
from lightning_modules.reference import Reference
from lightning_modules.rl import checks
from lightning_modules.rl.checks import check_request
from lightning_modules.rl.held_out import HeldOut, held_out_metrics
from lightning_modules.rl.judge import Judge, Truncated
from lightning_modules.rl.losses import SURROGATES, Bounds, Norm, SurrogateType, clipped, k3, summed
from lightning_modules.rl.meter import Meter
from lightning_modules.rl.minibatches import deal, micro_batches, turn_of
from lightning_modules.rl.notes import note_rollout, note_update
from lightning_modules.rl.ranks import own_rows, summed_over_ranks, whole_rollout
from lightning_modules.rl.rollouts import ROLLOUT, Drawing, log_probs, roll_out, rows_of, with_columns
from lightning_modules.rl.table import shown_rows
from lightning_modules.start import learn_likelihood
from lightning_modules.sums import Sums
from models.base import Output
from rewards.base import Reward, Rewards


class PolicyModule(LanguageModule):
    """Base of online RL.

    Args:
        data: provides "prompts". reward: named parts (rewards/base.py). adapter, strategy: of the config.
        prompts: of a rollout, all ranks together. group: answers to each. max_new_tokens, temperature: of an answer.
        tools: write parts of an answer (evaluation/tool_use.py); what they write is read and never learned.
        epochs: times that a rollout is gone through. minibatches: updates of each. rows: of one forward pass.
        clip_low, clip_high: bounds of the ratio. surrogate: see losses.py. norm: what the loss is divided by.
        kl: weight of the pull to the reference.
        truncated: "score" gives a cut-off answer `truncated_score`, "rule" what its rewards say, "mask" leaves it out.
        val_prompts, val_group: held-out questions, and answers drawn to each, at a validation.
        checks: "stop" refuses to start wrong, "warn" goes on.
        sft_steps, sft_lr: updates on the data's answers that come first where there are no weights; their peak rate.
    """

    needs = ("prompts",)
    validates_losses = False
    kl_in_loss = False  # a term of the loss (k3), or part of the reward (k1)

    def __init__(
        self,
        *,
        data: Any,
        tokenizer: Any,
        reward: Mapping[str, Reward],
        prompts: PositiveInt,
        group: PositiveInt = 1,
        max_new_tokens: PositiveInt,
        temperature: PositiveFloat = 1.0,
        tools: list[str] | None = None,
        epochs: PositiveInt = 1,
        minibatches: PositiveInt = 1,
        rows: PositiveInt = 64,
        clip_low: NonNegativeFloat = 0.2,
        clip_high: NonNegativeFloat = 0.2,
        surrogate: SurrogateType = "clip",
        norm: Norm = "constant",
        kl: NonNegativeFloat = 0.0,
        truncated: Truncated = "score",
        truncated_score: float = 0.0,
        val_prompts: PositiveInt = 128,
        val_group: PositiveInt = 4,
        checks: checks.Mode = "stop",
        sft_steps: NonNegativeInt = 0,
        sft_lr: PositiveFloat = 1e-3,
        strategy: str = "single",
        adapter: Any = None,
        **common: Any,
    ):
        """Raises RequestError for settings that cannot work together."""
        super().__init__(**common)
        self.data, self.reward = data, Rewards(dict(reward))
        self.prompts, self.group, self.epochs, self.minibatches = prompts, group, epochs, minibatches
        self.max_new_tokens, self.temperature, self.rows = max_new_tokens, temperature, rows
        self.bounds, self.surrogate, self.norm, self.kl = Bounds(clip_low, clip_high), surrogate, norm, kl
        self.val_prompts, self.val_group, self.checks = val_prompts, val_group, checks
        self.sft_steps, self.sft_lr = sft_steps, sft_lr
        self.guide = tool_guide(tools or [], tokenizer)
        self.updates_per_item = epochs * minibatches
        check_request(self, data=data, model=self.model, strategy=strategy, adapter=adapter)
        self.reward.check(data)
        answers_kind = getattr(data, "answers", None)
        if answers_kind == "summary":  # measured, not right or wrong
            answers_kind = None
        self.judge = Judge(
            self.reward,
            tokenizer=tokenizer,
            answers_kind=answers_kind,
            truncated=truncated,
            truncated_score=truncated_score,
        )
        self.reference = Reference(self._under, how="online", cache_dir="")
        self.rollout: Batch | None = None  # this rank's rows, in the order of its minibatches
        self.meter, self.shown = Meter(), []  # type: ignore[var-annotated]
        self.before: dict[str, float] = {}  # held-out answers before the first update
        self.after: dict[str, float] = {}

    # ---- the run's beginning ---------------------------------------------------------------------------------------

    def learn_start(self, start: Start) -> None:
        if self.sft_steps and start.from_scratch:
            what = (
                "the data's answers, right and wrong ones" if "pairs" in start.data.provides else "the data's answers"
            )
            learn_likelihood(self, start, lambda micro: micro, steps=self.sft_steps, lr=self.sft_lr, what=what)

    def begin(self, start: Start) -> None:
        start.data.serve_prompts(per_item=self.prompts, held_out=self.val_prompts)
        self.questions = start.data.prompts("train")
        self.held_out = HeldOut(
            start.data.prompts("val"),
            self.judge,
            self.drawing,
            size=self.val_prompts,
            group=self.val_group,
            seed=self.seed,
        )
        first = [self.questions[i] for i in range(min(256, self.questions.size or 256))]
        if kind := self.judge.answers_kind:
            checks.readable([question.expected for question in first], kind)
        longest = max(len(question.prompt) for question in first)
        checks.complain(checks.check_room(longest, self.max_new_tokens, self.model.seq_len), "stop")

    def configure_model(self) -> None:
        switch_dropout_off(self.model)
        self.reference.keep_start(self.model)
        super().configure_model()

    def on_train_start(self) -> None:
        super().on_train_start()
        if self.trainer.global_step == 0:
            self.before = self._held_out_now()
            if self.trainer.is_global_zero:
                print(f"step 0  {self.held_out.in_words(self.before)}", flush=True)

    @property
    def drawing(self) -> Drawing:
        return Drawing(self.max_new_tokens, self.temperature, self.data.end, guide=self.guide)

    def beside(self) -> dict[str, tuple[int, int]]:
        judges = {f"reward.{name}": sum(p.numel() for p in part.parameters()) for name, part in self.reward.items()}
        found = {name: (total, 0) for name, total in judges.items() if total}
        return self.reference.parameters_beside(self.model) | found

    def update_shapes(self, batch: list[Batch]) -> list[tuple[int, int]]:
        questions = self.data.prompts("train")
        longest = max(len(questions[i].prompt) for i in range(min(256, questions.size or 256)))
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
        start = time.perf_counter()
        places = self._deal(item).flatten().tolist()
        questions = [self.questions[int(index_P[place])] for place in places]
        longest = max(len(question.prompt) for question in questions)
        checks.complain(checks.check_room(longest, self.max_new_tokens, self.model.seq_len), "stop")
        seed = step_seed(self.seed, item, ROLLOUT)
        prompts = [question.prompt.tolist() for question in questions]
        rollout, completions = roll_out(self.model, prompts, self.drawing, n=self.group, seed=seed, numbers=places)
        generated = time.perf_counter()
        answers = self.judge.answers([question for question in questions for _ in range(self.group)], completions)
        parts = self.reward.measure(answers)
        scores_N = self.judge.scores(parts, rollout["stopped"], self._over_ranks)
        rollout["counted"] = rollout["stopped"] | (self.judge.truncated != "mask")
        rollout = self.read({name: value.to(self.device) for name, value in rollout.items()})
        rollout["scores"] = scores_N.to(self.device)
        rollout |= self.advantages(rollout)
        note_rollout(self.meter, rollout, answers, parts, self.reward.total(parts), kl=self.kl)
        if self.guide is not None:
            self.meter.add("rollout/forced", sum(len(c.forced) for c in completions), len(completions))
        self.meter.add("time/generation", generated - start, 1)
        self.meter.add("time/scoring", time.perf_counter() - generated, 1)
        self.shown = shown_rows(answers, parts, rollout, group=self.group, step=self.trainer.global_step)
        if self.trainer.global_step == 0:
            self._check_first(rollout)
        return rollout

    @torch.no_grad()
    def read(self, rollout: Batch) -> Batch:
        """Adds what the rollout's own forward passes tell: old, where it is not known by itself, and ref.

        With one update a rollout the update's own log-probabilities are the old ones; the first rollout is checked.
        """
        wants_old = self.updates_per_item > 1 or self.trainer.global_step == 0
        found: dict[str, list[Tensor]] = {}
        for rows in torch.arange(len(rollout["ids"])).split(self.rows):
            micro = rows_of(rollout, rows)
            columns = {"ref": self.reference.log_probs(self.model, micro)} if self._wants_reference else {}
            if wants_old:
                columns["old"] = log_probs(self.model, micro, self.temperature)[0]
            for name, value in (columns | self.read_more(micro)).items():
                found.setdefault(name, []).append(value.float())
        return with_columns(rollout, found)

    def read_more(self, micro: Batch) -> Batch:
        """What else an objective wants to know of each row before the first update, (N, T) by name."""
        return {}

    def advantages(self, rollout: Batch) -> Batch:
        """{"advantages": (N, T)} and what else the loss needs, from scores (N,), old and ref."""
        raise NotImplementedError

    # ---- the update ------------------------------------------------------------------------------------------------

    def micro_batches(self, item: int, turn: int) -> list[Batch]:
        """This rank's rows of one update, in forward passes of `rows`."""
        assert self.rollout is not None
        which = turn_of(turn, minibatches=self.minibatches, seed=self.seed, item=item)
        return micro_batches(
            self.rollout,
            which=which,
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
        gone_NT = clipped(log_ratio_NT.detach(), micro["advantages"], self.bounds)
        note_update(self.meter, log_ratio_NT.detach(), losses_NT.detach(), gone_NT, mask_NT)
        if self.trainer.global_step == 0:
            self._complain(checks.nothing_moved(log_ratio_NT.detach(), mask_NT))
        if self.kl and self.kl_in_loss:
            losses_NT = losses_NT + self.kl * k3(log_probs_NT, micro["ref"])
        losses_NT = losses_NT + self.more_loss(micro, out, mask_NT)
        return out._replace(loss=summed(losses_NT, mask_NT, self.norm), nll_BT=None)

    def more_loss(self, micro: Batch, out: Output, mask_NT: Tensor) -> Tensor | float:
        """What an objective adds to the loss of each action."""
        return 0.0

    # ---- what is told ----------------------------------------------------------------------------------------------

    def _log_update(self, sums: Sums, size: Size, facts: dict[str, float]) -> None:
        super()._log_update(sums, size, facts)
        self.measured.train |= self.meter.read(world_size=self.trainer.world_size, device=self.device)

    def _check_first(self, rollout: Batch) -> None:
        half, world_size = "16" in str(self.trainer.precision), self.trainer.world_size
        for words in checks.of_first_rollout(rollout, self.max_new_tokens, half=half, world_size=world_size):
            self._complain(words)

    def _complain(self, words: str | None) -> None:
        checks.complain(words, self.checks, first_rank=self.global_rank == 0)

    # ---- validation: answers drawn to held-out questions -----------------------------------------------------------

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        self._validation.add(self.held_out.sums(self.model, batch))

    def validation_metrics(self, sums: dict[str, Tensor]) -> dict[str, float]:
        self.after = held_out_metrics(sums)
        return self.after

    def _held_out_now(self) -> dict[str, float]:
        sums = Sums()
        for batch in self.trainer.datamodule.val_dataloader():  # type: ignore[attr-defined]
            sums.add(self.held_out.sums(self.model, batch))
        return self.validation_metrics(sums.over_ranks(world_size=self.trainer.world_size, device=self.device))

    def record(self) -> dict[str, Any]:
        return {"held_out": {"before": self.before, "after": self.after}}

    def farewell(self) -> dict[str, str | None]:
        return {
            "rollouts": "python run.py task=inspect inspect.view=rollouts init_from={run}",
            "evaluate": "python run.py task=generate init_from={run} prompt='Tom has 7 pens. He buys 2. How many now?'",
        }

    # ---- state -----------------------------------------------------------------------------------------------------

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """The rollout of all ranks where it is in use still; by its prompts' places, so that any ranks can go on."""
        super().on_save_checkpoint(checkpoint)
        checkpoint["held_out_before"] = self.before
        item, turn = divmod(self.trainer.global_step, self.updates_per_item)
        if turn == 0 or self.rollout is None:
            return
        places_P, world_size = self._deal(item).flatten(), self.trainer.world_size
        checkpoint["rollout"] = whole_rollout(self.rollout, places_P, group=self.group, world_size=world_size)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super().on_load_checkpoint(checkpoint)
        self.before = checkpoint["held_out_before"]
        if "rollout" in checkpoint:
            item = checkpoint["global_step"] // self.updates_per_item
            places_P = self._deal(item).flatten()
            self.rollout = own_rows(checkpoint["rollout"], places_P, group=self.group, device=self.device)

    # ---- small helpers ---------------------------------------------------------------------------------------------

    def _under(self, model: Any, micro: Batch) -> Tensor:
        return log_probs(model, micro, self.temperature)[0]

    @property
    def _wants_reference(self) -> bool:
        """Where it pulls, at the first update, and where its distance is logged."""
        step = self.trainer.global_step
        last = step + self.updates_per_item
        logged = last // self.log_every > step // self.log_every
        return self.kl > 0 or step == 0 or logged

    def _deal(self, item: int) -> Tensor:
        world, rank = self.trainer.world_size, self.global_rank
        return deal(self.prompts, minibatches=self.minibatches, seed=self.seed, item=item, rank=rank, world_size=world)

    def _over_ranks(self, values: Tensor) -> Tensor:
        return summed_over_ranks(values, world_size=self.trainer.world_size, device=self.device)
