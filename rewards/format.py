"""reward=format: 1 where the answer has the form that was asked for, a regular expression; 0 where it has not."""

import re
from typing import Any

import torch
from torch import Tensor

from bounds import expression
from errors import RequestError
from rewards.base import Answers, Reward


class Format(Reward):
    """Args: pattern: must be found in the answer; `.` also stands for a line's end, ^ and $ for ends of lines."""

    def __init__(self, *, pattern: str, **shared: Any):
        super().__init__(**shared)
        try:
            self.pattern = expression(pattern, re.MULTILINE | re.DOTALL)
        except ValueError as error:
            raise RequestError(f"reward.format.pattern={pattern!r:.200} is no regular expression: {error}.") from None

    def forward(self, answers: Answers) -> Tensor:
        return torch.tensor([float(self.pattern.search(text) is not None) for text in answers.texts])
