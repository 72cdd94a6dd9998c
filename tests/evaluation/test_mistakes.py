"""Wrong answers sorted by their first fault: every class on an answer worked by hand."""

import pytest

from evaluation.mistakes import CLASSES, class_of, fault, steps, worth

EXPECTED = "12+7=<<12+7=19>>19\n19-5=<<19-5=14>>14\n#### 14"
FAULTS = [
    ("12+7=<<12+7=18>>18\n18-5=<<18-5=13>>13\n#### 13", "arithmetic slip"),
    ("12-7=<<12-7=5>>5\n5-5=<<5-5=0>>0\n#### 0", "wrong operation"),
    ("12+8=<<12+8=20>>20\n20-5=<<20-5=15>>15\n#### 15", "other numbers"),
    ("12+7=<<12+7=19>>19\n#### 19", "off by one step"),
    (EXPECTED.replace("#### 14", "14-5=<<14-5=9>>9\n#### 9"), "off by one step"),
    (EXPECTED.replace("#### 14", "#### 15"), "wrong last line"),
    ("#### 3", "no working"),
    ("12+7=<<12+7=19>>19\nso it is 14", "format"),
    ("7-12=<<7-12=-5>>-5\n#### 5", "wrong operation"),
]


@pytest.mark.parametrize(("text", "expected"), FAULTS, ids=[f"{i} {row[1]}" for i, row in enumerate(FAULTS)])
def test_a_wrong_answer_has_one_class(text: str, expected: str) -> None:
    assert fault(EXPECTED, text, stopped=True) == expected
    assert expected in CLASSES


def test_an_answer_that_was_cut_off_is_no_fault_of_format() -> None:
    assert fault(EXPECTED, "12+7=<<12+7=19>>19\n19-5=<<19-", stopped=False) == "truncated"
    assert fault(EXPECTED, "nineteen", stopped=True) == "format"


def test_steps_are_recomputed_not_run() -> None:
    assert [step.is_right for step in steps("<<48/2=24>>24 <<(3*5)+2=17>>17 <<1/3=0.33>>0.33 <<2+2=5>>5")] == [
        True, True, True, False,
    ]  # fmt: skip
    assert worth("$1,200*.5") == 600
    for harmless in ("__import__('os').getcwd()", "1/0", "2**9", "", "9e999"):
        assert worth(harmless) is None


def test_flips_of_sentiment_and_choices() -> None:
    flip = {"expected": "positive", "answer": "negative", "right": False, "choices": ["negative", "positive"]}
    assert class_of(flip | {"logprobs": [0.0, -1.0]}) == "positive taken for negative"
    free = flip | {"texts": ["no idea"], "read": [None], "stopped": [True]}
    assert class_of(free) == "format"
    assert class_of(free | {"stopped": [False]}) == "truncated"
    assert class_of(free | {"right": True}) is None
    scene = {"expected": "a b", "answer": "c d", "right": False, "choices": ["a b", "c d"], "logprobs": [0.0, 0.0]}
    assert class_of(scene) == "wrong choice"
    summary = {"expected": "A greets.", "right": False, "choices": [], "texts": ["x"], "read": ["x"]}
    assert class_of(summary) == "another text"
