"""The page in a real Chromium: wide and narrow, light and dark, by keyboard, hostile texts. `make test-browser`."""

import os
from pathlib import Path

import pytest

from tests.browser import CHROMIUM, CONTRAST, Browser
from tests.tasks.serving.door import Door, loaded, run_folder

pytestmark = [pytest.mark.slow, pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here")]
EVIL = "<img src=x onerror=window.hit=1>"


def make(name: str):
    return loaded(name, talks="base" not in name)


@pytest.fixture(scope="module")
def door(tmp_path_factory):
    root = tmp_path_factory.mktemp("outputs")
    run_folder(root, "2026-01-02/talker")
    run_folder(root, "2026-01-02/base", metrics="step,tokens_seen,val/bpb\n1,10,9\n3,30,1\n", lr=0.5)
    evil = run_folder(root, EVIL.replace("/", "\u2215"), metrics=f"step,tokens_seen,{EVIL}\n1,10,2\n2,20,3\n")
    (evil / "report.html").write_text(
        "<!doctype html><title>r</title><p id=p>a report</p><script>document.getElementById('p').textContent = 'ran';"
        "fetch('/v1/models').then(() => window.out = 'in', () => window.out = 'out')</script>"
    )
    for i in range(30):
        run_folder(root, f"many/run-with-a-rather-long-name-{i}")
    with Door(root, make=make) as door:
        yield door


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    with Browser(tmp_path_factory.mktemp("chromium")) as browser:
        yield browser


@pytest.fixture
def tab(door, browser):
    browser.look(width=1280)
    browser.open(f"{door.url}/")
    browser.until("document.querySelectorAll('#list tbody tr').length === 33")
    browser.console.clear()
    yield browser
    assert browser.js("window.hit === undefined")
    assert browser.console == []


def choose(tab, name: str) -> None:
    tab.js(f"[...document.querySelectorAll('#list input')].find(e => e.ariaLabel === 'choose {name}').click()")


def keep(tab, name: str) -> None:
    """Pictures to look at, where NANOLAB_PICTURES names a folder."""
    if folder := os.environ.get("NANOLAB_PICTURES"):
        tab.picture(Path(folder) / f"{name}.png")


def test_runs_are_filtered_sorted_and_laid_over_each_other(tab):
    tab.js("document.querySelector('#words').focus()")
    tab.write("run=2026-01-02/base")
    assert tab.js("[...document.querySelectorAll('#list tbody tr')].map(r => r.cells[1].textContent)") == [
        "2026-01-02/base"
    ]
    tab.js("words.value = 'talker'; words.dispatchEvent(new Event('input'))")
    choose(tab, "2026-01-02/talker")
    tab.js("words.value = ''; words.dispatchEvent(new Event('input'))")
    choose(tab, "2026-01-02/base")
    tab.until("document.querySelectorAll('#chart polyline').length === 2")
    assert tab.js("document.querySelector('#metric').value") == "val/bpb"
    assert tab.js("document.querySelectorAll('#chart .legend > span').length") == 2
    tab.until("document.querySelectorAll('#differences tbody tr').length === 1")
    assert tab.js("document.querySelector('#differences tbody').innerText.split(/\\s+/).join(' ').trim()") == (
        "optimizer.lr 0.1 0.5"
    )
    for axis, words in (("tokens", "tokens"), ("seconds", "time of training (s)")):
        tab.js(f"axis.value = '{axis}'; axis.dispatchEvent(new Event('change'))")
        assert words in tab.js("document.querySelector('#chart svg').textContent")


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [1280, 400])
def test_it_can_be_read_at_any_width_and_in_the_dark(tab, width, dark):
    tab.look(width=width, dark=dark)
    choose(tab, "2026-01-02/talker")
    choose(tab, "many/run-with-a-rather-long-name-3")
    tab.until("document.querySelectorAll('#chart polyline').length === 2")
    for view in ("runs", "chat"):
        tab.js(f"document.querySelector('#tab-{view}').click()")
        assert tab.js("document.documentElement.scrollWidth") <= width
        for selector in ("h1", ".note", "button", "label"):
            assert tab.js(f"({CONTRAST})('{selector}')") >= 4.5, selector
        keep(tab, f"{view}-{width}-{'dark' if dark else 'light'}")


def talk(tab, words: str) -> None:
    tab.js("question.focus()")
    tab.write(words)
    tab.press("Enter")


def test_two_runs_answer_side_by_side_and_every_token_shows_what_could_have_stood_there(tab):
    tab.js("document.querySelector('#tab-chat').click()")
    tab.js("document.querySelector('#run-a').value = '2026-01-02/talker'")
    tab.js(
        "document.querySelector('#run-b').value = '2026-01-02/base'; "
        "document.querySelector('#run-b').dispatchEvent(new Event('change'))"
    )
    tab.until("[...document.querySelectorAll('.pane .note')].filter(p => /context/.test(p.textContent)).length === 2")
    tab.js("document.querySelector('#max-tokens').value = 12; document.querySelector('#seed').value = 1")
    talk(tab, f"Hi {EVIL}"[:40])
    tab.until("document.querySelector('#send').disabled === false")
    assert tab.js("document.querySelectorAll('.turn.assistant').length") == 2
    assert tab.js("document.querySelectorAll('.turn img').length") == 0
    assert tab.js("document.querySelectorAll('.pane:nth-child(2) .shades i').length") == 12
    tab.js("document.querySelector('.pane:nth-child(2) .shades i').focus()")
    tab.press("ArrowRight")
    tab.press("Enter")
    rows = tab.js("document.querySelectorAll('#alternatives tr').length")
    assert rows >= 8
    assert tab.js("document.querySelectorAll('.shades i')[document.querySelectorAll('.pane:first-child .shades i').length + 1].classList.contains('chosen')")  # fmt: skip  # noqa: E501
    keep(tab, "answers")
    for width in (1280, 400):
        tab.look(width=width)
        assert tab.js("document.documentElement.scrollWidth") <= width
    keep(tab, "answers-400")


def test_by_keyboard_alone(tab):
    tab.js("document.querySelector('#tab-runs').focus()")
    tab.press("ArrowRight")
    assert tab.js("!document.querySelector('#view-chat').hidden && document.activeElement.id") == "tab-chat"
    reached = set()
    for _ in range(14):
        tab.press("Tab")
        reached.add(tab.js("document.activeElement.id"))
    assert {"run-a", "run-b", "temperature", "max-tokens", "question", "send", "clear"} <= reached


def test_hostile_names_stay_text(tab):
    name = EVIL.replace("/", "\u2215")
    assert name in tab.js("document.querySelector('#list').textContent")
    tab.js(f"[...document.querySelectorAll('#list input')].find(e => e.ariaLabel.includes({name!r})).click()")
    tab.until("document.querySelector('#metric').options.length === 1")
    assert tab.js("document.querySelectorAll('img').length") == 0
    assert EVIL in tab.js("document.querySelector('#chart svg').textContent")


def test_pages_of_runs_open_as_strangers(tab, door):
    tab.js("words.value = 'onerror'; words.dispatchEvent(new Event('input'))")
    href = tab.js("document.querySelector('#list td.pages a').href")
    tab.open(href)
    tab.until("document.querySelector('#p').textContent === 'ran' && window.out !== undefined")
    assert tab.js("window.out") == "out"
    assert tab.js("window.origin") == "null"
    tab.console.clear()  # which says that the request was not let out
