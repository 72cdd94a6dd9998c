"""Numbers and names of a summary that its source lacks, each by hand."""

import pytest

from evaluation.facts import unsupported

SOURCE = "Amanda: I baked 12 cookies for Jerry's party on Monday. It cost $1,200, two boxes are left."


@pytest.mark.parametrize(
    ("summary", "expected"),
    [
        ("Amanda baked 12 cookies for Jerry.", []),
        ("She baked 13 cookies for Jerry.", ["13"]),
        ("She baked cookies for Tom, and it cost 1200.", ["Tom"]),
        ("There are 2 boxes left.", []),  # the source says two
        ("Tom baked.", []),  # the first word of a sentence may be any word: passed over
        ("She baked for Tom's sister. Then Tom left on Friday at 9.", ["9", "Tom", "Friday"]),
        ("I think I'm OK with JERRY.", []),
        ("", []),
    ],
)
def test_what_the_source_lacks(summary: str, expected: list[str]) -> None:
    assert unsupported(summary, SOURCE) == expected
