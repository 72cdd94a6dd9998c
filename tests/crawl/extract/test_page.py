"""Main text of a page: quality on the labelled pages, nothing twice (N40), code and tables as they were, charsets."""

import pytest

from crawl.document import Page
from crawl.extract.page import extract
from crawl.settings import CRAWL
from crawl.web.decode import decode
from tests.crawl.labelled import articles, reference
from tests.crawl.labelled.score import MARK, judge, load, table
from tests.crawl.site import sentence


def text_of(html: str | bytes, **page: str) -> str:
    body = html if isinstance(html, bytes) else MARK.sub(r"<\1", html).encode()
    return extract(Page("http://a.org/", body, **page), CRAWL).text


def test_at_least_as_good_as_the_best_on_each_kind() -> None:
    scores = table()
    assert len(load()) >= 30
    assert min(len(page.wanted) for page in load()) >= 3
    assert len(scores) >= 9
    for kind, systems in scores.items():
        for at, measure in enumerate(("precision", "recall")):
            best = max(systems[name][at] for name in systems if name != "ours")
            assert systems["ours"][at] >= best, f"{kind}: {measure} {systems['ours'][at]:.2f}, the best has {best:.2f}"
    assert min(scores["all"]["ours"]) > 0.97


def test_the_judge_counts_doubles_and_losses() -> None:
    page = load()[0]
    whole = "\n".join(page.wanted)
    assert judge(page, whole) == (len(page.wanted), len(page.wanted), len(page.wanted), len(page.wanted))
    assert judge(page, whole + "\n" + page.wanted[0])[:2] == (len(page.wanted), len(page.wanted) + 1)
    assert judge(page, page.wanted[1])[2] == 1
    assert judge(page, "Sport and weather")[:2] == (0, 1)


@pytest.mark.parametrize("page", articles.PAGES["nested"])
def test_N40_nested_articles_give_each_paragraph_once(page: str) -> None:
    text = text_of(page)
    paragraphs = [paragraph for paragraph in text.split("\n") if paragraph]
    assert len(paragraphs) == len(set(paragraphs)) >= 3


def test_N40_same_page_same_text_however_often() -> None:
    """trafilatura's own deduplication remembers earlier pages and answers differently from the fourth call on."""
    assert len({text_of(articles.NESTED_COPY) for _ in range(6)}) == 1
    assert len({text_of(articles.CIDER) for _ in range(6)}) == 1


def test_code_keeps_its_lines() -> None:
    assert 'with tidepool.open("harbour.pool") as pool:\n    for gauge in pool:\n        print(gauge.name)' in text_of(
        reference.TIDEPOOL
    )
    assert 'if [ ! -x "$(command -v lantern)" ]; then\n    echo "not found" >&2\n' in text_of(reference.SHELL)
    assert "Copy" not in text_of(reference.LINES)


def test_tables_keep_their_rows() -> None:
    assert "Passenger | Single | Return\nAdult | 6.40 | 11.00\nChild up to 14 | 2.10 | 4.00" in text_of(
        reference.TARIFF
    )


def test_lists_and_entities() -> None:
    found = text_of("<main><ul><li>One &amp; two<ul><li>in &lt;it&gt;</li></ul></li></ul><p>caf&eacute;</p></main>")
    assert found == "- One & two\n  - in <it>\n\ncafé"


def test_plain_text_stands_as_it_is() -> None:
    assert text_of(b"a < b\r\n\r\n  two\x0cthree", content_type="text/plain") == "a < b\n\n  two\n\nthree"


@pytest.mark.parametrize(
    ("body", "header", "expected"),
    [
        ("größer".encode("latin-1"), "utf-8", "größer"),
        ("größer".encode(), "iso-8859-1", "größer"),
        ("größer".encode("utf-16"), None, "größer"),
        (b"gr\xf6\xdfer", "no-such-charset", "größer"),
        (("Съешь ещё этих мягких французских булок, да выпей чаю. " * 5).encode("cp1251"), "windows-1251", None),
        (("Съешь ещё этих мягких французских булок, да выпей чаю. " * 5).encode("cp1251"), "iso-8859-1", None),
        ("日本語の文章です。".encode("shift_jis"), "shift_jis", "日本語の文章です。"),
    ],
)
def test_charset_is_what_the_bytes_are(body: bytes, header: str | None, expected: str | None) -> None:
    assert decode(body, header).startswith(expected or "Съешь ещё этих")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\0",
        bytes(range(256)) * 40,
        b"<" * 9999,
        b"<div>" * 5_000 + b"end",
        b"<table><tr><td>" * 500 + b"end",
        b"\xff\xfe<p>",
    ],
)
def test_no_bytes_raise(body: bytes) -> None:
    assert isinstance(text_of(body), str)


def test_what_the_page_says_about_itself() -> None:
    found = extract(Page("http://a.org/", MARK.sub(r"<\1", articles.LIGHTHOUSE).encode()), CRAWL)
    assert (found.title, found.date, found.language) == ("The lighthouse keeps its keeper", "2024-03-14", "en")


def test_sections_are_not_judged_by_the_name_of_their_title() -> None:
    """Sphinx makes ids from titles: a chapter on cookies is no cookie banner."""
    body = "".join(f"<p>{sentence(n)} {sentence(n + 50)}</p>" for n in range(8))
    page = f'<div role="main"><section id="module-http-cookies"><h1>Cookies<a>¶</a></h1>{body}<section id="signature">'
    found = text_of(
        page + f'<h2>Signature</h2><p>{sentence(99)}</p></section></section><div id="cookies">We know</div></div>'
    )
    assert found.startswith("Cookies\n\n" + sentence(0))
    assert found.endswith(f"Signature\n\n{sentence(99)}")


def test_a_paragraph_that_stands_there_twice_comes_once() -> None:
    """A lead for phones and one for desktops, both visible to a crawler."""
    lead = f"{sentence(1)} {sentence(2)} {sentence(3)}"
    found = text_of(f"<article><p>{lead}</p><div><p>{lead}</p></div><p>{sentence(4)} {sentence(5)}</p></article>")
    assert found.count(lead) == 1
    assert sentence(5) in found


def test_headings_that_announce_other_pages_end_the_text() -> None:
    body = "".join(f"<p>{sentence(n)} {sentence(n + 50)}</p>" for n in range(6))
    other = (
        "<h2>Related articles</h2><p>Seven halls that you have never heard of, and why.</p><h2>Notes</h2><p>One.</p>"
    )
    found = text_of(f"<article><h1>Title</h1>{body}{other}</article>")
    assert "Seven halls" not in found
    assert found.endswith("Notes\n\nOne.")


PROSE = "".join(f"<p>{sentence(n)} {sentence(n + 50)} {sentence(n + 80)}</p>" for n in range(12))
ARTICLE = "<html><head><title>Long walks at night</title><meta property='og:type' content='article'></head><body>"


def test_F15_parts_of_an_article_in_several_elements_are_one_text() -> None:
    """Adverts in between; trafilatura alone takes the first part."""
    parts = PROSE.split("</p>")
    body = "".join(
        f"<div class='grid'><div class='body'>{part}</p></div></div><div class='ad'>Buy</div>" for part in parts[:-1]
    )
    found = text_of(f"{ARTICLE}<article><h1>Long walks at night</h1>{body}</article></body></html>")
    assert all(sentence(n) in found for n in range(12))


def test_F15_articles_end_with_their_text() -> None:
    """The title is a field of its own; calls to follow, subscribe and read elsewhere are no text."""
    calls = ("Follow us on Twitter and Instagram.", "Sign up for our newsletter.", "Read more: Short walks by day")
    tail = "".join(f"<p>{call}</p>" for call in calls)
    found = text_of(f"{ARTICLE}<article><h1>Long walks at night</h1>{PROSE}{tail}</article></body></html>")
    assert found.startswith(sentence(0))
    assert found.endswith(sentence(11 + 80))


def test_F15_the_engine_is_the_one_that_is_asked_for() -> None:
    page = f"<html><body><main><h1>Head</h1>{PROSE}<dl><dt>-x</dt><dd>Short</dd></dl></main></body></html>"

    def text(engine: str) -> str:
        return extract(Page("http://a.org/", page.encode()), CRAWL | {"extract": {"engine": engine}}).text

    assert text("auto") == text("plain") != text("trafilatura")
    article = f"{ARTICLE}<article>{PROSE}<footer><p>Filed under walks</p></footer></article></body></html>"
    page = article
    assert text("auto") == text("trafilatura")


def test_F15_a_declared_part_of_links_has_no_text() -> None:
    links = "".join(f"<li><a href='/{n}'>{sentence(n)}</a></li>" for n in range(9))
    assert text_of(f"<html><body><div role='main'><ul>{links}</ul></div><div>Made by a <i>tool</i> today.</div>") == ""
