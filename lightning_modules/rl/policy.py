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
from functools import cached_property
from typing import Any, Literal

import torch
import torch.distributed as dist
from torch import Tensor, nn

from batch import IGNORE, Batch
from bounds import NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt
from errors import RunError
from evaluation.answers import is_right
from evaluation.tool_use import tool_guide
from lightning_modules.base import LanguageModule, Size, Start, step_seed
from lightning_modules.pairs import switch_dropout_off
from lightning_modules.reference import Reference
from lightning_modules.rl import checks
from lightning_modules.rl.advantages import moments, whitened
from lightning_modules.rl.checks import check_request
from lightning_modules.rl.losses import SURROGATES, Bounds, Norm, SurrogateType, clipped, k3, summed, units
from lightning_modules.rl.meter import Meter
from lightning_modules.rl.notes import held_out_metrics, held_out_sums, in_words, note_rollout, note_update
from lightning_modules.rl.rollouts import (
    HELD_OUT,
    ROLLOUT,
    Drawing,
    deal,
    joined,
    log_probs,
    roll_out,
    rows_of,
    turn_of,
)
from lightning_modules.rl.table import shown_rows
from lightning_modules.start import learn_likelihood
from lightning_modules.sums import Sums
from models.base import Output
from rewards.base import Answers, Reward, Rewards


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
        truncated: Literal["score", "rule", "mask"] = "score",
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
        self.data, self.tokenizer, self.reward = data, tokenizer, Rewards(dict(reward))
        self.prompts, self.group, self.epochs, self.minibatches = prompts, group, epochs, minibatches
        self.max_new_tokens, self.temperature, self.rows = max_new_tokens, temperature, rows
        self.bounds, self.surrogate, self.norm, self.kl = Bounds(clip_low, clip_high), surrogate, norm, kl
        self.truncated, self.truncated_score = truncated, truncated_score
        self.val_prompts, self.val_group, self.checks = val_prompts, val_group, checks
        self.sft_steps, self.sft_lr = sft_steps, sft_lr
        self.guide = tool_guide(tools or [], tokenizer)
        self.updates_per_item = epochs * minibatches
        check_request(self, data=data, model=self.model, strategy=strategy, adapter=adapter)
        self.reward.check(data)
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
        self.questions, self.held_out = start.data.prompts("train"), start.data.prompts("val")
        first = [self.questions[i] for i in range(min(256, self.questions.size or 256))]
        if self.answers_kind:
            checks.readable([question.expected for question in first], self.answers_kind)
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
                print(f"step 0  {in_words(self.before, self.val_group, self.temperature)}", flush=True)

    @property
    def answers_kind(self) -> Any:
        """How the data's answers are compared, None where it has none."""
        found = getattr(self.data, "answers", None)
        return None if found == "summary" else found

    @property
    def drawing(self) -> Drawing:
        return Drawing(self.max_new_tokens, self.temperature, self.data.end, guide=self.guide)

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
        answers = self.answers([question for question in questions for _ in range(self.group)], completions)
        parts = self.reward.measure(answers)
        scores_N = self._combined(parts, rollout["stopped"])
        rollout["counted"] = rollout["stopped"] | (self.truncated != "mask")
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

    def answers(self, questions: list[Any], completions: list[Any]) -> Answers:
        """What rewards are given: texts without the end, and whether they are right where the data can tell."""
        ids = [c.ids[:-1] if c.stopped else c.ids for c in completions]
        texts, expected = [self.tokenizer.decode(row) for row in ids], [q.expected for q in questions]
        right = None
        if self.answers_kind:
            pairs = zip(texts, expected, strict=True)
            right = torch.tensor([is_right(text, wanted, self.answers_kind) for text, wanted in pairs])
        prompt_ids = [q.prompt.tolist() for q in questions]
        stopped = [c.stopped for c in completions]
        return Answers(
            [q.asked for q in questions], texts, expected, prompt_ids, [c.ids for c in completions], stopped, right
        )

    def _combined(self, parts: dict[str, Tensor], stopped_N: Tensor) -> Tensor:
        """(N,) the weighted sum of parts, those that ask for it whitened over the rollout of all ranks."""
        white = {
            name: whitened(values_N.double(), self._over_ranks(moments(values_N)))
            for name, values_N in parts.items()
            if self.reward[name].whiten
        }
        total_N = self.reward.total(parts | white)
        if self.truncated == "score":
            total_N = total_N.where(stopped_N, self.truncated_score)
        return total_N.float()

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
        return joined_columns(rollout, found)

    def read_more(self, micro: Batch) -> Batch:
        """What else an objective wants to know of each row before the first update, (N, T) by name."""
        return {}

    def advantages(self, rollout: Batch) -> Batch:
        """{"advantages": (N, T)} and what else the loss needs, from scores (N,), old and ref."""
        raise NotImplementedError

    # ---- the update ------------------------------------------------------------------------------------------------

    def micro_batches(self, item: int, turn: int) -> list[Batch]:
        """This rank's rows of one update, in forward passes of `rows`. The first says what the loss is divided by."""
        assert self.rollout is not None
        which = turn_of(turn, minibatches=self.minibatches, seed=self.seed, item=item)
        per = len(self.rollout["ids"]) // self.minibatches
        whole = rows_of(self.rollout, torch.arange(which * per, (which + 1) * per))
        whole = {name: value for name, value in whole.items() if name not in ("generated", "scores", "stopped")}
        whole["targets"] = whole["targets"].where(whole["counted"].unsqueeze(1), IGNORE)
        actions = int(checks.mask_of(whole).sum())
        size = units(self.norm, rows=per, actions=actions, longest=self.max_new_tokens)
        used = self._used(whole)
        order = used[whole["lengths"][used].argsort(stable=True)]
        micros = [rows_of(whole, rows) for rows in order.split(self.rows)]
        return [micro | {"units": torch.tensor(size if i == 0 else 0)} for i, micro in enumerate(micros)]

    def _used(self, whole: Batch) -> Tensor:
        """Rows that have a gradient; at least one, since ranks wait for each other's."""
        if (self.kl and self.kl_in_loss) or "values" in whole:
            return torch.arange(len(whole["ids"]))
        used = ((whole["advantages"] != 0) & checks.mask_of(whole)).any(1).nonzero().squeeze(1).cpu()
        return used if len(used) else torch.arange(1)

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
        mask_NT, half = checks.mask_of(rollout), "16" in str(self.trainer.precision)
        words = [
            checks.some_end(self._all_ranks(rollout["stopped"]), self.max_new_tokens),
            checks.sampled_as_trained(rollout["generated"], rollout["old"], mask_NT, half=half),
            checks.reference_is_start(rollout["old"] - rollout["ref"], mask_NT) if "ref" in rollout else None,
            checks.something_to_prefer(
                self._all_ranks(rollout["scores"]), self._all_ranks(rollout["advantages"].abs().sum(1))
            ),
        ]
        for found in words:
            self._complain(found)

    def _complain(self, words: str | None) -> None:
        checks.complain(words, self.checks, first_rank=self.global_rank == 0)

    # ---- validation: answers drawn to held-out questions -----------------------------------------------------------

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        self._validation.add(self.held_out_sums(batch))

    def held_out_sums(self, batch: Batch) -> dict[str, Tensor]:
        """Of the answers drawn to some prompts; the same draws each time, so that validations compare."""
        numbers = [i for i in batch["index"].tolist() if i >= 0]
        questions = [self.held_out[i] for i in numbers]
        prompts, n = [question.prompt.tolist() for question in questions], self.val_group
        seed = step_seed(self.seed, 0, HELD_OUT)
        rollout, completions = roll_out(self.model, prompts, self.drawing, n=n, seed=seed, numbers=numbers)
        answers = self.answers([question for question in questions for _ in range(n)], completions)
        raw_N = self.reward.total(self.reward.measure(answers))
        return held_out_sums(answers, raw_N, rollout["stopped"], self.kinds)

    def validation_metrics(self, sums: dict[str, Tensor]) -> dict[str, float]:
        self.after = held_out_metrics(sums)
        return self.after

    @cached_property
    def kinds(self) -> dict[str, int]:
        """Number of each expected answer among the held-out questions: few may stand for many (a chain of sums)."""
        size = self.val_prompts if self.held_out.size is None else min(self.held_out.size, self.val_prompts)
        expected = dict.fromkeys(self.held_out[i].expected for i in range(size))
        return {text: i for i, text in enumerate(expected)}

    def _held_out_now(self) -> dict[str, float]:
        sums = Sums()
        for batch in self.trainer.datamodule.val_dataloader():  # type: ignore[attr-defined]
            sums.add(self.held_out_sums(batch))
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
        own = (self._deal(item).flatten(), {name: value.cpu() for name, value in self.rollout.items()})
        shares: list[Any] = [own]
        if self.trainer.world_size > 1:
            shares = [None] * self.trainer.world_size
            dist.all_gather_object(shares, own)
        places_P = torch.cat([places for places, _ in shares])
        whole = joined([rows for _, rows in shares])
        checkpoint["rollout"] = rows_of(whole, self._rows(places_P.argsort()))

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super().on_load_checkpoint(checkpoint)
        self.before = checkpoint["held_out_before"]
        if "rollout" in checkpoint:
            item = checkpoint["global_step"] // self.updates_per_item
            rows = rows_of(checkpoint["rollout"], self._rows(self._deal(item).flatten()))
            self.rollout = {name: value.to(self.device) for name, value in rows.items()}

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

    def _rows(self, groups: Tensor) -> Tensor:
        """Rows of these groups, in their order."""
        return (groups.unsqueeze(1) * self.group + torch.arange(self.group)).flatten()

    def _over_ranks(self, sums: Tensor) -> Tensor:
        total = Sums()
        total.add({"sums": sums})
        return total.over_ranks(world_size=self.trainer.world_size, device=self.device)["sums"]

    def _all_ranks(self, values: Tensor) -> Tensor:
        """Values of all ranks, one rank behind the other; each rank has as many."""
        if self.trainer.world_size == 1:
            return values
        found = [torch.zeros_like(values) for _ in range(self.trainer.world_size)]
        dist.all_gather(found, values.contiguous())
        return torch.cat(found)


def joined_columns(rollout: Batch, found: dict[str, list[Tensor]]) -> Batch:
    """The rollout with columns that were computed some rows at a time, each chunk as wide as it had to be."""
    T = rollout["ids"].shape[1]
    wide = {name: [nn.functional.pad(v, (0, T - v.shape[1])) for v in values] for name, values in found.items()}
    return rollout | {name: torch.cat(values) for name, values in wide.items()}
