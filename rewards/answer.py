"""reward=answer: 1 where the answer is the expected one, 0 where it is not. What cannot be read is not right."""

from typing import Any

from torch import Tensor

from errors import RequestError
from rewards.base import Answers, Reward


class Answer(Reward):
    """Verifiable: the final number, letter or text, read as evaluation reads it (evaluation/answers.py)."""

    def check(self, data: Any) -> None:
        if getattr(data, "answers", None) in (None, "summary"):
            raise RequestError(
                f"reward=answer compares answers, and data={type(data).__name__} does not say how.\n"
                "Type data=arithmetic, data=gsm8k, or data=chat data.path=... data.answers=number."
            )

    def forward(self, answers: Answers) -> Tensor:
        assert answers.right is not None
        return answers.right.float()
