"""Word problems with worked steps, made from nothing: a stand-in for GSM8K that every machine has.

    Tom has 12 pens. He buys 7 more, then loses 5. How many are left?
    12+7=<<12+7=19>>19
    19-5=<<19-5=14>>14
    #### 14

Steps, calculator marks and the answer's line are those of GSM8K (Cobbe et al. 2021, 2110.14168). A problem is a
function of (seed, side, index): unlimited, the same on every machine. Which side a problem is on is decided by a hash
of its sums alone, whatever the words: no chain of sums of the validation side is ever trained on.
"""

from __future__ import annotations

import hashlib
import random
from collections import Counter
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Literal

Side = Literal["train", "val"]
Op = Literal["+", "-", "*", "/"]
FIRST_OPS: tuple[Op, ...] = ("+", "+", "-", "-", "*", "/")
VAL_SHARE = 16  # one in so many chains of sums is for validation
TRIES = 32  # draws of a chain of that side before those that were used are used again

NAMES = (("Tom", "He"), ("Ann", "She"), ("Ben", "He"), ("Eva", "She"), ("Max", "He"), ("Mia", "She"), ("Sam", "He"))
THINGS = ("pens", "eggs", "toys", "cups", "nuts", "keys", "hats", "cards", "books", "coins")
MORE = {
    "+": ("buys {} more", "finds {} more", "gets {} more", "makes {} more"),
    "-": ("loses {}", "sells {}", "breaks {}", "gives {} away"),
}
# a first sum that is no story of more and less: things in equal groups, and shared out
GROUPS = {
    "*": "{name} has {a} bags of {b} {things}.",
    "/": "{name} puts {a} {things} into {b} boxes and keeps one.",
}


@dataclass(frozen=True)
class Sum:
    """One step of the working: a op b = result, all whole numbers."""

    a: int
    op: Op
    b: int

    @property
    def result(self) -> int:
        a, b = self.a, self.b
        return {"+": a + b, "-": a - b, "*": a * b, "/": a // b if b else 0}[self.op]

    @property
    def line(self) -> str:
        left = f"{self.a}{self.op}{self.b}"
        return f"{left}=<<{left}={self.result}>>{self.result}"


@dataclass(frozen=True)
class Problem:
    """A question and the sums that lead to its answer, each going on from the result of the one before."""

    question: str
    sums: tuple[Sum, ...]

    @property
    def answer(self) -> int:
        return self.sums[-1].result

    @property
    def solution(self) -> str:
        return written([step.line for step in self.sums], self.answer)


def written(lines: list[str], answer: int) -> str:
    """Working and answer in GSM8K's form."""
    return "\n".join([*lines, f"#### {answer}"])


def make_problem(
    index: int, *, seed: int = 0, side: Side = "train", max_steps: int = 2, max_number: int = 50
) -> Problem:
    """Problem `index` of a side: as many of each number of steps, 1 to `max_steps`; no number exceeds `max_number`.

    Few chains of one or two sums are held out, and some are drawn far more often than others. On the validation side
    none is used again before most others were: else one chain, known or not, would decide the score.
    """
    rng = random.Random(f"{seed} {side} {index}")  # seeded by SHA-512 of the text: the same everywhere
    n_steps = index % max_steps + 1
    if side == "val":
        sums = spread_chains(seed, max_number, n_steps).chain(index // max_steps)
    else:
        sums = draw_chain(rng, side, n_steps, max_number)
    return Problem(tell(rng, sums), sums)


def draw_chain(rng: random.Random, side: Side, n_steps: int, max_number: int) -> tuple[Sum, ...]:
    while True:
        sums = draw_sums(rng, n_steps, max_number)
        if side_of(sums) == side:
            return sums


@dataclass
class SpreadChains:
    """Chains of the validation side in a fixed order, each used `rounds` times at most; grows as it is asked."""

    seed: int
    max_number: int
    n_steps: int
    rounds: int = 1
    chains: list[tuple[Sum, ...]] = field(default_factory=list)
    used: Counter[tuple[Sum, ...]] = field(default_factory=Counter)

    def chain(self, k: int) -> tuple[Sum, ...]:
        while len(self.chains) <= k:
            self._add(random.Random(f"{self.seed} held out {self.n_steps} {len(self.chains)}"))
        return self.chains[k]

    def _add(self, rng: random.Random) -> None:
        for _ in range(TRIES):
            sums = draw_chain(rng, "val", self.n_steps, self.max_number)
            if self.used[sums] < self.rounds:
                break
        else:  # hardly any is left in this round
            self.rounds += 1
        self.chains.append(sums)
        self.used[sums] += 1


@lru_cache(maxsize=64)
def spread_chains(seed: int, max_number: int, n_steps: int) -> SpreadChains:
    return SpreadChains(seed, max_number, n_steps)


def draw_sums(rng: random.Random, n_steps: int, max_number: int) -> tuple[Sum, ...]:
    """A chain of sums whose numbers and results lie in 1 .. max_number."""
    sums = [draw_first(rng, max_number)]
    while len(sums) < n_steps:
        here = sums[-1].result
        either: tuple[tuple[Op, bool], ...] = (("+", here < max_number), ("-", here > 1))
        possible = [op for op, fits in either if fits]
        op = rng.choice(possible)
        sums.append(Sum(here, op, rng.randint(1, max_number - here if op == "+" else here - 1)))
    return tuple(sums)


def draw_first(rng: random.Random, max_number: int) -> Sum:
    op = rng.choice(FIRST_OPS)
    if op in "+-":
        low, high = sorted(rng.sample(range(1, max_number + 1), 2))
        return Sum(low, "+", high - low) if op == "+" else Sum(high, "-", low)
    b = rng.randint(2, max(2, min(9, max_number // 2)))
    quotient = rng.randint(2, max(2, min(9, max_number // b)))
    return Sum(quotient, "*", b) if op == "*" else Sum(quotient * b, "/", b)


def side_of(sums: tuple[Sum, ...]) -> Side:
    """Where a chain of sums belongs, by a hash of it."""
    chain = " ".join(f"{step.a}{step.op}{step.b}" for step in sums)
    return "val" if hashlib.blake2b(chain.encode(), digest_size=4).digest()[0] % VAL_SHARE == 0 else "train"


def tell(rng: random.Random, sums: tuple[Sum, ...]) -> str:
    """The sums as a story."""
    name, pronoun = rng.choice(NAMES)
    things, first = rng.choice(THINGS), sums[0]
    if first.op in GROUPS:
        opening = GROUPS[first.op].format(name=name, a=first.a, b=first.b, things=things)
        later = sums[1:]
    else:
        opening, later = f"{name} has {first.a} {things}.", sums
    happens = ", then ".join(rng.choice(MORE[step.op]).format(step.b) for step in later)
    story = f"{opening} {pronoun} {happens}." if happens else opening
    return f"{story} How many {things if not happens else 'now'}?"
