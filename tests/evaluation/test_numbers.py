"""Numbers out of answers: the value, or nothing; never the digits up to the first odd character."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evaluation.answers import is_right
from evaluation.mistakes import fault
from evaluation.numbers import number, value, written

AFTER_MARKS = [  # what stands behind GSM8K's ####, and its value
    # plain, signs, points
    ("72", "72"), ("72.", "72"), ("5.0", "5"), ("7.50", "7.5"), (".5", "0.5"), ("-3.50", "-3.5"), ("+5", "5"),
    ("\u22125", "-5"), ("\u20135", "-5"), ("-0", "0"), ("007", "7"), ("1234567", "1234567"), ("5!", "5"), ("--5", None),
    # groups of thousands
    ("1,200", "1200"), ("1,234,567.5", "1234567.5"), ("9{,}500", "9500"), ("9,\\!500", "9500"), ("1 234", "1234"),
    ("1\u202f234 567", "1234567"), ("1'234", "1234"), ("1_000", "1000"), ("12,34,567", "1234567"), ("1.234", "1.234"),
    ("1.234,50", "1234.5"), ("1.234.567", "1234567"),
    ("1,5", None), ("1,23", None), ("1,2345", None), ("1,234,5", None), ("1 2", None), ("1 2345", None),
    ("1.2.3", None),
    # fractions and powers
    ("1/2", "0.5"), ("1/3", "1/3"), ("-1/2", "-0.5"), ("3 1/2", "3.5"), ("\u00bd", "0.5"), ("3\u00bd", "3.5"),
    ("\\frac{1}{2}", "0.5"), ("3\\dfrac{1}{2}", "3.5"), ("\\frac12", "0.5"), ("5/0", None), ("1/2/3", None),
    ("1e3", "1000"), ("1.5E-3", "0.0015"), ("2\u00d710^3", "2000"), ("2 \\times 10^{-3}", "0.002"),
    ("10\u00b3", "1000"),
    ("1e999999", None), ("0x10", None),
    # money, markup, units
    ("$18", "18"), ("-$5", "-5"), ("$-5", "-5"), ("-$-5", None), ("\\$5", "5"), ("\u20ac5", "5"), ("5 \u20ac", "5"),
    ("USD 5", "5"), ("**5**", "5"), ("*5*", "5"), ("`5`", "5"), ("$5$", "5"), ("\\(5\\)", "5"), ("\\boxed{5}", "5"),
    ("\\text{5}", "5"), ("25%", "25"), ("25\\%", "25"), ("72 km", "72"), ("72km", "72"), ("5 km/h", "5"),
    ("5 m^2", "5"), ("5\u00b0C", "5"), ("5 dollars per day", "5"), ("5 million", "5000000"), ("2 dozen eggs", "24"),
    ("5k", None), ("5M", None), ("5x", None), ("5 and a half", None), ("5 hours 30 minutes", None), ("5 or six", None),
    # what is more than one number, or none
    ("10:30", None), ("5-7", None), ("5 to 7", None), ("5\u20137", None), ("2+3", None), ("2+3=5", None), ("12-", None),
    ("(5)", None), ("5 * 3", None), ("x = 5", "5"), ("about 5", "5"), ("5, because 2+3=5", "5"), ("x", None),
    ("", None),
    ("nan", None), ("inf", None),
    # digits of other scripts
    ("\uff11\uff12", "12"), ("\u0663", "3"),
]  # fmt: skip


@pytest.mark.parametrize(("stated", "read"), AFTER_MARKS)
def test_F11_a_number_is_read_whole_or_not_at_all(stated: str, read: str | None) -> None:
    assert number(f"so 2+2=<<2+2=4>>4\n#### {stated}") == read


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("####72.", "72"), ("####\n72", "72"), ("#### 7\n#### 8", "7"), ("#### Step 1: add\n#### 6", "6"),
        ("####", None),
        ("#### <<3+2=5>>5", "5"), ("**#### 5**", "5"), ("The answer is 4.", "4"), ("**Answer:** $5", "5"),
        ("A: 18", "18"),
        ("He has 3\nA: 90,000", "90000"), ("Answer: \\boxed{3}, or \\boxed{\\frac{3}{4}}.", "0.75"), ("72", "72"),
        ("$5", "5"), ("<answer> 42 </answer>", "42"),
        ("12 pens", "12"), ("The answer is 5 because 2+3 = 5", "5"), ("the answer is 10:30", None),
        ("Tom has 12 pens.", None), ("12 pens. Then 5 more", None), ("12\n+7\n=19", None), ("I do not know 5", None),
        ("The answer is a mystery", None), ("", None),
    ],
)  # fmt: skip
def test_F11_where_the_answer_stands(text: str, read: str | None) -> None:
    assert number(text) == read


@pytest.mark.parametrize(
    ("text", "read"),
    [
        # stated again
        ("The answer is 5. No wait, the answer is 6.", "6"), ("The answer is 5.\nSo the answer is 6.", "6"),
        ("Answer: 5\nFinal answer: 6", "6"), ("The answer was 5. The answer should be 6.", "6"),
        ("The answer is 5. The answer is 5.", "5"), ("The answer is 5. The answer is not 6.", "5"),
        ("The answer is not 5. The answer is 6.", "6"), ("The answer is 5. I hope the answer is clear.", "5"),
        ("The answer is clear.\nThe answer is 5.", "5"), ("The answer is 1/2. Hmm, the answer is 1/3.", "1/3"),
        # taken back
        ("The answer is 5. No wait, it is 6.", "6"), ("The answer is 5. Wait, 6.", "6"),
        ("The answer is 5, no, 6.", "6"),
        ("The answer is 5. Actually, it should be $6.50.", "6.5"), ("The answer is 5 - scratch that, 6", "6"),
        ("The answer is 5.\nNo, that's wrong. The correct answer is 6.", "6"), ("The answer is 5, I mean 6.", "6"),
        ("The answer is 5. Sorry, 6 dollars.", "6"), ("The answer is 5. Oops: 6. No wait, 7.", "7"),
        ("The answer is actually 5.", "5"), ("The answer is 5 actually.", "5"), ("The answer is 5. No doubt.", "5"),
        # taken back, and what is said instead cannot be read
        ("The answer is 5. No wait, the answer is 10:30.", None), ("The answer is 5. Wait, the answer is six.", None),
        ("The answer is 5. No wait, it is 5 to 7.", None), ("The answer is 5. Wait, 2 + 3 is 6.", None),
        # looked at again, and found right
        ("The answer is 5. Wait, let me check: 2 + 3 = 5. Yes.", "5"), ("The answer is 5. Wait, that is fine.", "5"),
        # thoughts are not said
        ("<think>The answer is 4, #### 4.</think>\nThe answer is 5.", "5"), ("<think>#### 4</think>\n5", "5"),
        ("<think>a</think>#### 4<think>b</think>#### 5", "5"), ("<think>so it is 4. The answer is 4", None),
        ("4<think>", "4"), ("Answer：5", "5"),
        # a model that goes on to questions of its own
        ("The answer is 5.\n\nQuestion: 3+4?\nThe answer is 7.", "5"), ("5\nQ: What is 3+4?\nA: 7", "5"),
        ("A: 5\n\nProblem 2: 3+4?\nA: 7", "5"), ("Question: 2+3?\nA: 5", "5"),
    ],
)  # fmt: skip
def test_F11_the_last_word_counts(text: str, read: str | None) -> None:
    assert number(text) == read


def test_F11_no_two_fractions_are_equal_for_their_first_digit() -> None:
    assert not is_right("#### 1/2", "#### 1/3", "number")
    assert is_right("#### 2/6", "#### 1/3", "number")
    assert is_right("#### 9{,}500", "#### 9500", "number")
    assert fault("1/3=<<1/3=0.333>>0.333\n#### 0.333", "1/3=<<1/3=0.333>>0.333\n#### 1/3", stopped=True)


@settings(deadline=None)
@given(st.fractions(min_value=-(10**9), max_value=10**9))
def test_F11_what_is_written_is_read_again(exact) -> None:
    assert value(written(exact)) == exact


@settings(deadline=None)
@given(st.text(alphabet="0123456789 ,./-+$%e:#*{}\\^kmx\n", max_size=40))
def test_F11_any_text_is_a_number_or_none(text: str) -> None:
    read = number(f"#### {text}")
    assert read is None or number(f"#### {read}") == read


def test_numbers_are_written_without_exponent_or_idle_zeros() -> None:
    found = [written(x) for x in (1234567.0, 0.5, "7.50", 100, -0.0, 1e-7, -1.25)]
    assert found == ["1234567", "0.5", "7.5", "100", "0", "0.0000001", "-1.25"]
