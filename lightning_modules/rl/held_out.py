"""Validation of online RL: answers drawn to held-out questions, what they are worth, how many are right.

The draws are the same each time, so that validations compare.

Shapes: P prompts, N answers, K kinds: expected answers, such as chains of sums.
"""

import math
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from batch import Batch
from evaluation.intervals import Estimate, ratio_interval
from lightning_modules.rl.judge import Judge
from lightning_modules.rl.rollouts import HELD_OUT, Drawing, roll_out
from lightning_modules.update import step_seed
from rewards.base import Answers


class HeldOut:
    """Args: questions: numbered, the first `size` of them are asked. group: answers drawn to each."""

    def __init__(self, questions: Any, judge: Judge, drawing: Drawing, *, size: int, group: int, seed: int):
        self.questions, self.judge, self.drawing = questions, judge, drawing
        self.size = size if questions.size is None else min(questions.size, size)
        self.group, self.seed = group, step_seed(seed, 0, HELD_OUT)

    def sums(self, model: Any, batch: Batch) -> dict[str, Tensor]:
        """Of the answers drawn to the questions of a batch, {"index": (P,)}; -1 fills up."""
        numbers = [i for i in batch["index"].tolist() if i >= 0]
        asked = [self.questions[i] for i in numbers]
        prompts = [question.prompt.tolist() for question in asked]
        rollout, completions = roll_out(model, prompts, self.drawing, n=self.group, seed=self.seed, numbers=numbers)
        answers = self.judge.answers([question for question in asked for _ in range(self.group)], completions)
        reward = self.judge.reward
        return held_out_sums(answers, reward.total(reward.measure(answers)), rollout["stopped"], self.kinds)

    @cached_property
    def kinds(self) -> dict[str, int]:
        """Number of each expected answer among the questions: few may stand for many (a chain of sums)."""
        expected = dict.fromkeys(self.questions[i].expected for i in range(self.size))
        return {text: i for i, text in enumerate(expected)}

    def in_words(self, found: dict[str, float]) -> str:
        right = f", {found['sampled_exact_match']:.1%} of them right" if "sampled_exact_match" in found else ""
        drawn = f"{self.group} answers drawn to each question, temperature {self.drawing.temperature:g}"
        return f"reward {found['reward']:.3f}{right} ({drawn})"


def held_out_sums(answers: Answers, scores_N: Tensor, stopped_N: Tensor, kinds: dict[str, int]) -> dict[str, Tensor]:
    """What some answers add to a validation. Args: kinds: number of each expected answer of the whole validation."""
    sums = {"rows": torch.tensor(len(answers)), "reward": scores_N.sum(), "stopped": stopped_N.double().sum()}
    if answers.right is not None:
        kind_N = torch.tensor([kinds[expected] for expected in answers.expected], dtype=torch.long)
        right_N = answers.right.double()
        counts = torch.zeros(2, len(kinds), dtype=torch.float64)
        sums["right"] = counts.index_add_(1, kind_N, torch.stack([right_N, torch.ones_like(right_N)]))
    return sums


def held_out_metrics(sums: dict[str, Tensor]) -> dict[str, float]:
    """reward, truncated, and where answers are known the share of right ones: over all, and the mean over chains.

    Generated problems repeat few chains of sums; one chain that is asked often moves the first by many points.
    """
    rows = sums["rows"].item()
    found = {"reward": sums["reward"].item() / rows, "truncated": 1 - sums["stopped"].item() / rows}
    if "right" in sums:
        right, asked = sums["right"]
        found["sampled_exact_match"] = (right.sum() / asked.sum()).item()
        found["exact_match_chains"] = (right / asked.clamp_min(1))[asked > 0].mean().item()
    return found


@dataclass
class BeforeAndAfter:
    """What held-out answers were worth before the first update, and at the last validation.

    Metrics by name; and where answers are known, (2, K): how many of each kind were right, and how many were drawn.
    """

    before: dict[str, float] = field(default_factory=dict)
    after: dict[str, float] = field(default_factory=dict)
    right_before: Tensor | None = None
    right_after: Tensor | None = None

    def note(self, sums: dict[str, Tensor]) -> dict[str, float]:
        """Metrics of a validation from its sums over all batches and ranks."""
        self.after, self.right_after = held_out_metrics(sums), sums.get("right")
        return self.after

    def begin_here(self) -> None:
        self.before, self.right_before = self.after, self.right_after

    @property
    def gain(self) -> Estimate | None:
        """Share of right answers, after minus before, with its 95 % interval over kinds; None where none are known."""
        if self.right_before is None or self.right_after is None:
            return None
        seen_K = self.right_after[1] > 0
        more_K = (self.right_after[0] - self.right_before[0])[seen_K]
        return ratio_interval(more_K.numpy(), self.right_after[1][seen_K].numpy())

    def in_words(self) -> str | None:
        """ "right answers 43.8% -> 68.2%: +24.4 points (95 % interval +17.1 to +31.0, over 113 expected answers)" """
        if (gain := self.gain) is None or self.right_after is None:
            return None
        before, after = (found["sampled_exact_match"] for found in (self.before, self.after))
        told = f"right answers {before:.1%} -> {after:.1%}: {100 * gain.value:+.1f} points"
        if math.isnan(gain.low):
            return told
        kinds = int((self.right_after[1] > 0).sum())
        return f"{told} (95 % interval {100 * gain.low:+.1f} to {100 * gain.high:+.1f}, over {kinds} expected answers)"

    def record(self) -> dict[str, Any]:
        gain = {} if self.gain is None else {"gain": self.gain._asdict()}
        return {"before": self.before, "after": self.after} | gain

    def state(self) -> dict[str, Any]:
        return {"held_out_before": self.before, "held_out_right": self.right_before}

    def load(self, state: dict[str, Any]) -> None:
        self.before, self.right_before = state["held_out_before"], state.get("held_out_right")
