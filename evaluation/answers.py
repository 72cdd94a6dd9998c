"""The answer inside a text, and whether it is the expected one. What cannot be read is counted apart from the wrong.

- number: GSM8K's last line `#### 72` (its own grader's pattern: openai/grade-school-math, dataset.py).
- letter: of a multiple choice: "The correct answer is B. ...", "B. ...", "(B)", "B".
- text: the whole text, case and spaces aside; where there are choices, the one that it names.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Literal

Kind = Literal["number", "letter", "text"]
NUMBER = re.compile(r"####\s*\$?(-?[\d.,]*\d)")
STATED_LETTER = re.compile(r"(?i:\banswer(?:\s+is)?)\s*:?\s*(?:\(([A-Za-z])\)|([A-Z])\b)")
LEADING_LETTER = re.compile(r"\s*\(?([A-Z])(?:[.):]|\s*$)", re.MULTILINE)


def number(text: str) -> str | None:
    """ "#### 1,200" -> "1200"; "#### 5.0" -> "5"; "#### 7.50" -> "7.5"; None for what is no number."""
    found = NUMBER.search(text)
    if found is None:
        return None
    try:
        value = Decimal(found[1].replace(",", ""))
    except InvalidOperation:  # 1.2.3
        return None
    return written(value)


def written(value: Decimal | float | str) -> str:
    """A number in digits, without exponent and without zeros that say nothing: 1234567, 0.5, 7.5."""
    digits = f"{Decimal(str(value)):f}"
    digits = digits.rstrip("0").rstrip(".") if "." in digits else digits
    return "0" if digits in ("-0", "") else digits


def letter(text: str) -> str | None:
    """The letter that is said to be the answer, else one that the text begins with."""
    found = STATED_LETTER.search(text) or LEADING_LETTER.match(text)
    return None if found is None else found[found.lastindex or 1].upper()


def plain(text: str) -> str | None:
    """The text in lower case, spaces made one; None where nothing is left."""
    return " ".join(text.lower().split()) or None


def choice(text: str, choices: Sequence[str]) -> str | None:
    """The choice that the text begins with, else the only one that it names; case aside."""
    given = plain(text) or ""
    known = {made: plain(made) or "" for made in choices}
    found = [made for made, low in known.items() if re.match(rf"{re.escape(low)}\b", given)]
    found = found or [made for made, low in known.items() if re.search(rf"\b{re.escape(low)}\b", given)]
    return found[0] if len(found) == 1 else None


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
