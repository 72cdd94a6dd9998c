"""Exact and near duplicates: found across restarts, nothing remembered that was not committed, estimates right."""

import copy
import dataclasses
import hashlib
import random
import sqlite3
from pathlib import Path

import pytest

from crawl.dedup.documents import Dedup
from crawl.dedup.signatures import BANDS, ROWS, band_keys, signature
from crawl.document import Document, Drop
from crawl.settings import CRAWL
from tests.crawl.helpers import crawl, documents, manifest
from tests.crawl.site import Site, article, sentence


def text(seed: int, sentences: int = 40) -> list[str]:
    return " ".join(sentence(seed * 1000 + n) for n in range(sentences)).split()


def document(words: list[str], url: str = "http://a.org/") -> Document:
    joined = " ".join(words)
    digest = hashlib.sha256(joined.encode()).hexdigest()
    return Document(url, joined, sha256=digest, signature=signature(joined))


def changed(words: list[str], count: int, seed: int = 0) -> list[str]:
    """`count` words replaced."""
    words, chance = list(words), random.Random(seed)
    for at in chance.sample(range(len(words)), count):
        words[at] = f"changed{at}"
    return words


@pytest.fixture
def connection() -> sqlite3.Connection:
    return sqlite3.connect(":memory:", isolation_level=None)


def test_what_is_a_duplicate(connection: sqlite3.Connection) -> None:
    dedup, words = Dedup(connection, CRAWL), text(1)
    assert dedup.check(document(words)) == document(words)
    assert dedup.check(document(words)) == Drop("duplicate", document(words))
    near = document(changed(words, 6))
    assert dedup.check(near) == Drop("near_duplicate", near)
    assert isinstance(dedup.check(document([word.upper() + "," for word in words])), Drop), "case and commas"
    assert isinstance(dedup.check(document(changed(words, 150))), Document)
    assert isinstance(dedup.check(document(text(2))), Document)


def test_each_can_be_switched_off(connection: sqlite3.Connection) -> None:
    settings = copy.deepcopy(CRAWL)
    settings["dedup"] |= {"exact_duplicates": False, "near_duplicates": False}
    dedup = Dedup(connection, settings)
    assert all(isinstance(dedup.check(document(text(1))), Document) for _ in range(2))


def test_N40_remembered_across_processes_if_committed(tmp_path: Path) -> None:
    """A kill before the commit leaves nothing behind: the page is no duplicate of itself."""
    words = text(3)
    first = sqlite3.connect(tmp_path / "x.sqlite", isolation_level=None)
    dedup = Dedup(first, CRAWL)
    first.execute("BEGIN")
    dedup.check(document(words))
    first.close()
    second = sqlite3.connect(tmp_path / "x.sqlite", isolation_level=None)
    assert isinstance(Dedup(second, CRAWL).check(document(words)), Document)
    second.close()
    third = Dedup(sqlite3.connect(tmp_path / "x.sqlite", isolation_level=None), CRAWL)
    assert third.check(document(changed(words, 4))) == Drop("near_duplicate", document(changed(words, 4)))


def test_signatures_estimate_the_share_of_word_runs() -> None:
    """Broder 1997: equal values estimate |A & B| / |A | B| over runs of five words."""
    words = text(4, sentences=150)
    runs = [{tuple(w[at : at + 5]) for at in range(len(w) - 4)} for w in (words, changed(words, 40))]
    true = len(runs[0] & runs[1]) / len(runs[0] | runs[1])
    pairs = zip(signature(" ".join(words)), signature(" ".join(changed(words, 40))), strict=True)
    assert 0.6 < true < 0.95
    assert sum(a == b for a, b in pairs) / (BANDS * ROWS) == pytest.approx(true, abs=0.12)


def test_signatures_never_change() -> None:
    """They lie on disk and are compared with new ones."""
    values = signature("the quick brown fox jumps over the lazy dog")
    assert hashlib.sha256(repr((values, band_keys(values))).encode()).hexdigest()[:16] == "3f750e2bb8b00b0c"
    assert signature("...") == ()


@pytest.mark.slow
def test_near_duplicates_across_restarts_of_a_crawl(tmp_path: Path) -> None:
    """A copy with another first line is found by the second run of the same crawl."""
    with Site() as site:
        site.page("/", article(1, ["/one", "/two"], paragraphs=12))
        site.page("/one", article(2, paragraphs=12))
        site.page("/two", article(2, paragraphs=12).replace(b"<h1>Story 2</h1>", b"<h1>Story two, again</h1>"))
        crawl(tmp_path, f"start_urls=[{site.url}/]", "max_pages=2")
        crawl(tmp_path, f"start_urls=[{site.url}/]", "max_pages=3")
    assert manifest(tmp_path)["dropped"] == {"near_duplicate": 1}
    assert len(documents(tmp_path)) == 2


def framed(n: int, site: str = "a.org") -> Document:
    """A text between lines that its site puts around every text."""
    body = "\n\n".join(sentence(n * 10 + k) for k in range(14))
    whole = f"Stories from the harbour, since 1911\n\n{body}\n\nWrite to the editors of this paper\n\nNext"
    found = document(whole.split())
    digest = hashlib.sha256(whole.encode()).hexdigest()
    return dataclasses.replace(found, text=whole, sha256=digest, site=site, url=f"http://{site}/{n}")


def test_lines_that_a_site_repeats_go(connection: sqlite3.Connection) -> None:
    dedup = Dedup(connection, CRAWL)
    texts = [dedup.check(framed(n)) for n in range(12)]
    assert all(isinstance(found, Document) and "Stories from" in found.text for found in texts[:10])
    for n in (10, 11):
        found = texts[n]
        assert isinstance(found, Document)
        assert "Stories from" not in found.text
        assert "Write to the editors" not in found.text
        assert found.text.startswith(sentence(n * 10))
        assert found.text.endswith("Next"), "short lines stay"
        assert sentence(n * 10 + 7) in found.text
        assert found.sha256 == hashlib.sha256(found.text.encode()).hexdigest()
    other = dedup.check(framed(50, site="b.org"))
    assert isinstance(other, Document)
    assert "Stories from" in other.text, "another site is counted apart"


def test_lines_in_the_middle_stay(connection: sqlite3.Connection) -> None:
    dedup = Dedup(connection, CRAWL)
    for n in range(15):
        parts = [sentence(n * 20 + k) for k in range(14)]
        whole = "\n\n".join([*parts[:7], "New in version 3.8 of the programme", *parts[7:]])
        found = dedup.check(dataclasses.replace(document(whole.split()), text=whole, site="a.org"))
        assert isinstance(found, Document)
        assert "New in version" in found.text


def test_nothing_but_such_lines(connection: sqlite3.Connection) -> None:
    dedup = Dedup(connection, CRAWL)
    only = [
        dataclasses.replace(framed(1), text="Stories from the harbour, since 1911", sha256=f"{n:064x}")
        for n in range(11)
    ]
    assert [dedup.lines.strip(found).text for found in only[:10]] == [only[0].text] * 10
    assert dedup.check(only[10]) == Drop("boilerplate", only[10])
