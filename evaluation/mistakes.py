"""What is wrong with a wrong answer: its worked steps recomputed and held against the expected ones.

Steps are GSM8K's calculator marks, `12+7=<<12+7=19>>19`, the answer is its line `#### 19` (2110.14168). Each wrong
answer gets one class, that of its first fault, so that the counts add up.
"""

import re
from fractions import Fraction
from typing import Any, NamedTuple

from evaluation.numbers import number
from evaluation.tools.calculator import exact

STEP = re.compile(r"<<([^<>=]+)=([^<>]*)>>")
NUMBER = re.compile(r"\d+(?:\.\d+)?|\.\d+")
NEAR = 1e-2  # GSM8K rounds to cents

CLASSES = {
    "truncated": "no answer: it had not come to an end when the tokens were used up",
    "format": "no answer could be read, though it ended by itself",
    "arithmetic slip": "a step whose result is not what its left side gives",
    "wrong operation": "the numbers of a step are right, what is done with them is not",
    "other numbers": "a step takes numbers that the expected one does not",
    "off by one step": "right so far, but one step too few or too many",
    "off by more steps": "right so far, but several steps too few or too many",
    "wrong last line": "every step is right, the last line says something else",
    "no working": "a wrong number without a step to look at",
    "another text": "it is not the expected one, word for word",
    "wrong choice": "another choice was taken for the likeliest",
}


class Step(NamedTuple):
    """`left` as it was written, `result` as it was written (None: no number)."""

    left: str
    result: float | None

    @property
    def numbers(self) -> list[float]:
        return sorted(float(n) for n in NUMBER.findall(self.left.replace(",", "")))

    @property
    def operations(self) -> list[str]:
        return sorted(c for c in self.left if c in "+-*/")

    @property
    def is_right(self) -> bool:
        value = worth(self.left)
        return value is not None and self.result is not None and near(value, self.result)


def steps(text: str) -> list[Step]:
    """The worked steps of a text, in order."""
    return [Step(left.strip(), worth(right)) for left, right in STEP.findall(text)]


def worth(expression: str) -> float | None:
    """Value of a sum of numbers with + - * / and parentheses; None for anything else."""
    value = exact(expression)
    return None if value is None else float(value)


def near(a: float, b: float) -> bool:
    return abs(a - b) <= NEAR * max(1.0, abs(b) / 100)


def fault(expected: str, text: str, *, stopped: bool) -> str:
    """The class of a wrong answer to a question with worked steps, a key of CLASSES.

    Args:
        expected: the right working. text: what was answered. stopped: it ended by itself.
    """
    given = number(text)
    wanted_steps, made = steps(expected), steps(text)
    for i, step in enumerate(made):
        if i < len(wanted_steps) and step.numbers != wanted_steps[i].numbers:
            return "other numbers"
        if i < len(wanted_steps) and step.operations != wanted_steps[i].operations:
            return "wrong operation"
        if not step.is_right:
            return "arithmetic slip"
    if given is None:
        return "format" if stopped else "truncated"
    if not made:
        return "no working"
    if made[-1].result is None or not near(float(Fraction(given)), made[-1].result):
        return "wrong last line"
    by = abs(len(made) - len(wanted_steps))
    # as many steps, all of them right: an operation in another order (3-8 for 8-3)
    return "wrong operation" if by == 0 else "off by one step" if by == 1 else "off by more steps"


def class_of(prediction: dict[str, Any]) -> str | None:
    """The class of a line of predictions.jsonl; None where it is right, or is a summary that is neither."""
    if prediction.get("right", True):
        return None
    expected = str(prediction["expected"])
    if "logprobs" in prediction:
        return f"{expected} taken for {prediction['answer']}" if _short(prediction) else "wrong choice"
    chosen = prediction.get("chosen", 0)  # of several attempts
    stopped = prediction.get("stopped", [True])[chosen]
    if number(expected) is not None:
        return fault(expected, prediction["texts"][chosen], stopped=stopped)
    read = prediction["read"][chosen]
    if read is None:
        return "format" if stopped else "truncated"
    if not prediction["choices"]:
        return "another text"
    return f"{expected} taken for {read}" if _short(prediction) else "wrong choice"


def _short(prediction: dict[str, Any]) -> bool:
    """Choices that are names of classes (positive, B), not sentences of their own for each question."""
    return all(len(choice.split()) == 1 for choice in prediction["choices"])
