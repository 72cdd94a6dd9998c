"""The calculator: exact results, written as people write them; whatever is no plain sum is left alone, at once."""

import time

import pytest

from evaluation.tools.calculator import answer, exact

RESULTS = {
    "12+7": "19", "7/2": "3.5", "1/3": "0.333333", "2/3*100": "66.6667", "1,200*2": "2400", "0.1+0.2": "0.3",
    "$5*3": "15", "-3+5": "2", "(2+3)*4": "20", " 12 + 7 ": "19", "20*.5": "10", "10/4*2": "5", "1/3000": "0.000333333",
    "1234567.25*1": "1234567.25", "99.999999*1": "100", "3-8": "-5", "-(2+1)/2": "-1.5", "1/3*3": "1",
    "12345678901234567890*10": "123456789012345678900",
}  # fmt: skip
LEFT_ALONE = [
    "7/0", "1/(2-2)", "x", "9**9**9", "2**3", "3//2", "7%2", "٣+٤", "１２+7", "1²+1", "5$3", "12,7+1", "1,23", "(1)(2)",
    "1 2", "007+1", "1_000", "1e9", "0x1F", "1.2.3", "", "()", "12\n+3", "__import__", "a+1", "1+", "1j+2", "True+1",
    "10*" * 31 + "10", "(" * 101 + "1" + ")" * 101, "-" * 150 + "1", "1" * 201,
]  # fmt: skip


@pytest.mark.parametrize(("asked", "result"), RESULTS.items())
def test_results_by_hand(asked, result):
    assert answer(asked) == result


@pytest.mark.parametrize("asked", LEFT_ALONE, ids=lambda asked: repr(asked[:20]))
def test_what_is_no_plain_sum_is_left_to_the_model(asked):
    assert answer(asked) is None


@pytest.mark.parametrize("one", ["1+", "9**", "(", "1", "<<1+1=", "٣", "1,111", "-", ".", "$", " "])
def test_ten_megabytes_cost_nothing(one):
    start = time.process_time()
    assert exact(one * (10_000_000 // len(one))) is None
    assert exact(one * 40 + "x") is None  # as long as is read: no way of reading it is tried twice
    assert time.process_time() - start < 1  # an exponential search would take years
