"""Wrong answers sorted by their first fault: every class on an answer worked by hand."""

import pytest

from evaluation.mistakes import CLASSES, class_of, counted, drawn, examples, fault, steps, worth

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


QUESTION = "Tom has 12 pens. He buys 7 more, then loses 5."
BREAKS = [
    ("12+8=<<12+8=20>>20\n20-5=<<20-5=15>>15\n#### 15", "chain break"),  # 8 stands nowhere
    ("12+5=<<12+5=17>>17\n17-7=<<17-7=10>>10\n#### 10", "other numbers"),  # 5 is a number of the question
    ("12+7=<<12+7=19>>19\n12-5=<<12-5=7>>7\n#### 7", "chain break"),  # it does not go on from 19
    (EXPECTED.replace("#### 14", "14-5=<<14-5=9>>9\n#### 9"), "off by one step"),  # 14 is a result, 5 was asked about
    (EXPECTED.replace("#### 14", "14-3=<<14-3=11>>11\n#### 11"), "chain break"),
    ("12+7=<<12+7=18>>18\n3-1=<<3-1=2>>2\n#### 2", "arithmetic slip"),  # the first fault is the slip
]


@pytest.mark.parametrize(("text", "expected"), BREAKS, ids=[f"{i} {row[1]}" for i, row in enumerate(BREAKS)])
def test_a_chain_breaks_where_a_number_comes_out_of_nowhere(text: str, expected: str) -> None:
    assert fault(EXPECTED, text, stopped=True, question=QUESTION) == expected


def test_workings_that_do_not_go_on_from_the_line_before_are_no_breaks() -> None:
    """As many of GSM8K's own: two products, then their sum; 60 minutes stand in no question."""
    expected = "2*60=<<2*60=120>>120\n3*4=<<3*4=12>>12\n120+12=<<120+12=132>>132\n#### 132"
    text = expected.replace("120+12=<<120+12=132>>132", "120+12=<<120+12=133>>133")
    assert fault(expected, text, stopped=True, question="2 hours and 3 times 4?") == "arithmetic slip"
    other = expected.replace("3*4=<<3*4=12>>12", "4*2=<<4*2=8>>8")
    assert fault(expected, other, stopped=True, question="2 hours and 3 times 4?") == "other numbers"


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
    assert class_of(flip | {"logprobs": [0.0, -1.0]}) == "sentiment flip"
    assert class_of(flip | {"texts": ["negative"], "read": ["negative"]}) == "sentiment flip"
    letters = flip | {"expected": "B", "answer": "C", "choices": ["B", "C"], "logprobs": [0.0, -1.0]}
    assert class_of(letters) == "B taken for C"
    free = flip | {"texts": ["no idea"], "read": [None], "stopped": [True]}
    assert class_of(free) == "format"
    assert class_of(free | {"stopped": [False]}) == "truncated"
    assert class_of(free | {"right": True}) is None
    scene = {"expected": "a b", "answer": "c d", "right": False, "choices": ["a b", "c d"], "logprobs": [0.0, 0.0]}
    assert class_of(scene) == "wrong choice"
    summary = {"expected": "A greets.", "right": False, "choices": [], "texts": ["x"], "read": ["x"]}
    assert class_of(summary) == "another text"
    assert class_of(summary | {"unsupported": ["Rome"]}) == "unsupported fact"
    assert class_of(summary | {"unsupported": []}) is None


def test_examples_are_chosen_by_seed() -> None:
    wrong = {"expected": "B", "answer": "C", "right": False, "choices": ["B", "C"], "logprobs": [0.0]}
    lines = [wrong | {"i": i} for i in range(20)] + [wrong | {"i": 20, "answer": "D"}, wrong | {"i": 21, "right": True}]
    assert counted(lines) == {"B taken for C": 20, "B taken for D": 1}
    found = [[p["i"] for p in examples(lines, 3, seed=seed)["B taken for C"]] for seed in (0, 0, 1)]
    assert found[0] == found[1] != found[2]
    assert all(len(chosen) == 3 and chosen == sorted(chosen) for chosen in found)
    assert found[0] != [0, 1, 2], "not the first ones"
    assert len(drawn(lines, 100, seed=0, name="x")) == 22
