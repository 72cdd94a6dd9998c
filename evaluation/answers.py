"""The answer inside a text, and whether it is the expected one. What cannot be read is counted apart from the wrong.

- number: evaluation/numbers.py, exact.
- letter: of a multiple choice, as people write it: "The correct answer is B. ...", "**B**", "(B)", "option b"; the last
  one said to be the answer, as with numbers.
- span: words of a passage, as SQuAD counts them (evaluation/metrics.py).
- text: the whole text, case and spaces aside; where there are choices, the one that it names.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from evaluation.metrics import squad_words
from evaluation.numbers import last_boxed, number
from evaluation.stated import own, revisions
from evaluation.words import SPACELESS

Kind = Literal["number", "letter", "span", "text"]

MARKUP = re.compile(r"\*|__|[`$]|\\[()\[\]]|\\(?:boxed|text|textbf|mathrm|mathbf)\b|(?<=\\text)bf|[{}]|<[^<>\s]{1,8}>")
SPACES = re.compile(r"\s{2,}")
# "A spider" and "I know" are no letters of choices; "A because" is one
ALONE = r"(?![\w'’])(?!(?<=[AaI])\s+(?!(?:because|since|as|is|due|and|which)\b)[a-z])"
ONE = rf"(?:\(\s*([A-Za-z])\s*\)|\[([A-Za-z])\]|([A-Z]){ALONE}|([a-z])(?=\s*(?:[.):,;]|$)))"
SAID = r"(?:\s+(?:is|was|(?:would|should|must)\s+be))?\s*[:=：\-–]?\s*(?:(?:the\s+)?(?:option|choice|letter)\s+)?"
STATED_LETTER = re.compile(
    rf"(?i:\b(?:answer|(?:correct|right|best)\s+(?:option|choice|one|letter)))(?i:{SAID}){ONE}", re.MULTILINE
)
OR_ANOTHER = re.compile(rf"\)?\s*(?:or|and|/|&)\s*\(?[A-Z]{ALONE}")  # "C or D" is neither
CALLED_RIGHT = re.compile(rf"\b([B-Z]|A){ALONE}\)?\s+is\s+(?:the\s+)?(?:correct|right|best)\b")
LEADING_LETTER = re.compile(
    r"\s*(?i:option|choice|letter)?\s*[(\[]?([A-Z])(?:[.)\]:](?=\s|$)|\s*$)"
    r"|\s*\(([a-z])\)|\s*([a-z])(?:[.):](?=\s|$)|\s*$)",
    re.MULTILINE,
)
NAMED_LETTER = re.compile(
    rf"\b(?:(?i:option|choice)\s+{ONE}|(?i:it\s+is|it['’]s|choose|pick|select|go\s+with)\s+\(?([A-Z]){ALONE})",
    re.MULTILINE,
)


def letter(text: str) -> str | None:
    """The letter in a box, else the one said to be the answer, else one that the text begins with, or names alone."""
    text = own(text)
    boxed = re.sub(r"\\\w+|[{}()$.\s*]", "", last_boxed(text) or "")
    if re.fullmatch(r"[A-Za-z]", boxed):
        return boxed.upper()
    text = SPACES.sub(lambda run: "\n" if "\n" in run[0] else " ", MARKUP.sub("", text))
    stated = [*STATED_LETTER.finditer(text)][-1:]
    found = stated[0] if stated else LEADING_LETTER.match(text) or CALLED_RIGHT.search(text)
    if found is not None:
        rest = text[found.end() :]
        return _instead(rest) or (None if OR_ANOTHER.match(rest) else _one(found))
    named = {_one(found) for found in NAMED_LETTER.finditer(text)}
    return named.pop() if len(named) == 1 else None


def _instead(rest: str) -> str | None:
    """The letter that replaces one which `rest` takes back."""
    for part in reversed(revisions(rest)[1]):
        if found := LEADING_LETTER.match(part.split("\n")[0].rstrip(" .!")) or CALLED_RIGHT.match(part):
            return _one(found)
    return None


def _one(found: re.Match[str]) -> str:
    return next(group for group in found.groups() if group is not None).upper()


def plain(text: str) -> str | None:
    """The text in lower case, spaces made one; None where nothing is left."""
    return " ".join(text.lower().split()) or None


def choice(text: str, choices: Sequence[str]) -> str | None:
    """The choice that the text is or begins with, else the only one that it names; case and spaces aside.

    Choices are looked for as they are written, the longest first, so that "C" is not read out of "C++" where both are
    choices. Where none is found, a full stop at their end may be missing.
    """
    text = own(text).strip()
    if text in choices:
        return text
    given = plain(text) or ""
    for ending in ("", ".!?"):
        known: dict[str, set[str]] = {}
        for made in choices:
            known.setdefault((plain(made) or "").rstrip(ending), set()).add(made)
        if found := _named(given, known):
            named = [found[0]] if given.startswith(found[0]) else found
            only = set[str]().union(*(known[low] for low in named))
            return only.pop() if len(only) == 1 else None
    return None


def _named(given: str, known: dict[str, set[str]]) -> list[str]:
    """What of `known` stands in a text, in order; of several at one place the longest."""
    wanted = sorted(filter(None, known), key=len, reverse=True)
    pattern = "|".join(f"{_before(low)}{re.escape(low)}{_after(low)}" for low in wanted)
    return [found[0] for found in re.finditer(pattern, given)] if wanted else []


def _before(low: str) -> str:
    """What must not stand before a choice: more of its word, more of its number."""
    if low[0].isdecimal():
        return r"(?<![^\W_])(?<!\d[.,:/])(?<![-−+.])"
    return "" if not low[0].isalnum() or SPACELESS.match(low[0]) else r"(?<![^\W_])"


def _after(low: str) -> str:
    if low[-1].isdecimal():
        return r"(?![^\W_])(?![.,:/]\d)"
    return "" if not low[-1].isalnum() or SPACELESS.match(low[-1]) else r"(?![^\W_])"


def span(text: str) -> str | None:
    """The words that count of a piece of a passage; None where none is left."""
    return " ".join(squad_words(text)) or None


READERS: dict[str, Callable[[str], str | None]] = {"number": number, "letter": letter, "span": span, "text": plain}


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
