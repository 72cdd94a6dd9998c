"""Programs measured in turn: each update once, the first ones left out, ratios round by round, failures in words."""

import pytest

from benchmarks._in_turn import Side, in_turn


def test_each_side_is_timed_by_itself_and_the_first_update_does_not_count():
    found = in_turn("tests.benchmarks.turning", ["2", "6"], rounds=3)
    assert [len(side.seconds) for side in found.values()] == [3, 3]
    assert found["2"].median >= 0.02
    assert found["6"].median >= 0.06
    assert all(0.001 < side.memory < 1 for side in found.values())


def test_a_side_that_fails_ends_the_benchmark_with_its_last_words():
    with pytest.raises(SystemExit, match="no time at all"):
        in_turn("tests.benchmarks.turning", ["1", "0"], rounds=3)


def test_a_ratio_is_the_median_of_those_of_each_round():
    """The second round was slow for both: 2, 3 and 5 times as long, and 10 / 2 by the medians."""
    assert Side([4.0, 90.0, 10.0]).times(Side([2.0, 30.0, 2.0])) == 3.0
