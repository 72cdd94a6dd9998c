"""Answers read out of texts: letters, choices, words; the unreadable apart from the wrong."""

import pytest

from evaluation.answers import choice, is_right, letter, plain, score


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


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("**B**", "B"), ("*B*", "B"), ("`B`", "B"), ("<b>B</b>", "B"), ("$B$", "B"), ("\\(B\\)", "B"), ("[B]", "B"),
        ("\\boxed{B}", "B"), ("The answer is: $\\boxed{\\text{B}}$", "B"), ("\\textbf{B}", "B"), ("option B", "B"),
        ("Option b", "B"), ("The answer is option D", "D"), ("The correct option is (D).", "D"), ("Answer: b", "B"),
        ("**Answer: C**", "C"), ("Final Answer: **(C)**", "C"), ("Answer:\nB", "B"), ("Answer - B", "B"),
        ("The best answer is C", "C"), ("The answer is B because 2 < 3", "B"), ("The answer is A because", "A"),
        ("B is correct", "B"), ("I choose option C because A is wrong", "C"), ("I think it's B.", "B"), ("b)", "B"),
        ("Option A is wrong, the answer is B", "B"), ("(b) four", "B"), ("Answer: A spider", None),
        ("Answer: I do not know", None), ("The answer is not A", None), ("Option A and option B", None),
        ("e.g. this", None),
    ],
)  # fmt: skip
def test_F11_letters_as_people_write_them(text, read):
    assert letter(text) == read


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("The answer is B. No wait, the answer is C.", "C"), ("The answer is B. No wait, it's C.", "C"),
        ("B. No, that is wrong: (c)", "C"), ("Answer: B\nFinal answer: C", "C"), ("B. Actually, option C.", "C"),
        ("The answer is B. Wait, let me think about option C. It is too small.", "B"), ("A. No, it does not rain", "A"),
        ("The answer is B, not A. Wait, A is correct.", "A"),
        ("<think>The answer is A</think>\nB", "B"), ("<think>Maybe A", None), ("The answer is C or D", None),
        ("The answer is (C) and (D).", None), ("I'd go with C.", "C"), ("Answer：C", "C"),
        ("Answer: B\n\nQuestion: Which?\nA. x\nB. y\nAnswer: A", "B"), ("B\n\nQuestion: Which?\nAnswer: A", "B"),
    ],
)  # fmt: skip
def test_F11_the_last_letter_said_counts(text, read):
    assert letter(text) == read


RAIN = ("It rains.", "It snows.")


@pytest.mark.parametrize(
    ("text", "choices", "read"),
    [
        # literal, whatever stands at the end of a choice
        ("It rains.", RAIN, "It rains."), ("I think it rains. Yes", RAIN, "It rains."),
        ("it rains, and", RAIN, "It rains."),
        ("10%", ("10%", "20%"), "10%"), ("the answer is 10%.", ("10%", "20%"), "10%"),
        ("f(x)", ("f(x)", "g(x)"), "f(x)"),
        ("use +", ("+", "-"), "+"), ("US", ("us", "US"), "US"), ("Paris", ("Paris.", "Rome."), "Paris."),
        # the longest wins
        ("I use C++ daily", ("C", "C++", "C#"), "C++"), ("I use C", ("C", "C++", "C#"), "C"),
        ("50%", ("50", "50%"), "50%"),
        ("New York City", ("New York", "New York City"), "New York City"),
        ("(a) and (b)", ("(a)", "(a) and (b)"), "(a) and (b)"),
        # never a part of a word or a number
        ("positively", ("negative", "positive"), None), ("1.55", ("1", "1.5"), None), ("-5", ("5", "3"), None),
        ("-5", ("5", "-5"), "-5"), ("10:30", ("10", "30"), None),
        # scripts without spaces
        ("\u8fd9\u662f\u6b63\u9762\u7684\u3002", ("\u6b63\u9762", "\u8d1f\u9762"), "\u6b63\u9762"),
        ("<think>It rains.</think> It snows.", RAIN, "It snows."), ("It rains.\n\nQuestion: x", RAIN, "It rains."),
        ("both it rains. and it snows.", RAIN, None), ("", RAIN, None), ("x", ("", "x"), "x"),
    ],
)  # fmt: skip
def test_F10_choices_by_their_literal_text_longest_first(text, choices, read):
    assert choice(text, choices) == read


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("Positive.", "positive"),
        ("It is negative, I think", "negative"),
        ("neither positive nor negative", None),
        ("negative: not positive", "negative"),
    ],
)
def test_a_choice_is_read_where_the_text_names_one(text: str, read: str | None) -> None:
    assert choice(text, ("negative", "positive")) == read


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
