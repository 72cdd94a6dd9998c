"""reward=format: 1 where the answer has the form that was asked for, a regular expression; 0 where it has not."""

import re
from typing import Any

import torch
from torch import Tensor

from bounds import expression
from errors import RequestError
from rewards.base import Answers, Reward
from stopping import time_limit

LOOKING_S = 5.0  # of the processor, for one answer


class Format(Reward):
    """Args: pattern: must be found in the answer; `.` also stands for a line's end, ^ and $ for ends of lines.

    Raises:
        RequestError: no regular expression, or one that has no end within LOOKING_S on an answer.
    """

    def __init__(self, *, pattern: str, **shared: Any):
        super().__init__(**shared)
        try:
            self.pattern = expression(pattern, re.MULTILINE | re.DOTALL)
        except ValueError as error:
            raise RequestError(f"reward.format.pattern={pattern!r:.200} is no regular expression: {error}.") from None

    def forward(self, answers: Answers) -> Tensor:
        return torch.tensor([float(self._is_in(text)) for text in answers.texts])

    def _is_in(self, text: str) -> bool:
        try:
            with time_limit(LOOKING_S, TimeoutError(), clock="work"):
                return self.pattern.search(text) is not None
        except TimeoutError:
            raise RequestError(
                f"reward.format.pattern={self.pattern.pattern!r:.200}: {LOOKING_S:g} s were not enough to look for it"
                f" in one answer of {len(text):,} characters.\nA repetition inside a repetition, such as (a+)+, is"
                " tried in every way that it can be divided: write it with one, such as a+."
            ) from None
