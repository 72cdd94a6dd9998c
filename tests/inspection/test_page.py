"""The page is one file that needs nothing else; texts cannot break out of it."""

import json
import re

import pytest

from inspection.cases import Case, cases
from inspection.charts import COLOURS, NAME, bars, line, log_log, spans
from inspection.maps import Maps
from inspection.numbers import number, short, tick_label, ticks
from inspection.page import ASSETS, Cell, Page, Tokens, facts, table
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
        line({"a": [(0, 1.0), (1, -1.0)], "b": [(0, 0.0)]}, x="step", y="gain", intervals=[(0, 0.5, 1.5)]),
        line({"a": [(3, 2.0)]}, x="step", y="gain"),
    ],
    ids=["log_log", "bars", "spans", "line", "one point"],
)
def test_charts_are_well_formed(svg):
    from xml.etree import ElementTree

    ElementTree.fromstring(svg)
    assert "nan" not in svg


def texts_of(chart: str, kind: str = "") -> list[str]:
    return re.findall(rf'<text [^>]*text-anchor="\w+"{kind}>([^<]*)', chart)


@pytest.mark.parametrize(("draw", "marks"), [(line, ["50", "100"]), (log_log, ["1", "10", "100"])])
def test_F44_axes_have_names_and_round_whole_places(draw, marks):
    """Once the marks of 0 to 127 positions stood at 31.75, 63.5 and 95.25."""
    chart = draw({"a": [(k + 1, 2.0) for k in range(127)]}, x="positions apart", y="similarity (cosine)")
    assert texts_of(chart, ' class="axis"') == ["positions apart", "similarity (cosine)"]
    rules = re.findall(r'y2="\d+" stroke="var\(--line\)"/><text [^>]*>([^<]*)', chart)
    assert rules == marks


def test_F44_each_series_has_its_look_and_stands_in_the_legend():
    series = {f"run {k}": [(0, 0.0), (1, float(k))] for k in range(2 * len(COLOURS))}
    chart = line(series, x="step", y="loss")
    drawn = re.findall(r'<polyline points="[^"]*" fill="none" ([^>]*)/>', chart)
    assert len(set(drawn)) == len(series)
    assert re.findall(r"</svg> (run \d)", chart) == list(series)
    assert "figcaption" not in line({"alone": [(0, 1.0), (1, 2.0)]}, x="step", y="loss")


def test_F44_a_value_outside_of_its_neighbours_is_inside_of_the_axes():
    chart = line({"a": [(0, 2.0), (1, 3.0)]}, x="stage", y="loss", intervals=[(1, -5.0, 9.0)])
    heights = [float(y) for y in re.findall(r'y[12]?="([-\d.]+)"', chart)]
    assert min(heights) >= 0
    assert {"0", "5"} <= set(texts_of(chart))


def test_a_long_name_of_a_bar_is_shortened_in_sight_only():
    assert bars(["x" * 50, "y"], {"n": [1, 2]}, unit="rows").count("x" * NAME) == 1  # in its <title>


@pytest.mark.parametrize(
    ("ends", "whole", "marks"),
    [
        ((0, 127), True, [0, 50, 100]),
        ((0, 3), True, [0, 1, 2, 3]),
        ((0, 2), False, [0, 0.5, 1, 1.5, 2]),
        ((-0.25, 0.1), False, [-0.2, -0.1, 0, 0.1]),
        ((5, 5), True, [5]),
    ],
)
def test_ticks_worked_by_hand(ends, whole, marks):
    assert ticks(*ends, whole=whole) == pytest.approx(marks)


def test_labels_of_ticks_have_the_decimals_of_their_step():
    assert [tick_label(x, 0.05) for x in (0.1, -0.0, 1200)] == ["0.10", "0.00", "1,200.00"]
    assert [tick_label(x, 20) for x in (0, 1200)] == ["0", "1,200"]


def test_one_rule_for_numbers():
    found = [number(x) for x in (12345, 2.5, -0.12345, 1234.56, 0.0, 1.25e-6, float("nan"), None)]
    assert found == ["12,345", "2.5000", "-0.1235", "1,234.6", "0.0000", "1.25e-06", "", ""]


def test_F44_every_table_scrolls_in_itself_with_its_first_column_in_place(page):
    wide = table(["a", "b"], [(1, 2)], kind="merges")
    assert wide.startswith('<div class="wide merges"><table>')
    style = (ASSETS / "page.css").read_text(encoding="utf-8")
    style = style.partition("@media (max-width")[0]  # what narrow screens change, behind it
    rules = dict(re.findall(r"([^{}]+?)\s*\{([^{}]*)\}", re.sub(r"/\*.*?\*/", "", style)))
    rules = {name.strip(): rule for name, rule in rules.items()}
    assert "overflow: auto" in rules[".wide"]
    assert {"position: sticky", "left: 0", "background: inherit"} <= {
        part.strip() for part in rules[".wide tr > :first-child"].split(";")
    }
    assert "background" in rules["tr"]  # what lies below the first column does not shine through


def test_F44_a_page_has_both_colour_schemes_and_nothing_fixed_in_charts():
    style = (ASSETS / "page.css").read_text(encoding="utf-8")
    light, dark = (set(re.findall(r"(--[\w]+):", part)) for part in style.split("prefers-color-scheme: dark")[:2])
    assert light == dark
    charts = bars(["a"], {"n": [1]}, unit="rows") + line({"a": [(0, 1.0), (1, 2.0)]}, x="x", y="y")
    assert not re.search(r'(fill|stroke)="(?!var|none)', charts)


def test_F44_maps_name_what_their_axes_are():
    maps = Maps(["a", "b"], verb="looks at", rows="token that looks", columns="token it looks at")
    maps.add("layer 0", "layer 0, head 0", bytes(4))
    page = Page("Attention")
    page.add_maps("Heads", maps)
    data = json.loads(re.search(r'<script id="data" type="application/json">(.*?)</script>', page.html(), re.DOTALL)[1])
    assert data["maps"][0] | {"maps": []} == maps.packed() | {"maps": []}
    assert (data["maps"][0]["rows"], data["maps"][0]["columns"]) == ("token that looks", "token it looks at")
    assert all(f"group.{name}" in page.html() for name in ("rows", "columns", "labels"))


def test_short_numbers():
    assert [short(x) for x in (1, 1000, 2_500_000, 0.1)] == ["1", "1k", "2.5M", "0.1"]


def test_in_a_terminal():
    texts, targets, documents = ["a", "\x1b[2J", "c"], [1, -100, 2], [0, 0, 1]
    assert plain(texts, targets, documents) == "a|(\u241b[2J)\nc"
    assert coloured(texts, targets, documents).count("\x1b[2m") == 1
    assert "\x1b[2J" not in coloured(texts)  # no text steers the terminal
