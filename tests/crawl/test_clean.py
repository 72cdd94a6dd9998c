"""Cleaning steps: given text -> expected text."""

import copy

import pytest

from crawl.clean import clean
from crawl.clean.boilerplate import without_boilerplate_lines
from crawl.clean.mojibake import fix_mojibake
from crawl.clean.personal import mask
from crawl.settings import CRAWL


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("schÃ¶n und grÃ¼n", "schön und grün"),
        ("plain", "plain"),
        ("“quotes” stay", "“quotes” stay"),
        ("schön", "schön"),
    ],
)
def test_mojibake(given: str, expected: str) -> None:
    assert fix_mojibake(given) == expected


@pytest.mark.parametrize(
    "line",
    [
        "Please enable JavaScript to view this page.",
        "We use cookies to improve your experience.",
        "© 2024 Example Ltd. All rights reserved.",
        "Privacy policy | Terms of use",
    ],
)
def test_banner_lines_go(line: str) -> None:
    assert without_boilerplate_lines(f"Before.\n{line}\nAfter.") == "Before.\nAfter."


@pytest.mark.parametrize(
    "line",
    [
        "JavaScript is a language whose numbers are all floating point.",
        "A cookie is a small piece of data that a server asks a browser to keep.",
        "The privacy policy of the state changed in 1974, when the law was passed.",
    ],
)
def test_prose_about_such_things_stays(line: str) -> None:
    assert without_boilerplate_lines(line) == line


def test_unicode_and_white_space() -> None:
    given = "e\u0301t\u00e9\u00a0\u200b \r\n\n\n\nx\u2028y\n    code"
    assert clean(given, CRAWL) == "été\n\nx\ny\n    code"
    assert clean("می\u200cگفت", CRAWL) == "می\u200cگفت", "joiners are letters' business in Persian"


@pytest.mark.parametrize(
    ("kind", "given", "expected"),
    [
        ("email", "write to jo.doe+x@mail.example.org.", "write to |||EMAIL_ADDRESS|||."),
        ("email", "a decorator @property and 3@4", None),
        ("ip", "from 8.8.8.8 and 127.0.0.1, version 1.2.3", "from |||IP_ADDRESS||| and 127.0.0.1, version 1.2.3"),
        ("phone", "call +49 30 1234567 now", "call |||PHONE_NUMBER||| now"),
        ("phone", "from 1914 to 1918, 12345678 people", None),
    ],
)
def test_personal_data(kind: str, given: str, expected: str | None) -> None:
    settings = copy.deepcopy(CRAWL)
    assert mask(given, settings) == (given, {}), "off unless asked for"
    settings["mask"][kind] = True
    assert mask(given, settings) == (expected or given, {kind: 1} if expected else {})
