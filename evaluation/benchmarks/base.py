"""A benchmark: rows of a data set as questions, each with its answer, and perhaps with choices.

How to add one: a subclass with `question(row)` in a file of its own, and `conf/benchmark/<name>.yaml`.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from errors import RequestError
from evaluation.answers import Kind

Row = dict[str, Any]
ReadRows = Callable[[str], list[tuple[Row, str]]]  # split -> rows, each with the place where it stands


@dataclass(frozen=True)
class Question:
    """`answer` is what a right answer says; with `choices`, it is one of them. `ask` is shown to the model.

    Args:
        lead: words with which a model that was trained on such questions opens its answer, before the choice.
        source: what other questions may be about as well (a passage, a template, a chain of sums): those stand and fall
            together, so intervals are over sources. Left out: the question itself, so that repeated ones are one.
        others: further right answers, of which any will do.
    """

    ask: str
    answer: str
    choices: tuple[str, ...] = ()
    lead: str = ""
    source: str = ""
    others: tuple[str, ...] = ()

    @property
    def led_answer(self) -> str:
        return f"{self.lead} {self.answer}" if self.lead else self.answer


class Benchmark(ABC):
    """Questions of `split`; examples for few-shot prompts come from `shots_split`.

    Args:
        path: a file, a folder, or a Hub id. name: configuration on the Hub. revision: commit of the Hub's repository.
        split: what is asked. shots_split: where examples come from; never the questions themselves.
        columns: names of the columns of a .tsv or .csv file without a header; or, by the name that a column has here,
            the one that it has in the data: {question: problem, answer: solution}.
    """

    kind: ClassVar[Kind] = "text"  # how a free answer is read: number, letter or text
    words: ClassVar[str] = ""  # stands before every question, as an instruction
    needs: ClassVar[tuple[str, ...]] = ()  # columns of a row
    other_forms: ClassVar[tuple[tuple[str, ...], ...]] = ()  # columns of the forms in which it is published as well
    summary: ClassVar[bool] = False  # the answer is a text to come close to (ROUGE), not one to match

    def __init__(
        self,
        *,
        path: str,
        name: str | None = None,
        split: str = "validation",
        shots_split: str = "train",
        revision: str | None = None,
        columns: list[str] | dict[str, str] | None = None,
    ):
        """Raises RequestError for a column that this benchmark does not have."""
        known = {column for form in (self.needs, *self.other_forms) for column in form}
        unknown = sorted(set(columns) - known) if isinstance(columns, Mapping) else []
        if unknown:
            raise RequestError(f"benchmark.columns: {unknown[0]!r} is none of {', '.join(sorted(known))}.")
        self.path, self.name, self.revision, self.columns = path, name, revision, columns
        self.split, self.shots_split = split, shots_split

    @abstractmethod
    def question(self, row: Row) -> Question:
        """What is asked of one row, and the answer."""

    def questions(self, rows: Sequence[tuple[Row, str]]) -> list[Question]:
        """Raises RequestError naming the first row that lacks a column or cannot be read."""
        return [self._checked(row, where) for row, where in rows]

    def _checked(self, row: Row, where: str) -> Question:
        there = ", ".join(map(repr, row)) or "none"
        if isinstance(self.columns, Mapping):
            if absent := [column for column in self.columns.values() if column not in row]:
                raise RequestError(f"{where}: benchmark.columns names {absent[0]!r}; columns: {there}.")
            row = row | {name: row[column] for name, column in self.columns.items()}
        forms = ([c for c in form if row.get(c) in (None, "")] for form in (self.needs, *self.other_forms))
        if missing := min(forms, key=len):
            headless = f"\nA file without a header: benchmark.columns=[{','.join(self.needs)}]"
            renamed = f"\nOther names: 'benchmark.columns={{{missing[0]}: <the one that it is>}}'"
            is_table = any(end in f"{self.path} {where}".lower() for end in (".tsv", ".csv"))
            hint = headless if self.columns is None and is_table else renamed
            raise RequestError(
                f"{where}: {', '.join(map(repr, missing))} is not there or empty; columns: {there}.{hint}"
            )
        try:
            return self.question(row)
        except (TypeError, ValueError, KeyError, IndexError, AttributeError) as error:
            raise RequestError(f"{where}: not a row of this benchmark: {error}.") from None


def draw_shots(pool: Sequence[Question], k: int, *, seed: int, asked: Question, number: int) -> list[Question]:
    """`k` examples for question `number`, drawn by (seed, number): none of them asks the same.

    Raises:
        RequestError: the pool is too small.
    """
    rng = np.random.default_rng([seed, number])
    shots: list[Question] = []
    for i in rng.permutation(len(pool)).tolist():
        if len(shots) == k:
            break
        if pool[i].ask != asked.ask:
            shots.append(pool[i])
    if len(shots) < k:
        raise RequestError(f"evaluate.shots={k}: only {len(shots)} other examples are there to choose from.")
    return shots


def numbered(choices: Sequence[str], number: Any) -> str:
    """The choice that a row's label names. Raises ValueError for a split without labels: they are -1 there."""
    at = int(number)
    if not 0 <= at < len(choices):
        raise ValueError(f"the right choice is number {at}, of 0 to {len(choices) - 1}; does this split have labels?")
    return choices[at]


def lettered(choices: Sequence[str]) -> str:
    """ "A. one\\nB. two" """
    return "\n".join(lettered_one(i, choice) for i, choice in enumerate(choices))


def lettered_one(i: int, choice: str) -> str:
    return f"{chr(ord('A') + i)}. {choice}"
