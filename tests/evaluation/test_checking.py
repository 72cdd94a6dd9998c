"""The calculator's check of a working, and what of it is kept."""

import pytest

from datamodules.reading.problems import make_problem
from evaluation.checking import check, has_marks

GOOD = "12+7=<<12+7=19>>19\n19-5=<<19-5=14>>14\n#### 14"
SLIP = "12+7=<<12+7=19>>19\n19-5=<<19-5=13>>13\n#### 13"


def test_right_workings_hold() -> None:
    assert check(GOOD) == (True, len(GOOD))
    assert all(check(make_problem(i, max_steps=3).solution).holds for i in range(60))
    parts = "2*3=<<2*3=6>>6\n4*5=<<4*5=20>>20\n6+20=<<6+20=26>>26\n#### 26"
    assert check(parts).holds, "a result may be taken up later"


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        (SLIP, "12+7=<<12+7=19>>19\n"),
        (GOOD.replace("#### 14", "#### 15"), GOOD[: GOOD.index("####")]),
        ("12+7=<<12+7=19>>19\n18-5=<<18-5=13>>13\n#### 13", "12+7=<<12+7=19>>19\n"),  # 19 is never taken up
        ("12+7=<<12+7=19>>18\n18-5=<<18-5=13>>13\n#### 13", ""),  # the copy is another
        ("12+7=<<12+7=x>>19\n#### 19", ""),
        ("#### 14", ""),
        ("fourteen", "fourteen"),
    ],
)
def test_faults_are_found_where_they_are(text: str, kept: str) -> None:
    found = check(text)
    assert not found.holds
    assert text[: found.kept] == kept


def test_a_line_that_was_cut_off_is_not_kept() -> None:
    cut = GOOD[: GOOD.index("14>>14") + 2]
    assert cut[: check(cut, ended=False).kept] == "12+7=<<12+7=19>>19\n"
    assert not check(GOOD[: GOOD.index("####")], ended=True).holds, "without a last line"
    assert has_marks(SLIP)
    assert not has_marks("12+7=19")
