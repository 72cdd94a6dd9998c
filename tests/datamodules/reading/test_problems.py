"""Generated word problems: the sums are right, what is on one side is on no other, the same everywhere."""

import re
from collections import Counter

import pytest

from datamodules.reading.problems import make_problem, spread_chains

TRAIN = [make_problem(i) for i in range(2000)]
VAL = [make_problem(i, side="val") for i in range(500)]
MARK = re.compile(r"(\d+)([-+*/])(\d+)=<<\1\2\3=(\d+)>>\4")


@pytest.mark.parametrize("problem", [*TRAIN[:50], *VAL[:50]], ids=lambda p: p.question)
def test_the_working_is_right(problem):
    *lines, last = problem.solution.split("\n")
    result = None
    for line in lines:
        a, op, b, c = MARK.fullmatch(line).groups()
        assert result in (None, a), "each step goes on from the one before"
        assert eval(f"{a}{op}{b}") == int(c)
        result = c
    assert last == f"#### {result}" == f"#### {problem.answer}"


def test_every_number_of_the_sums_is_in_the_question():
    for problem in TRAIN:
        numbers = list(map(int, re.findall(r"\d+", problem.question)))
        assert numbers == [problem.sums[0].a, *(step.b for step in problem.sums)]


def test_sides_share_no_chain_of_sums():
    assert not {p.sums for p in TRAIN} & {p.sums for p in VAL}


def test_numbers_stay_within_bounds_and_steps_alternate():
    for i, problem in enumerate(TRAIN):
        assert len(problem.sums) == i % 2 + 1
        assert all(1 <= n <= 50 for step in problem.sums for n in (step.a, step.b, step.result))


def test_the_same_on_every_machine():
    assert make_problem(7).question == TRAIN[7].question
    assert make_problem(7, seed=1) != TRAIN[7]
    assert make_problem(0).question + "|" + make_problem(0).solution == RECORDED


RECORDED = "Ben has 8 keys. He makes 29 more. How many now?|8+29=<<8+29=37>>37\n#### 37"


def test_short_enough_for_a_context_of_128_bytes():
    assert max(len(p.question) + len(p.solution) + 5 for p in TRAIN) <= 129  # 128 inputs and the last target


@pytest.mark.parametrize(("max_number", "most", "chains"), [(20, 15, 260), (50, 2, 380)])
def test_F48_held_out_problems_are_spread_over_chains(max_number: int, most: int, chains: int):
    """Of 512 once 180 chains and one of them 95 times (max_number=20); 19 chains of one sum are all there are."""
    made = Counter(make_problem(i, side="val", max_number=max_number).sums for i in range(512))
    assert len(made) >= chains
    assert max(made.values()) <= most


def test_F48_a_held_out_problem_is_the_same_whichever_was_asked_first():
    spread_chains.cache_clear()
    later = make_problem(200, side="val")
    assert [make_problem(i, side="val") for i in range(201)] == VAL[:201]
    assert later == VAL[200]
