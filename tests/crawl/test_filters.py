"""Reasons to drop: given text -> the reason; each filter can be switched off, and its bound moved."""

import copy
from pathlib import Path

import pytest

from crawl.document import Document, Drop, Page
from crawl.filters import FILTERS, judge
from crawl.filters.language import detect
from crawl.filters.text import Text
from crawl.processing.process import process
from crawl.settings import CRAWL
from tests.crawl.labelled.score import load
from tests.crawl.site import article, sentence

PROSE = " ".join(sentence(n) for n in range(20)) + " The end of it, and that with them."
CASES = {
    "too_long": PROSE * 2000,
    "too_short": "The short and the long of it.",
    "lorem_ipsum": "lorem ipsum " + PROSE[:600],
    "curly_braces": "{ } " * 20 + PROSE,
    "mean_word_length": "a b c of the and d e " * 20,
    "symbol_ratio": "#one #two " * 20 + PROSE,
    "bullet_lines": "\n".join(f"- {sentence(n)}" for n in range(20)),
    "ellipsis_lines": "\n".join(f"{sentence(n)}..." for n in range(20)),
    "sentence_ends": "\n".join(sentence(n).rstrip(".") for n in range(20)),
    "short_lines": "\n".join(f"{sentence(n, 2)[:28]}" for n in range(40)) + "\nthe and of",
    "repeated_lines": "\n".join([sentence(1)] * 8 + [sentence(n) for n in range(12)]),
    "repeated_paragraphs": "\n\n".join([sentence(1) + "\n" + sentence(2)] * 8 + [sentence(n) for n in range(3, 12)]),
    "letters_ratio": "the and of " + "1234 5.67 " * 60 + PROSE[:300],
    "stop_words": "river stone harbour window market garden " * 3 + " ".join(f"copper{n} meadow{n}" for n in range(40)),
    "top_ngrams": " ".join(f"river harbour word{n} and the" for n in range(30)),
    "repeated_ngrams": " ".join([sentence(n) for n in range(8)] * 3),
}
ON = copy.deepcopy(CRAWL)
for name in FILTERS:
    ON["filters"][name]["enabled"] = True


def only(name: str) -> dict:
    """Settings with one filter on."""
    settings = copy.deepcopy(CRAWL)
    for other in FILTERS:
        settings["filters"][other]["enabled"] = other == name
    return settings


def test_every_filter_has_a_case_and_bounds() -> None:
    assert CASES.keys() == FILTERS.keys() == CRAWL["filters"].keys()


@pytest.mark.parametrize("name", FILTERS)
def test_given_text_expected_reason(name: str) -> None:
    text = Text(CASES[name], "en")
    assert judge(text, only(name)) == (False, name)
    off = copy.deepcopy(ON)
    off["filters"][name]["enabled"] = False
    assert judge(text, off)[1] != name


def test_prose_passes_all_of_them() -> None:
    text = "\n\n".join(" ".join(sentence(40 * p + n) for n in range(5)) for p in range(8)) + " It was the end of that."
    assert judge(Text(text, "en"), ON) == (True, None)


def test_bounds_can_be_moved() -> None:
    settings = only("too_short")
    settings["filters"]["too_short"]["min_words"] = 3
    assert judge(Text(CASES["too_short"], "en"), settings) == (True, None)


def test_languages() -> None:
    german = "Der Fährmann setzt seit dem Hochwasser niemanden mehr über, denn die neue Brücke ist endlich fertig."
    assert detect(german, "en") == "de", "clear text is believed against the page"
    assert detect("x = 1", "fr") == "fr", "too little to tell"
    settings = only("none") | {"languages": ["en"]}
    assert judge(Text(german, "de"), settings) == (False, "language")
    assert judge(Text(german, "en"), settings) == (True, None)


def test_languages_without_spaces_count_characters() -> None:
    text = Text("吾輩は猫である。名前はまだ無い。どこで生れたかとんと見当がつかぬ。" * 3, "ja")
    assert judge(text, only("too_short")) == (True, None)
    assert judge(text, only("mean_word_length")) == (True, None)


def test_labelled_pages_are_kept_but_for_their_length() -> None:
    """Code, tables, forums, right-to-left text: none is dropped for being what it is."""
    settings = copy.deepcopy(CRAWL)
    settings["filters"]["too_short"]["enabled"] = False
    for page in load():
        found = process(Page("http://a.org/", page.body), settings)
        assert isinstance(found, Document), (page.kind, found)


def test_a_page_becomes_a_document() -> None:
    page = Page("https://www.a.org/x", article(7), content_type="text/html", fetched_at="2026-01-01T00:00:00Z")
    found = process(page, CRAWL)
    assert isinstance(found, Document)
    assert (found.title, found.site, found.language, len(found.signature)) == ("Story 7", "a.org", "en", 112)
    assert found == process(page, CRAWL)
    assert process(Page("http://a.org/", b"<nav>Home</nav>"), CRAWL) == Drop("no_text")


def test_sources_are_named() -> None:
    for file in Path(__file__).parents[2].glob("crawl/filters/*.py"):
        if file.name not in ("__init__.py", "text.py"):
            assert "https://" in file.read_text("utf-8"), f"{file.name} says where its bounds come from"


def test_words_may_be_too_long_as_well() -> None:
    text = Text("Donaudampfschifffahrtsgesellschaft " * 20, "de")
    assert judge(text, only("mean_word_length")) == (False, "mean_word_length")
