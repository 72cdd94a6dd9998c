"""The page is one file that needs nothing else; texts cannot break out of it."""

import json
import re

import pytest

from inspection.cases import Case, cases
from inspection.charts import bars, log_log, short, spans
from inspection.maps import Maps
from inspection.page import Cell, Page, Tokens, facts, table
from inspection.terminal import coloured, plain
from tests.hostile import HOSTILE, assert_stays_text


@pytest.fixture
def page(tmp_path):
    def write(**texts) -> str:
        page = Page(title="a & b", about="about <it>", texts={0: "</script><b>", 1: "<!-- \ud800"}, specials=[1])
        page.add("Facts", facts({"name": "<value>"}))
        page.add_tokens("Rows", [Tokens("row <1>", [0, 1], [1, -100], documents=[0, 1], again=1), Tokens("2", [1])])
        page.write(tmp_path / "page.html")
        return (tmp_path / "page.html").read_text(encoding="utf-8")

    return write()


def test_it_refers_to_nothing_outside(page):
    assert not re.search(r"""(src|href)=["'](?!#)""", page)
    assert "http" not in page
    assert "@import" not in page


def test_text_stays_text(page):
    assert page.count("</script>") == 2  # its own two
    assert "<!-- " not in page
    assert "&lt;value&gt;" in page
    data = json.loads(re.search(r'<script id="data" type="application/json">(.*?)</script>', page, re.DOTALL)[1])
    assert data["texts"]["0"] == "</script><b>"
    assert data["groups"] == [
        [{"t": "row <1>", "i": [0, 1], "y": [1, -100], "d": [0, 1], "a": 1}, {"t": "2", "i": [1]}]
    ]


def test_hostile_text_stays_text_in_every_part_of_a_page():
    page = Page(HOSTILE, HOSTILE, lead=HOSTILE, texts={0: HOSTILE})
    page.add(HOSTILE, HOSTILE, HOSTILE)  # a body that nobody marked as HTML
    page.add("Facts", facts({HOSTILE: HOSTILE}) + table([HOSTILE], [[HOSTILE], [Cell(HOSTILE, "n", 0.5)]]))
    page.add("Cases", cases([Case(HOSTILE, [(HOSTILE, HOSTILE)])]))
    page.add("Chart", bars([HOSTILE], {HOSTILE: [1], "b": [2]}, unit=HOSTILE))
    page.add_tokens("Tokens", [Tokens(HOSTILE, [0])])
    page.add_maps("Maps", Maps([HOSTILE], verb=HOSTILE))
    page.add_routes("Routes", {"labels": [HOSTILE], "experts": 1, "layers": []})
    assert_stays_text(page.html(), times=17)


def test_numbers_in_tables():
    assert '<td class="n">12,345</td><td>&lt;x&gt;</td>' in table(["a", "b"], [(12345, "<x>")])


@pytest.mark.parametrize(
    "svg",
    [
        log_log({"a": [(1, 1000), (10, 1)], "b": [(1, 5)]}, x="rank", y="count"),
        bars(["one", "two"], {"train": [1, 20.5], "val": [0, 0]}, unit="documents"),
        spans([(0, 10), (5, 15)], 20, unit="tokens"),
    ],
    ids=["log_log", "bars", "spans"],
)
def test_charts_are_well_formed(svg):
    from xml.etree import ElementTree

    ElementTree.fromstring(svg)
    assert "nan" not in svg


def test_short_numbers():
    assert [short(x) for x in (1, 1000, 2_500_000, 0.1)] == ["1", "1k", "2.5M", "0.1"]


def test_in_a_terminal():
    texts, targets, documents = ["a", "\x1b[2J", "c"], [1, -100, 2], [0, 0, 1]
    assert plain(texts, targets, documents) == "a|(\u241b[2J)\nc"
    assert coloured(texts, targets, documents).count("\x1b[2m") == 1
    assert "\x1b[2J" not in coloured(texts)  # no text steers the terminal
