"""The answer inside a text, and whether it is the expected one. What cannot be read is counted apart from the wrong.

- number: GSM8K's last line `#### 72` (its own grader's pattern: openai/grade-school-math, dataset.py).
- letter: of a multiple choice: "The correct answer is B. ...", "B. ...", "(B)", "B".
- text: the whole text, case and spaces aside.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

Kind = Literal["number", "letter", "text"]
NUMBER = re.compile(r"####\s*\$?(-?[\d.,]*\d)")
STATED_LETTER = re.compile(r"(?i:\banswer(?:\s+is)?)\s*:?\s*(?:\(([A-Za-z])\)|([A-Z])\b)")
LEADING_LETTER = re.compile(r"\s*\(?([A-Z])(?:[.):]|\s*$)", re.MULTILINE)


def number(text: str) -> str | None:
    """ "#### 1,200" -> "1200"; "#### 5.0" -> "5"."""
    found = NUMBER.search(text)
    if found is None:
        return None
    digits = found[1].replace(",", "")
    whole, _, rest = digits.partition(".")
    return whole if not rest.strip("0") else digits


def letter(text: str) -> str | None:
    """The letter that is said to be the answer, else one that the text begins with."""
    found = STATED_LETTER.search(text) or LEADING_LETTER.match(text)
    return None if found is None else found[found.lastindex or 1].upper()


def plain(text: str) -> str | None:
    """The text in lower case, spaces made one; None where nothing is left."""
    return " ".join(text.lower().split()) or None


READERS: dict[str, Callable[[str], str | None]] = {"number": number, "letter": letter, "text": plain}


@dataclass(frozen=True)
class Score:
    """Answers to n questions."""

    n: int
    right: int
    unparsed: int  # no answer could be read from them; they count as wrong

    @property
    def exact_match(self) -> float:
        return self.right / self.n if self.n else 0.0

    def __add__(self, other: "Score") -> "Score":
        return Score(self.n + other.n, self.right + other.right, self.unparsed + other.unparsed)


def is_right(answer: str, expected: str, kind: Kind) -> bool:
    read = READERS[kind](answer)
    return read is not None and read == READERS[kind](expected)


def score(answers: Sequence[str], expected: Sequence[str], kind: Kind) -> Score:
    """Exact match of answers with what was expected, both read by the same rule."""
    right = sum(is_right(answer, wanted, kind) for answer, wanted in zip(answers, expected, strict=True))
    return Score(len(answers), right, sum(READERS[kind](answer) is None for answer in answers))
