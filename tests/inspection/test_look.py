"""Pages as a browser shows them: 1280 and 400 pixels wide, light and dark. `make test-browser`."""

import pytest

from inspection.charts import bars, line, log_log, spans
from inspection.maps import Maps
from inspection.page import Page, facts, table
from tests.browser import CHROMIUM, CONTRAST, Browser

pytestmark = [pytest.mark.slow, pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here")]
LOOKS = [(width, dark) for width in (1280, 400) for dark in (False, True)]
TOKENS = [f" token{k}" for k in range(64)]
SMALLEST = """Math.min(...[...document.querySelectorAll('.chart > svg text')].map(
  e => parseFloat(getComputedStyle(e).fontSize) * e.getScreenCTM().a))"""
OUTSIDE = """[...document.querySelectorAll('.chart > svg text')].filter(e => {
  const box = e.getBoundingClientRect(), around = e.closest('svg').getBoundingClientRect();
  return box.left < around.left - 1 || box.right > around.right + 1 || box.bottom > around.bottom + 1;
}).map(e => e.textContent)"""


def full_page() -> Page:
    page = Page("A page with a rather long title", about="path/" * 60, lead="")
    page.add("Facts", facts({"a name": "value " * 40, "path": "/long" * 50}), note="A note.")
    head = ["setting", *(f"column {k}" for k in range(30))]
    page.add("Table", table(head, [[f"model=gpt, row={r}", *(r * k / 7 for k in range(30))] for r in range(5)]))
    curves = {f"a metric/{k}": [(x, 0.01 * x * k) for x in range(128)] for k in range(5)}
    page.add("Line", line(curves, x="distance (positions apart)", y="similarity (cosine)"))
    page.add("Small", line({"a": [(0, 0.00002), (1, 0.00001)]}, x="stage", y="loss (nats per token)"))
    page.add("Log", log_log({"a": [(1, 1e6), (1e5, 1)]}, x="rank of the token", y="occurrences of the token"))
    page.add("Bars", bars(["wrong number", "x" * 60], {"train": [123456, 1], "val": [1, 2]}, unit="answers"))
    page.add("Windows", spans([(0, 128), (64, 192)], 1_000_000, unit="place in the training data (tokens)"))
    maps = Maps(TOKENS, verb="looks at", rows="token that looks", columns="token it looks at")
    for head in range(12):
        maps.add("layer 0", f"layer 0, head {head}", bytes(range(64)) * 64)
    page.add_maps("Maps", maps)
    return page


@pytest.fixture(scope="module")
def tab(tmp_path_factory):
    folder = tmp_path_factory.mktemp("look")
    full_page().write(folder / "page.html")
    with Browser(folder / "chromium") as tab:
        tab.open((folder / "page.html").as_uri())
        yield tab
        assert tab.console == []


@pytest.mark.parametrize(("width", "dark"), LOOKS)
def test_F44_the_page_never_scrolls_sideways_and_all_is_readable(tab, width, dark):
    tab.look(width=width, dark=dark)
    assert tab.js("document.documentElement.scrollWidth") <= width
    assert tab.js(SMALLEST) >= 9  # pixels
    assert tab.js(OUTSIDE) == []
    for selector in ("h1", ".note", "dt", "th", "td", ".axes span", "nav a", "figcaption"):
        assert tab.js(f"({CONTRAST})('{selector}')") >= 4.5, selector


@pytest.mark.parametrize("width", [1280, 400])
def test_F44_a_wide_table_scrolls_in_itself_and_its_first_column_stays(tab, width):
    tab.look(width=width)
    left = "[...document.querySelectorAll('.wide tr > :nth-child({})')].map(e => e.getBoundingClientRect().left)"
    first, second = tab.js(left.format(1)), tab.js(left.format(2))
    tab.js("document.querySelector('.wide').scrollLeft = 300")
    assert tab.js(left.format(1)) == first
    assert tab.js(left.format(2)) == [x - 300 for x in second]
    tab.js("document.querySelector('.wide').scrollLeft = 0")


@pytest.mark.parametrize("width", [1280, 400])
def test_F44_a_map_has_its_tokens_on_both_axes(tab, width):
    tab.look(width=width)
    sides = [f"[...document.querySelectorAll('.axes .{side} span')]" for side in ("left", "below")]
    rows, columns = (
        tab.until(f"document.querySelectorAll('.axes span').length < 120 && {side}.map(e => e.textContent)")
        for side in sides
    )
    assert rows == columns
    assert len(rows) >= 10
    assert rows[:1] == ["\u00b7token0"]
    gaps = tab.js(f"{sides[0]}.slice(0, 2).map(e => e.getBoundingClientRect().top)")
    assert gaps[1] - gaps[0] >= 11  # none over another
