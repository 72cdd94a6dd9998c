"""One form for each address; which links are followed; which are traps."""

import pytest

from crawl.settings import CRAWL
from crawl.web.urls import Rules, as_linked, canonical, in_domains, join, trap_key

STRIP = tuple(CRAWL["strip_params"])


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("HTTP://Example.ORG:80/a#top", "http://example.org/a"),
        ("https://example.org:443", "https://example.org/"),
        ("https://example.org:8443/x", "https://example.org:8443/x"),
        ("http://a.org/x/../y/./z", "http://a.org/y/z"),
        ("http://a.org//x///y/", "http://a.org/x/y/"),
        ("http://a.org/%7Euser/%41", "http://a.org/~user/A"),
        ("http://a.org/ü?q=ä", "http://a.org/%C3%BC?q=%C3%A4"),
        ("http://bücher.example/", "http://xn--bcher-kva.example/"),
        ("http://a.org/?utm_source=x&b=2&a=1&PHPSESSID=9", "http://a.org/?b=2&a=1"),
        ("http://a.org/page;jsessionid=AB12?x=1", "http://a.org/page?x=1"),
        ("http://a.org/?flag", "http://a.org/?flag="),
        ("http://[2001:db8::1]:80/a", "http://[2001:db8::1]/a"),
        ("http://a.org./x", "http://a.org/x"),
        ("http://a.org/a%2Fb", "http://a.org/a%2Fb"),
        ("mailto:x@y.z", None),
        ("file:///etc/passwd", None),
        ("http://[::", None),
        ("http://a.org:99999/", None),
        ("http:///nohost", None),
    ],
)
def test_canonical(given: str, expected: str | None) -> None:
    assert canonical(given, STRIP) == expected
    if expected:
        assert canonical(expected, STRIP) == expected, "the canonical form is its own"


@pytest.mark.parametrize(
    ("given", "fetched"),
    [
        ("http://a.org/?flag", "http://a.org/?flag"),
        ("http://a.org/?flag&b=", "http://a.org/?flag&b="),
        ("http://a.org/x?a=1;b=2", "http://a.org/x?a=1;b=2"),
        ("http://a.org/x?a;b", "http://a.org/x?a;b"),
        ("http://a.org//x///y/", "http://a.org//x///y/"),
        ("http://a.org/go/http://b.org/x", "http://a.org/go/http://b.org/x"),
        ("http://a.org/%7Euser/%41?q=a+b&r=a%20b", "http://a.org/%7Euser/%41?q=a+b&r=a%20b"),
        ("http://a.org/a%2Fb", "http://a.org/a%2Fb"),
        ("http://a.org/x?q=%e4", "http://a.org/x?q=%e4"),
        ("http://a.org/ü?q=ä b", "http://a.org/%C3%BC?q=%C3%A4%20b"),
        ("HTTP://A.org:80/x/../y?b=2&a=1#part", "http://a.org/y?b=2&a=1"),
        ("http://a.org/x?q;1&utm_source=x&flag&SID=3", "http://a.org/x?q;1&flag"),
        ("http://a.org/page;jsessionid=AB12;v=1?x", "http://a.org/page;v=1?x"),
        ("mailto:x@y.z", None),
    ],
)
def test_F13_an_address_is_asked_for_as_it_is_linked(given: str, fetched: str | None) -> None:
    assert as_linked(given, STRIP) == fetched
    if fetched:
        assert as_linked(fetched, STRIP) == fetched
        assert canonical(fetched, STRIP) == canonical(given, STRIP)


def test_F13_the_query_is_in_the_charset_of_the_page() -> None:
    """As browsers do: https://url.spec.whatwg.org/#query-state."""
    assert as_linked("http://a.org/ä?q=ä", (), "iso-8859-1") == "http://a.org/%C3%A4?q=%E4"
    assert as_linked("http://a.org/?q=ä", (), "no-such-charset") == "http://a.org/?q=%C3%A4"


@pytest.mark.parametrize(
    ("base", "link", "address"),
    [
        ("http://a.org/x/y", "z//w", "http://a.org/x/z//w"),
        ("http://a.org/x//y", "z", "http://a.org/x//z"),
        ("http://a.org/x/y", "//b.org/z", "http://b.org/z"),
        ("http://a.org/x//y/", "../z", "http://a.org/x//z"),
        ("http://a.org/x?q", "?r;s", "http://a.org/x?r;s"),
        ("http://a.org/x", "http://[::", None),
    ],
)
def test_F13_links_keep_their_empty_segments(base: str, link: str, address: str | None) -> None:
    assert join(base, link) == address


def test_F13_patterns_see_both_forms() -> None:
    rules = Rules(CRAWL | {"exclude": [r"/~ann/", r"\?print$"]}, ["a.org"])
    assert rules.judge("http://a.org/%7Eann/x") == rules.judge("http://a.org/x?print") == "excluded"


def test_domains() -> None:
    assert in_domains("a.org", ["a.org"])
    assert in_domains("www.a.org", ["a.org"])
    assert not in_domains("evila.org", ["a.org"])
    assert not in_domains("a.org.evil.com", ["a.org"])


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("http://a.org/doc", None),
        ("http://b.org/doc", "offsite"),
        ("http://a.org/private/doc", "excluded"),
        ("http://a.org/other", "not_included"),
        ("http://a.org/doc.PDF", "not_a_page"),
        ("http://a.org/doc" + "/x1/x2" * 3 + "/x1", "trap_repeated_path"),
        ("http://a.org/doc/" + "/".join(f"s{n}" for n in range(30)), "trap_deep_path"),
        ("http://a.org/doc?" + "x" * 2000, "trap_long_address"),
    ],
)
def test_rules(url: str, reason: str | None) -> None:
    rules = Rules(CRAWL | {"include": ["/doc"], "exclude": ["/private/"]}, ["a.org"])
    assert rules.judge(url) == reason


@pytest.mark.parametrize("key", ["include", "exclude"])
def test_F25_an_address_that_a_pattern_has_no_end_on_is_passed_over(key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("crawl.web.urls.PATTERNS_S", 0.05)
    rules = Rules(CRAWL | {key: ["/(a+)+$"]}, ["a.org"])
    assert rules.judge("http://a.org/" + "a" * 60 + "!") == "slow_pattern"
    assert rules.judge("http://a.org/b") == (None if key == "exclude" else "not_included")


@pytest.mark.parametrize(
    ("first", "second", "kind"),
    [
        ("http://a.org/calendar/2026/05/", "http://a.org/calendar/2031/11/", "calendar"),
        ("http://a.org/events/?date=2026-05-01", "http://a.org/events/?date=2027-06-02", "calendar"),
        ("http://a.org/kalender?year=2026&month=3", "http://a.org/kalender?year=2027&month=12", "calendar"),
        ("http://a.org/list?page=1&sort=a", "http://a.org/list?page=2&sort=b", "query"),
    ],
)
def test_traps_count_together(first: str, second: str, kind: str) -> None:
    assert trap_key(first) == trap_key(second)
    assert trap_key(first)[0] == kind  # type: ignore[index]


def test_ordinary_addresses_are_no_traps() -> None:
    assert trap_key("http://a.org/2026/05/a-blog-post") is None
    assert trap_key("http://a.org/article/12345") is None
