"""Answers read out of texts: numbers, letters, words; the unreadable apart from the wrong."""

import pytest

from evaluation.answers import is_right, letter, number, plain, score, written


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("2+2=<<2+2=4>>4\n#### 4", "4"), ("#### 1,200", "1200"), ("#### -3.50", "-3.5"), ("#### 5.0", "5"),
        ("####72.", "72"), ("#### $18", "18"), ("the answer is 4", None), ("####", None), ("#### x", None), ("", None),
        ("#### 7\n#### 8", "7"), ("#### 7.50", "7.5"), ("#### .5", "0.5"), ("#### 1.2.3", None),
        ("#### 1234567", "1234567"),
    ],
)  # fmt: skip
def test_numbers_as_gsm8k_reads_them(text, read):
    assert number(text) == read


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("The correct answer is C. 17 millimeters\n\nExplanation: A spider", "C"), ("A. 17 meters", "A"), ("(B)", "B"),
        ("B", "B"), ("Answer: D", "D"), ("the answer is (a)", "A"), ("A spider is small", None), ("", None),
        ("I do not know", None), ("Because 17 cm is long. A. no", None), ("The answer is a mystery", None),
    ],
)  # fmt: skip
def test_letters(text, read):
    assert letter(text) == read


def test_numbers_are_written_without_exponent_or_idle_zeros():
    assert [written(x) for x in (1234567.0, 0.5, "7.50", 100, -0.0, 1e-7)] == [
        *("1234567", "0.5", "7.5", "100", "0", "0.0000001")
    ]


def test_words():
    assert plain(" Positive \n") == "positive"
    assert plain(" ") is None


def test_the_unreadable_counts_as_wrong_and_apart():
    found = score(["#### 4", "#### 5", "four"], ["so\n#### 4"] * 3, "number")
    assert (found.n, found.right, found.unparsed) == (3, 1, 1)
    assert found.exact_match == pytest.approx(1 / 3)
    assert (found + found).n == 6


def test_two_unreadable_answers_are_not_equal():
    assert not is_right("no idea", "none either", "number")
