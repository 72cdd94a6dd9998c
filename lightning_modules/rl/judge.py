"""What answers are worth: texts out of ids, rewards by part, and the one number of each that training sees.

Shapes: N answers.
"""

from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from evaluation.answers import is_right
from lightning_modules.rl.advantages import moments, whitened
from rewards.base import Answers, Rewards

Truncated = Literal["score", "rule", "mask"]


class Judge:
    """Args: answers_kind: how the data's answers are compared, None where it has none. truncated: see PolicyModule."""

    def __init__(
        self, reward: Rewards, *, tokenizer: Any, answers_kind: Any, truncated: Truncated, truncated_score: float
    ):
        self.reward, self.tokenizer, self.answers_kind = reward, tokenizer, answers_kind
        self.truncated, self.truncated_score = truncated, truncated_score

    def answers(self, questions: Sequence[Any], completions: Sequence[Any]) -> Answers:
        """What rewards are given: texts without the end, and whether they are right where the data can tell."""
        ids = [c.ids[:-1] if c.stopped else c.ids for c in completions]
        texts, expected = [self.tokenizer.decode(row) for row in ids], [q.expected for q in questions]
        right = None
        if self.answers_kind:
            pairs = zip(texts, expected, strict=True)
            right = torch.tensor([is_right(text, wanted, self.answers_kind) for text, wanted in pairs])
        return Answers(
            asked=[q.asked for q in questions],
            texts=texts,
            expected=expected,
            prompt_ids=[q.prompt.tolist() for q in questions],
            ids=[c.ids for c in completions],
            stopped=[c.stopped for c in completions],
            right=right,
            conversations=[(q.messages, q.tools) for q in questions] if all(q.messages for q in questions) else (),
        )

    def scores(self, parts: dict[str, Tensor], stopped_N: Tensor, over_ranks: Callable[[Tensor], Tensor]) -> Tensor:
        """(N,) fp32 weighted sum of parts, those that ask for it whitened over the rollout of all ranks."""
        white = {
            name: whitened(values_N.double(), over_ranks(moments(values_N)))
            for name, values_N in parts.items()
            if self.reward[name].whiten
        }
        total_N = self.reward.total(parts | white)
        if self.truncated == "score":
            total_N = total_N.where(stopped_N, self.truncated_score)
        return total_N.float()
