"""What each stage, prompt or way of picking gains: runs of task=evaluate that put the same questions, side by side.

A row is one way to answer: a run's single answers, or of its samples the vote and what its judge picks. All numbers are
paired by question; what is drawn anew in another evaluation is what questions are about (evaluation/intervals.py).
Rows in, numbers out; pages are in gains_page.py.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import product
from typing import Any, NamedTuple

import numpy as np
from scipy import stats

from errors import RequestError
from evaluation.intervals import Estimate, by_source, difference_interval, mean_interval
from evaluation.mistakes import counted
from evaluation.predictions import Prediction
from evaluation.voting import verifier_at_k, vote_at_k
from reports.statistics import holm

SIGNIFICANT = 0.05  # of Holm's p
POINTS = 0.03  # the gain that the line about power asks for
POWER = 0.8
FLIPS = 10_000  # random signs; all of them where there are fewer
SHOWN, NOT_SHOWN = "shown", "not shown"


@dataclass(frozen=True)
class Way:
    """One way to answer the questions.

    Args:
        predictions: a line each; `chosen` is the text that counts, `right` whether it is right.
        right: (n,) chance that the answer is right. tokens: (n,) that were written for it, all attempts together.
        over: name of the way that it is held against; None: nothing before it.
        made_s, asked_s: processor seconds to make it beyond what it builds on, and to answer all questions.
        read: tokens that a judge read, a question.
    """

    name: str
    predictions: list[Prediction]
    right: np.ndarray
    tokens: np.ndarray
    over: str | None = None
    made_s: float | None = None
    asked_s: float | None = None
    read: float | None = None

    @property
    def sources(self) -> list[Any]:
        return [p.get("source", i) for i, p in enumerate(self.predictions)]

    @cached_property
    def faults(self) -> dict[str, int]:
        return counted(self.predictions)


class Gain(NamedTuple):
    """Of one way over another. `questions`: how many would show a gain of POINTS in POWER of 100 evaluations."""

    over: str
    gain: Estimate
    p: float
    p_corrected: float
    verdict: str
    questions: int | None


@dataclass(frozen=True)
class Line:
    """A row of the table."""

    way: Way
    exact_match: Estimate
    gain: Gain | None


@dataclass(frozen=True)
class Gains:
    lines: list[Line]
    notes: list[str] = field(default_factory=list)

    @property
    def asked(self) -> int:
        return len(self.lines[0].way.predictions)


# ---- ways ------------------------------------------------------------------------------------------------------------


def ways_of(name: str, predictions: list[Prediction]) -> list[Way]:
    """The ways in one run's predictions: single answers, or of k samples the majority and the best scored."""
    first = predictions[0]
    if "logprobs" in first:  # choices: nothing is written
        nothing = np.zeros(len(predictions))
        found = [Way(name, predictions, _right(predictions), nothing)]
        return [*found, _best_choice(name, predictions, nothing)] if "best" in first else found
    tokens = np.array([sum(p["lengths"]) for p in predictions], np.float64)
    k = len(first["texts"])
    if k == 1 or "chosen" in first or not all(len(p["texts"]) == k for p in predictions):
        return [Way(name, predictions, _right(predictions), tokens)]
    voted = [p | {"chosen": _voted(p), "right": p["right_by_majority"]} for p in predictions]
    votes = np.array([vote_at_k(p["read"], p["labels"], k) for p in predictions])
    found = [Way(f"{name}: majority@{k}", voted, votes, tokens)]
    if "best" in first:
        best = [p | {"chosen": p["best"], "right": p["labels"][p["best"]]} for p in predictions]
        scored = np.array([verifier_at_k(p["scores"], p["labels"], k) for p in predictions])
        found.append(Way(f"{name}: best@{k}", best, scored, tokens, over=found[0].name))
    return found


def _right(predictions: Sequence[Prediction]) -> np.ndarray:
    return np.array([p["right"] for p in predictions], np.float64)


def _voted(p: Prediction) -> int:
    """The first text that says what was voted for."""
    return p["read"].index(p["answer"]) if p["answer"] in p["read"] else 0


def _best_choice(name: str, predictions: list[Prediction], tokens: np.ndarray) -> Way:
    best = [p | {"answer": p["choices"][p["best"]], "right": p["labels"][p["best"]]} for p in predictions]
    return Way(f"{name}: best choice", best, _right(best), tokens, over=name)


def check_same_questions(ways: Sequence[Way]) -> None:
    """Raises RequestError where two ways were not asked the same, in the same order."""
    wanted = [p.get("question") for p in ways[0].predictions]
    for way in ways[1:]:
        asked = [p.get("question") for p in way.predictions]
        if asked != wanted:
            at = next((i for i, (a, b) in enumerate(zip(asked, wanted, strict=False)) if a != b), None)
            where = f"{len(asked):,} and {len(wanted):,} of them" if at is None else f"from question {at + 1:,} on"
            raise RequestError(
                f"{way.name} and {ways[0].name} were not asked the same questions ({where}): their answers cannot be "
                "paired.\nAsk all of them with the same benchmark=..., benchmark.first and evaluate.limit."
            )


# ---- gains -----------------------------------------------------------------------------------------------------------


def gains(ways: Sequence[Way], *, seed: int, notes: Sequence[str] = ()) -> Gains:
    """Each way with its exact match, and its gain over the one that it is held against; p by Holm over all gains.

    Raises:
        RequestError: they were not asked the same questions.
    """
    check_same_questions(ways)
    by_name, sources = {way.name: way for way in ways}, ways[0].sources
    pairs = [(way, by_name[way.over]) for way in ways if way.over is not None]
    p_values = [sign_flip_p(way.right - other.right, sources, seed=seed) for way, other in pairs]
    corrected = dict(zip((way.name for way, _ in pairs), zip(p_values, holm(p_values), strict=True), strict=True))
    lines = []
    for way in ways:
        exact_match = mean_interval(way.right, sources=sources, seed=seed)
        gain = None
        if way.over is not None:
            other = by_name[way.over]
            estimate = difference_interval(way.right, other.right, sources=sources, seed=seed)
            p, p_corrected = corrected[way.name]
            questions = questions_to_show(way.right - other.right, sources)
            gain = Gain(way.over, estimate, p, p_corrected, verdict(estimate, p_corrected), questions)
        lines.append(Line(way, exact_match, gain))
    return Gains(lines, list(notes))


def verdict(gain: Estimate, p_corrected: float) -> str:
    """Shown only where the interval leaves out 0 and Holm's p is small too."""
    apart = not math.isnan(gain.low) and (gain.low > 0 or gain.high < 0)
    return SHOWN if apart and p_corrected <= SIGNIFICANT else NOT_SHOWN


def sign_flip_p(differences: np.ndarray, sources: Sequence[Any], *, seed: int) -> float:
    """Two-sided p of "no difference", by a randomisation test: the sign of what a source adds would then be chance.

    All signs where there are at most FLIPS of them, else FLIPS drawn ones and the observed (Phipson & Smyth 2010).
    Of differences of single answers it is McNemar's exact test.
    """
    totals, _ = by_source(differences, sources)
    totals = totals[totals != 0]
    n, observed = len(totals), abs(totals.sum())
    if n == 0:
        return 1.0
    enough = observed * (1 - 1e-9)  # sums in another order are the same
    if 2**n <= FLIPS:
        signs = np.array(list(product((1.0, -1.0), repeat=n)))
        return float((np.abs(signs @ totals) >= enough).mean())
    rng = np.random.default_rng(seed)
    as_far = sum(
        int((np.abs(rng.choice((1.0, -1.0), size=(1000, n)) @ totals) >= enough).sum()) for _ in range(FLIPS // 1000)
    )
    return (1 + as_far) / (1 + FLIPS)


def questions_to_show(differences: np.ndarray, sources: Sequence[Any]) -> int | None:
    """How many such questions show a gain of POINTS at 5 %, two-sided, in POWER of 100 evaluations.

    ((z(.975) + z(.8)) s / .03)^2, s from the spread over sources; None where answers never differ.
    """
    totals, sizes = by_source(differences, sources)
    n, m = float(sizes.sum()), len(totals)
    if m < 2:
        return None
    residuals = totals - sizes * differences.mean()
    variance = m / (m - 1) * float((residuals**2).sum()) / n  # of one question's worth
    if variance == 0:
        return None
    z = stats.norm.ppf(1 - SIGNIFICANT / 2) + stats.norm.ppf(POWER)
    return math.ceil(z**2 * variance / POINTS**2)


def power_line(found: Gains) -> str:
    """How many questions would show three points, as a sentence."""
    needed = [line.gain.questions for line in found.lines if line.gain and line.gain.questions]
    asked = f"{found.asked:,} questions were asked"
    if not needed:
        return f"{asked}; answers never differ, so how many would show a gain of {100 * POINTS:g} points is not known."
    low, high = min(needed), max(needed)
    many = f"{low:,}" if low == high else f"{low:,} to {high:,}, by comparison,"
    return (
        f"{asked}; {many} would show a gain of {100 * POINTS:g} points in {100 * POWER:.0f} of 100 evaluations "
        "(two-sided, 5 %, before Holm's correction)."
    )


def held_against(ways: Sequence[Way], baseline: str | None = None) -> list[Way]:
    """Every way over the first one, or over the one named, unless it has one of its own.

    Raises:
        RequestError: there is no way of that name.
    """
    names = [way.name for way in ways]
    base = baseline or names[0]
    if base not in names:
        raise RequestError(f"report.baseline={base} is none of these ways. There are: {'; '.join(names)}.")
    return [way if way.over or way.name == base else replace(way, over=base) for way in ways]
