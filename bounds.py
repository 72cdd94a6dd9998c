"""Which numbers make sense, said in a signature: `total_steps: PositiveInt`, `beta: Annotated[float, above(0)]`.

The launcher reads them there, from source: a config is checked before anything heavy is imported, and help shows them.
Numbers are finite in any case, and a text is not empty unless it is a `Text`. Called from Python, nothing is checked.
"""

import math
import re
from dataclasses import dataclass
from typing import Annotated


@dataclass(frozen=True)
class Bound:
    """An interval; `words` is how it is said to a user."""

    words: str
    low: float = -math.inf
    high: float = math.inf
    low_is_in: bool = True
    high_is_in: bool = True

    def holds(self, number: float) -> bool:
        above = number >= self.low if self.low_is_in else number > self.low
        return above and (number <= self.high if self.high_is_in else number < self.high)


def at_least(low: float) -> Bound:
    return Bound(f"{low} or more", low=low)


def above(low: float) -> Bound:
    return Bound(f"above {low}", low=low, low_is_in=False)


def at_most(high: float) -> Bound:
    return Bound(f"at most {high}", high=high)


def below(high: float) -> Bound:
    return Bound(f"below {high}", high=high, high_is_in=False)


def between(low: float, high: float) -> Bound:
    """Both ends included."""
    return Bound(f"{low} to {high}", low=low, high=high)


@dataclass(frozen=True)
class MayBeEmpty:
    """Marks a text for which "" means something; elsewhere it is what an unset shell variable leaves."""


@dataclass(frozen=True)
class Form:
    """How a text is written; `words` is how that is said to a user."""

    words: str
    pattern: str

    def holds(self, text: str) -> bool:
        return re.fullmatch(self.pattern, text, re.ASCII) is not None


def written(words: str, pattern: str) -> Form:
    return Form(words, pattern)


def expression(pattern: str, flags: int = 0) -> re.Pattern[str]:
    """A regular expression that a user typed. Raises ValueError, with the reason, however Python refuses it."""
    try:
        return re.compile(pattern, flags)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    except (re.error, OverflowError) as error:
        raise ValueError(str(error)) from None


PositiveInt = Annotated[int, at_least(1)]
NonNegativeInt = Annotated[int, at_least(0)]
PositiveFloat = Annotated[float, above(0)]
NonNegativeFloat = Annotated[float, at_least(0)]
Share = Annotated[float, between(0, 1)]
PositiveShare = Annotated[float, above(0), at_most(1)]
OpenShare = Annotated[float, above(0), below(1)]
Below1 = Annotated[float, at_least(0), below(1)]  # dropout, decay of a running mean: 1 would leave nothing
Seed = Annotated[int, between(0, 4_294_967_295)]  # 32 bits, as numpy and torch take them all
Text = Annotated[str, MayBeEmpty()]
Duration = Annotated[str, written('hours:minutes:seconds, such as "00:10:00"', r"\d{1,5}:[0-5]?\d:[0-5]?\d")]
