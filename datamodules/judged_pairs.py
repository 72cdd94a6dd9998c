"""`data=judged_pairs`: pairs of a right and a wrong answer that models gave to one question, for preferences.

Read from the labels in predictions.jsonl (see data=judged), which `task=evaluate benchmark=NAME evaluate.samples=4`
writes: a model learns to prefer its own right answers to its own wrong ones, and from nothing that it never says.
A question whose answers are all right or all wrong has no pair.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from functools import cached_property
from itertools import product
from typing import Any, Literal

from bounds import OpenShare, PositiveInt
from datamodules.preference import PairDataModule, prompt_hash
from datamodules.reading.judged_rows import Judged, ended, lines_of, merged
from datamodules.reading.preference_rows import Preference
from errors import RequestError

ANSWERS = ("number", "letter", "text")  # kinds whose exact match is measured


class JudgedPairsDataModule(PairDataModule):
    """Args:
    path: a predictions.jsonl or the folder of a run of task=evaluate; several as a list.
    val_fraction: share of the questions for validation, by a hash of what they are about.
    per_question: pairs of a question at most, drawn by seed; no answer is in two before all are in one.
    """

    def __init__(
        self,
        *,
        path: str | list[str],
        val_fraction: OpenShare = 0.05,
        per_question: PositiveInt = 2,
        **shared: Any,
    ):
        super().__init__(**shared)
        self.paths = [path] if isinstance(path, str) else path
        if not self.paths:
            raise RequestError("data.path=[]: expected the folder of a run of task=evaluate, or several.")
        self.val_fraction, self.per_question = val_fraction, per_question

    @property
    def answers(self) -> Literal["number", "letter", "text"] | None:  # type: ignore[override]
        """As the benchmark compared them; None where not all lines say the same."""
        kinds = {row.get("kind") for row, _ in self._lines}
        return next(iter(kinds)) if len(kinds) == 1 and kinds <= set(ANSWERS) else None

    @cached_property
    def _lines(self) -> list[tuple[dict[str, Any], str]]:
        return [line for path in self.paths for line in lines_of(path)]

    def _read(self, side: str, dropped: Counter[str]) -> Iterator[Preference]:
        for judged in merged(ended(self._lines, dropped)).values():
            asked = [{"role": "user", "content": judged.question}]
            of_validation = prompt_hash(Preference([{"role": "user", "content": judged.source}], "", ""))
            if (of_validation < self.val_fraction) != (side == "val"):
                continue
            pairs = drawn_pairs(judged, self.per_question, seed=self.seed)
            dropped["questions without a right or without a wrong answer"] += not pairs
            yield from (Preference(asked, right, wrong) for right, wrong in pairs)

    def _source(self, pair: Preference) -> str:
        question = str(pair.prompt[-1]["content"])
        return self._sources.get(question, question)

    @cached_property
    def _sources(self) -> dict[str, str]:
        return {str(row["question"]): str(row.get("source") or row["question"]) for row, _ in self._lines}


def drawn_pairs(judged: Judged, most: int, *, seed: int) -> list[tuple[str, str]]:
    """(right, wrong) texts of one question, each text once as long as there are others; the same for the same seed."""
    rng = random.Random(f"{seed} {judged.question}")
    sides: dict[bool, list[str]] = {True: [], False: []}
    for text, label in zip(judged.texts, judged.labels, strict=True):
        if text.strip() and text not in sides[label]:
            sides[label].append(text)
    for texts in sides.values():
        rng.shuffle(texts)
    rights, wrongs = sides[True], sides[False]
    # along the diagonals: (0, 0), (1, 1), ... first, then (0, 1), (1, 2), ...
    places = sorted(product(range(len(rights)), range(len(wrongs))), key=lambda at: ((at[1] - at[0]) % len(wrongs), at))
    return [(rights[i], wrongs[j]) for i, j in places[:most]]
