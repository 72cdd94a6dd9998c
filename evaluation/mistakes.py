"""What is wrong with a wrong answer: its worked steps recomputed and held against the expected ones.

Steps are GSM8K's calculator marks, `12+7=<<12+7=19>>19`, the answer is its line `#### 19` (2110.14168). Each wrong
answer gets one class, that of its first fault, so that the counts add up.
"""

import random
import re
from collections import Counter
from collections.abc import Iterable, Sequence
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
    "chain break": "a step takes a number that stands neither in the question nor in a result before it, or does not "
    "go on from the result that it should",
    "other numbers": "a step takes numbers that the expected one does not",
    "off by one step": "right so far, but one step too few or too many",
    "off by more steps": "right so far, but several steps too few or too many",
    "wrong last line": "every step is right, the last line says something else",
    "no working": "a wrong number without a step to look at",
    "another text": "it is not the expected one, word for word",
    "wrong choice": "another choice was taken for the likeliest",
    "sentiment flip": "positive taken for negative, or negative for positive",
    "unsupported fact": "a number or a name that the source lacks: a rule of thumb, see evaluation/facts.py",
}
SENTIMENTS = {"positive", "negative"}


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


def fault(expected: str, text: str, *, stopped: bool, question: str | None = None) -> str:
    """The class of a wrong answer to a question with worked steps, a key of CLASSES.

    Args:
        expected: the right working. text: what was answered. stopped: it ended by itself.
        question: with it, numbers out of nowhere are told from those that were only taken wrongly.
    """
    given = number(text)
    wanted_steps, made = steps(expected), steps(text)
    for i, step in enumerate(made):
        same = i < len(wanted_steps) and step.numbers == wanted_steps[i].numbers
        if not same and breaks_chain(made[: i + 1], wanted_steps, question):
            return "chain break"
        if i < len(wanted_steps) and not same:
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


def breaks_chain(made: Sequence[Step], wanted: Sequence[Step], question: str | None) -> bool:
    """Whether the last step made takes a number out of nowhere, or leaves a result behind that it should go on from.

    Not every right working goes on from the result just before (42 % of GSM8K's do not), so that is asked only where
    the expected step does. Numbers of the expected working count as known: 60 minutes stand in no question.
    """
    *before, last = made
    results = [step.result for step in before if step.result is not None]
    i = len(before)
    if before and i < len(wanted) and (behind := wanted[i - 1].result) is not None:
        goes_on = any(near(n, behind) for n in wanted[i].numbers)
        if goes_on and not any(near(n, result) for n in last.numbers for result in results[-1:]):
            return True
    if question is None:
        return False
    asked = [float(n) for n in NUMBER.findall(question.replace(",", ""))]
    known = [*asked, *results, *(n for step in wanted for n in step.numbers)]
    return not all(any(near(n, value) for value in known) for n in last.numbers)


def counted(predictions: Iterable[dict[str, Any]]) -> dict[str, int]:
    """How many wrong answers each class has, the largest first; by name where there are as many."""
    found = Counter(name for p in predictions if (name := class_of(p)) is not None)
    return dict(sorted(found.items(), key=lambda item: (-item[1], item[0])))


def examples(predictions: Iterable[dict[str, Any]], most: int, *, seed: int) -> dict[str, list[dict[str, Any]]]:
    """Of each class at most so many wrong answers, chosen by seed and not by hand, in the order of the questions."""
    groups: dict[str, list[dict[str, Any]]] = {}
    for prediction in predictions:
        if (name := class_of(prediction)) is not None:
            groups.setdefault(name, []).append(prediction)
    return {name: drawn(members, most, seed=seed, name=name) for name, members in groups.items()}


def drawn(members: Sequence[dict[str, Any]], most: int, *, seed: int, name: str) -> list[dict[str, Any]]:
    """At most so many of a class, in their order."""
    rng = random.Random(f"{seed} {name}")
    return [members[i] for i in sorted(rng.sample(range(len(members)), min(most, len(members))))]


def answer_in(prediction: dict[str, Any]) -> str:
    """The answer that counts, as it was written: the chosen one of several attempts, the first of samples."""
    return str(prediction["texts"][prediction.get("chosen", 0)] if "read" in prediction else prediction["answer"])


def class_of(prediction: dict[str, Any]) -> str | None:
    """The class of a line of predictions.jsonl; None where it is right, or is a summary that is neither."""
    if prediction.get("right", True):
        return None
    if "unsupported" in prediction:  # of a summary
        return "unsupported fact" if prediction["unsupported"] else None
    expected = str(prediction["expected"])
    if "logprobs" in prediction:
        return _choice_fault(prediction, str(prediction["answer"]))
    chosen = prediction.get("chosen", 0)  # of several attempts
    stopped = prediction.get("stopped", [True])[chosen]
    if number(expected) is not None:
        return fault(expected, prediction["texts"][chosen], stopped=stopped, question=prediction.get("question"))
    read = prediction["read"][chosen]
    if read is None:
        return "format" if stopped else "truncated"
    if not prediction["choices"]:
        return "another text"
    return _choice_fault(prediction, str(read))


def _choice_fault(prediction: dict[str, Any], taken: str) -> str:
    """Choices that are names of classes (B, C) are named; sentences of their own for each question are not."""
    expected = str(prediction["expected"])
    if {expected.lower(), taken.lower()} == SENTIMENTS:
        return "sentiment flip"
    is_short = all(len(choice.split()) == 1 for choice in prediction["choices"])
    return f"{expected} taken for {taken}" if is_short else "wrong choice"
