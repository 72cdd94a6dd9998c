"""The table of gains: numbers worked by hand, the naive test by enumeration, what is shown and what is not."""

import json
from itertools import product
from pathlib import Path

import numpy as np
import pytest

from errors import RequestError
from evaluation.intervals import Estimate
from reports.gains import gains, held_against, power_line, questions_to_show, sign_flip_p, verdict, ways_of
from reports.gains_page import fault_rows, gain_rows, write


def single(right: str, *, text: str = "#### 1") -> list[dict]:
    """Lines of single answers, "1" right and "0" wrong."""
    return [
        {"question": f"q{i}", "prompt": f"q{i}", "expected": "#### 2", "choices": [], "source": f"s{i}"}
        | {"texts": [text], "read": ["1"], "labels": [c == "1"], "lengths": [5], "answer": "1", "right": c == "1"}
        | {"stopped": [True]}
        for i, c in enumerate(right)
    ]


def test_p_by_hand_and_by_enumeration() -> None:
    assert sign_flip_p(np.array([1.0, 1.0, 1.0, 0.0]), range(4), seed=0) == 2 / 8, "+++ and --- of 8"
    assert sign_flip_p(np.array([1.0, 1.0, -1.0]), range(3), seed=0) == 1.0, "every sum of three is at least 1"
    assert sign_flip_p(np.zeros(5), range(5), seed=0) == 1.0
    one = sign_flip_p(np.array([1.0, 1.0, 1.0, 1.0]), ["a", "a", "b", "b"], seed=0)
    assert one == 2 / 4, "two sources of two questions are two units"
    values = np.random.default_rng(0).normal(0.4, 1, 9)
    sums = [abs(np.dot(signs, values)) for signs in product((1, -1), repeat=9)]
    naive = np.mean([s >= abs(values.sum()) - 1e-12 for s in sums])
    assert sign_flip_p(values, range(9), seed=0) == pytest.approx(naive)


def test_drawn_signs_are_near_the_exact_test_of_mcnemar() -> None:
    """40 gains and 20 losses: 2 P(X >= 40), X binomial(60, 1/2) = 0.01349."""
    differences = np.repeat([1.0, -1.0, 0.0], [40, 20, 100])
    assert sign_flip_p(differences, range(160), seed=0) == pytest.approx(0.01349, abs=0.004)


def test_how_many_questions_would_show_three_points_by_hand() -> None:
    """10 gains, 10 losses of 100: variance 20/99; (1.959964 + 0.841621)^2 (20/99) / 0.03^2 = 1761.8."""
    differences = np.repeat([1.0, -1.0, 0.0], [10, 10, 80])
    assert questions_to_show(differences, range(100)) == 1762
    pairs = np.repeat(differences, 2)
    assert questions_to_show(pairs, [i // 2 for i in range(200)]) == 3524, "two that stand and fall together are one"
    assert questions_to_show(np.zeros(9), range(9)) is None


def test_a_gain_whose_interval_holds_zero_is_not_shown() -> None:
    assert verdict(Estimate(0.1, 0.02, 0.2), 0.01) == "shown"
    assert verdict(Estimate(-0.1, -0.2, -0.02), 0.01) == "shown"
    assert verdict(Estimate(0.1, -0.01, 0.2), 0.01) == "not shown"
    assert verdict(Estimate(0.1, 0.0, 0.2), 0.01) == "not shown"
    assert verdict(Estimate(0.1, 0.02, 0.2), 0.06) == "not shown", "Holm takes it back"
    assert verdict(Estimate(0.1, float("nan"), float("nan")), 0.01) == "not shown"


def test_the_table_pairs_by_question_and_corrects_by_holm(tmp_path: Path) -> None:
    base, better, same = "0" * 40, "1" * 20 + "0" * 20, "0" + "1" * 20 + "0" * 19
    ways = [way for name, right in (("a", base), ("b", better), ("c", same)) for way in ways_of(name, single(right))]
    found = gains(held_against(ways), seed=0)
    first, second, third = found.lines
    assert first.gain is None
    assert second.gain.gain.value == third.gain.gain.value == 0.5
    assert second.gain.verdict == "shown"
    assert second.gain.p_corrected == pytest.approx(2 * min(second.gain.p, third.gain.p))
    rows = gain_rows(found)
    assert [row["gain"] for row in rows] == ["", "+0.500", "+0.500"]
    assert fault_rows(found)[0] == {"way": "a", "wrong": "40", "no working": "40"}
    write(tmp_path, found, title="t <b>", commands=["python run.py"], seed=0)
    said = json.loads((tmp_path / "gains.json").read_text())
    assert said["ways"][1]["gain"]["value"] == 0.5
    assert said["ways"][0]["faults"] == {"no working": 40}
    assert "40 questions were asked" in (tmp_path / "gains.md").read_text()
    page = (tmp_path / "gains.html").read_text()
    assert "t &lt;b&gt;" in page
    assert "<b>" not in page
    swapped = gains(held_against([ways[1], ways[2]]), seed=0)
    assert swapped.lines[1].gain.gain.value == 0.0
    assert gain_rows(swapped)[1]["gain"] == "not shown", "one question better and one worse"


def test_other_questions_and_other_names_are_refused() -> None:
    ways = [*ways_of("a", single("000")), *ways_of("b", single("0000"))]
    with pytest.raises(RequestError, match="b and a were not asked the same questions"):
        gains(held_against(ways), seed=0)
    with pytest.raises(RequestError, match=r"report.baseline=c is none .* a; b"):
        held_against(ways, "c")


def test_samples_are_a_vote_and_what_a_judge_picks() -> None:
    """Answers 7 7 9 to one question, 9 is right and best scored: the vote is wrong, the judge right."""
    line = single("0")[0] | {"texts": ["a", "b", "c"], "read": ["7", "7", "9"], "labels": [False, False, True]}
    line |= {"lengths": [2, 3, 4], "answer": "7", "right_by_majority": False, "scores": [0.1, 0.2, 0.9], "best": 2}
    vote, best = ways_of("x", [line])
    assert (vote.name, best.name, best.over) == ("x: majority@3", "x: best@3", "x: majority@3")
    assert (vote.right[0], best.right[0]) == (0.0, 1.0)
    assert vote.tokens[0] == best.tokens[0] == 9
    assert [p["chosen"] for p in (vote.predictions[0], best.predictions[0])] == [0, 2]
    assert vote.faults == {"format": 1}, "no number can be read from it"
    assert best.faults == {}


def test_choices_and_what_a_judge_picks_of_them() -> None:
    line = {"question": "q", "expected": "B", "choices": ["A", "B"], "answer": "A", "right": False}
    line |= {"logprobs": [0.0, -1.0], "labels": [False, True], "scores": [0.1, 0.2], "best": 1}
    plain, best = ways_of("x", [line])
    assert (plain.right[0], best.right[0]) == (0.0, 1.0)
    assert plain.faults == {"B taken for A": 1}
    assert best.faults == {}


def test_power_line_says_so_where_nothing_differs() -> None:
    ways = [*ways_of("a", single("0101010101")), *ways_of("b", single("0101010101"))]
    assert "is not known" in power_line(gains(held_against(ways), seed=0))
    other = [*ways_of("a", single("0101010101")), *ways_of("b", single("1001010101"))]
    assert "would show a gain of 3 points" in power_line(gains(held_against(other), seed=0))
