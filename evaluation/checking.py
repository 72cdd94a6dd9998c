"""A calculator's check of a worked answer: each sum holds, each result is taken up, the last line says the last one.

It knows GSM8K's marks, `12+7=<<12+7=19>>19`, and its line `#### 19` (2110.14168). What it accepts is coherent; that the
right sums were taken it cannot know. A result that no later sum takes is a break in the chain. That each sum goes on
from the one just before it would be too strict: 42 % of GSM8K's own solutions do not.
"""

import re
from fractions import Fraction
from typing import NamedTuple

from evaluation.mistakes import STEP, Step, near, steps, worth
from evaluation.numbers import number

COPY = re.compile(r">>\s*\$?(\d[\d,]*(?:\.\d+)?|\.\d+)")  # the result, written once more behind its mark
LAST = "####"


class Checked(NamedTuple):
    """`holds`: all of it. `kept`: characters up to the first fault, whole lines, with what ends them."""

    holds: bool
    kept: int


def has_marks(text: str) -> bool:
    return STEP.search(text) is not None


def check(text: str, *, ended: bool = True) -> Checked:
    """Args: ended: it came to its end; else its last line is not whole, unless a line break ends it."""
    at, done = 0, list[tuple[Step, int]]()  # each sum, and where its line ends
    finished = False
    for line in text.splitlines(keepends=True):
        if not ended and not line.endswith("\n"):
            return Checked(False, at)
        if not _sums_hold(line):
            return Checked(False, at)
        if LAST in line:
            finished = True
            if (lost := _first_unused(done)) is not None:
                return Checked(False, lost)
            if not done or not _says(line, done[-1][0]):
                return Checked(False, at)
        at += len(line)
        done += [(step, at) for step in steps(line)]
    return Checked(finished and bool(done), at)


def _sums_hold(line: str) -> bool:
    made = steps(line)
    if not all(step.is_right for step in made):
        return False
    copies = [worth(copy) for copy in COPY.findall(line)]
    return all(value is not None and any(near(value, s.result) for s in made if s.result is not None)
               for value in copies)  # fmt: skip


def _first_unused(done: list[tuple[Step, int]]) -> int | None:
    """Where the line ends whose result no later sum takes; the last result is the answer, and taken by its line."""
    for i, (step, end) in enumerate(done[:-1]):
        assert step.result is not None
        if not any(near(value, step.result) for later, _ in done[i + 1 :] for value in later.numbers):
            return end
    return None


def _says(line: str, last: Step) -> bool:
    said = number(line)
    return said is not None and last.result is not None and near(float(Fraction(said)), last.result)
