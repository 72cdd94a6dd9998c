"""The first half of online RL: where a policy starts, how it answers, what its answers are worth, held out too.

Shapes: P prompts, G answers to each, N = P G rows, T tokens. Keys of a rollout: batch.py.
"""

import time
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from torch import Tensor

from batch import Batch
from bounds import NonNegativeInt, PositiveFloat, PositiveInt
from evaluation.tool_use import tool_guide
from lightning_modules.base import LanguageModule, Start
from lightning_modules.rl import checks
from lightning_modules.rl.held_out import BeforeAndAfter, HeldOut
from lightning_modules.rl.judge import Judge, Truncated
from lightning_modules.rl.meter import Meter
from lightning_modules.rl.ranks import summed_over_ranks
from lightning_modules.rl.rollouts import ROLLOUT, Drawing, roll_out
from lightning_modules.start import learn_likelihood
from lightning_modules.sums import Sums
from lightning_modules.update import step_seed
from rewards.base import Answers, Reward, Rewards


class Answered(NamedTuple):
    """This rank's answers to a rollout's questions: as rows, with (N,) scores; as texts; and (N,) by part of reward."""

    rollout: Batch
    answers: Answers
    parts: dict[str, Tensor]


class AnsweringModule(LanguageModule):
    """Draws answers and judges them; PolicyModule learns from them.

    Args:
        data: provides "prompts". reward: named parts (rewards/base.py).
        prompts: of a rollout, all ranks together. group: answers to each. max_new_tokens, temperature: of an answer.
        tools: write parts of an answer (evaluation/tool_use.py); what they write is read and never learned.
        truncated: "score" gives a cut-off answer `truncated_score`, "rule" what its rewards say, "mask" leaves it out.
        val_prompts, val_group: held-out questions, and answers drawn to each, at a validation.
        checks: "stop" refuses to start wrong, "warn" goes on.
        sft_steps, sft_lr: updates on the data's answers that come first where there are no weights; their peak rate.
    """

    needs = ("prompts",)
    validates_losses = False

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
        truncated: Truncated = "score",
        truncated_score: float = 0.0,
        val_prompts: PositiveInt = 128,
        val_group: PositiveInt = 4,
        checks: checks.Mode = "stop",
        sft_steps: NonNegativeInt = 0,
        sft_lr: PositiveFloat = 1e-3,
        **common: Any,
    ):
        super().__init__(**common)
        self.data, self.reward, self.checks = data, Rewards(dict(reward)), checks
        self.prompts, self.group = prompts, group
        self.max_new_tokens, self.temperature = max_new_tokens, temperature
        self.val_prompts, self.val_group = val_prompts, val_group
        self.sft_steps, self.sft_lr = sft_steps, sft_lr
        self.guide = tool_guide(tools or [], tokenizer)
        kind = getattr(data, "answers", None)
        self.judge = Judge(
            self.reward,
            tokenizer=tokenizer,
            answers_kind=None if kind == "summary" else kind,  # a summary is measured, not right or wrong
            truncated=truncated,
            truncated_score=truncated_score,
        )
        self.meter = Meter()
        self.found = BeforeAndAfter()  # held-out answers

    # ---- the run's beginning ---------------------------------------------------------------------------------------

    def learn_start(self, start: Start) -> None:
        if self.sft_steps and start.from_scratch:
            what = "the data's answers" + (", right and wrong ones," if "pairs" in start.data.provides else "")
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
        self._check_room(first)

    def on_train_start(self) -> None:
        super().on_train_start()
        if self.trainer.global_step == 0:
            self._measure_the_start()
            if self.trainer.is_global_zero:
                print(f"step 0  {self.held_out.in_words(self.found.before)}", flush=True)

    def _measure_the_start(self) -> None:
        sums = Sums()
        for batch in self.trainer.datamodule.val_dataloader():  # type: ignore[attr-defined]
            sums.add(self.held_out.sums(self.model, batch))
        self.validation_metrics(sums.over_ranks(world_size=self.trainer.world_size, device=self.device))
        self.found.begin_here()

    def on_fit_end(self) -> None:
        super().on_fit_end()
        if self.trainer.is_global_zero and (words := self.found.in_words()):
            print(f"\n{words}", flush=True)

    # ---- answers ---------------------------------------------------------------------------------------------------

    @property
    def drawing(self) -> Drawing:
        return Drawing(self.max_new_tokens, self.temperature, self.data.end, guide=self.guide)

    def answer(self, questions: Sequence[Any], places: Sequence[int], item: int) -> Answered:
        """`group` answers to each question, judged. Args: places: of the questions among those of all ranks."""
        self._check_room(questions)
        start, seed = time.perf_counter(), step_seed(self.seed, item, ROLLOUT)
        prompts = [question.prompt.tolist() for question in questions]
        rollout, completions = roll_out(self.model, prompts, self.drawing, n=self.group, seed=seed, numbers=places)
        generated = time.perf_counter()
        if self.guide is not None:
            self.meter.add("rollout/forced", sum(len(c.forced) for c in completions), len(completions))
        answers = self.judge.answers([question for question in questions for _ in range(self.group)], completions)
        parts = self.reward.measure(answers)
        rollout["scores"] = self.judge.scores(parts, rollout["stopped"], self._over_ranks)
        rollout["counted"] = rollout["stopped"] | (self.judge.truncated != "mask")
        self.meter.add("time/generation", generated - start, 1)
        self.meter.add("time/scoring", time.perf_counter() - generated, 1)
        return Answered({name: value.to(self.device) for name, value in rollout.items()}, answers, parts)

    # ---- validation: answers drawn to held-out questions -----------------------------------------------------------

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        self._validation.add(self.held_out.sums(self.model, batch))

    def validation_metrics(self, sums: dict[str, Tensor]) -> dict[str, float]:
        return self.found.note(sums)

    # ---- state ----------------------------------------------------------------------------------------------

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super().on_save_checkpoint(checkpoint)
        checkpoint |= self.found.state()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super().on_load_checkpoint(checkpoint)
        self.found.load(checkpoint)

    def record(self) -> dict[str, Any]:
        return {"held_out": self.found.record()}

    def farewell(self) -> dict[str, str | None]:
        return {
            "rollouts": "python run.py task=inspect inspect.view=rollouts init_from={run}",
            "evaluate": "python run.py task=generate init_from={run} prompt='Tom has 7 pens. He buys 2. How many now?'",
        }

    # ---- small helpers ---------------------------------------------------------------------------------------------

    def _longest_prompt(self, questions: Sequence[Any]) -> int:
        return max(len(question.prompt) for question in questions)

    def _check_room(self, questions: Sequence[Any]) -> None:
        room = checks.check_room(self._longest_prompt(questions), self.max_new_tokens, self.model.seq_len)
        checks.complain(room, "stop")

    def _complain(self, words: str | None) -> None:
        checks.complain(words, self.checks, first_rank=self.global_rank == 0)

    def _over_ranks(self, values: Tensor) -> Tensor:
        return summed_over_ranks(values, world_size=self.trainer.world_size, device=self.device)
