"""`data=arithmetic_pairs`: word problems with a right working and a plausibly wrong one, made from nothing.

The wrong one makes a single slip, of the kinds that people and small models make, and goes on from it without another:
form, length and most tokens are those of the right one, so only the sums tell them apart.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from typing import Annotated, Any

from bounds import PositiveInt, at_least
from datamodules.preference import PairDataModule
from datamodules.reading.preference_rows import Preference
from datamodules.reading.problems import Problem, Side, Sum, make_problem, written


class ArithmeticPairsDataModule(PairDataModule):
    """Args: pairs, val_pairs: how many of each side. max_steps, max_number: difficulty, as in data=arithmetic."""

    answers = "number"

    def __init__(
        self,
        *,
        pairs: PositiveInt,
        val_pairs: PositiveInt,
        max_steps: PositiveInt,
        max_number: Annotated[int, at_least(20)],  # with less there are too few problems
        **shared: Any,
    ):
        super().__init__(**shared)
        self.sizes = {"train": pairs, "val": val_pairs}
        self.max_steps, self.max_number = max_steps, max_number

    def _read(self, side: Side, dropped: Counter[str]) -> Iterator[Preference]:  # type: ignore[override]
        for index in range(self.sizes[side]):
            yield self.pair(index, side)

    def _source(self, pair: Preference) -> str:
        return pair.chosen  # the chain of sums, whatever the story

    def pair(self, index: int, side: Side) -> Preference:
        seed = self.seed if side == "train" else 0  # validation is the same for every seed: runs compare
        problem = make_problem(index, seed=seed, side=side, max_steps=self.max_steps, max_number=self.max_number)
        rng = random.Random(f"slip {seed} {side} {index}")
        prompt = [{"role": "user", "content": problem.question}]
        return Preference(prompt, problem.solution, slipped(problem, rng, self.max_number))


def slipped(problem: Problem, rng: random.Random, largest: int) -> str:
    """The working of a problem with one slip in it, which leads to another answer."""
    while True:
        wrong_at = rng.randrange(len(problem.sums))
        lines: list[str] = []
        here = problem.sums[0].a
        for i, right in enumerate(problem.sums):
            step = Sum(here, right.op, right.b)
            here = slip(step, rng, largest) if i == wrong_at else step.result
            left = f"{step.a}{step.op}{step.b}"
            lines.append(f"{left}=<<{left}={here}>>{here}")
            if here < 0:
                break
        if here >= 0 and here != problem.answer:
            return written(lines, here)


def slip(step: Sum, rng: random.Random, largest: int) -> int:
    """A wrong result up to `largest`: off by one or by a forgotten carry, digits swapped, or another operation."""
    right = step.result
    kinds = [right - 1, right + 1, right - 10, right + 10, int(str(right)[::-1])]
    kinds += [Sum(step.a, op, step.b).result for op in "+-*" if op != step.op]  # type: ignore[arg-type]
    wrong = [value for value in kinds if value != right and 0 <= value <= largest]
    return rng.choice(wrong)
