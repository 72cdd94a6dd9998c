"""A hostile site, all at once: each case bounded, counted and named, and the good pages come through."""

import json
from pathlib import Path

import pytest

from tests.crawl.helpers import crawl, documents, manifest
from tests.crawl.site import Site, article, bomb, calendar, drip, redirect, send, sentence

CASES = [
    "/calendar/2026/05/", "/loop-a", "/self", "/chain-0", "/bomb", "/bomb-plain", "/drip", "/charset", "/long-line",
    "/script", "/film", "/empty", "/short", "/inside", "/refresh", "/cut", "/nul", "/deep", "/garbage", "/noindex",
    "/bad-gzip", "/bad-br", "/bad-zstd",
]  # fmt: skip
LINKS = [
    "file:///etc/passwd",
    "javascript:alert(1)",
    "mailto:a@b.org",
    "ftp://127.0.0.1/x",
    "http://127.0.0.1.nip.example:1/",
    "http://[::",
]


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory):
    """One crawl of the whole zoo; (site, folder, manifest)."""
    folder = tmp_path_factory.mktemp("hostile") / "out"
    with Site(robots=b"User-agent: *\nDisallow: /secret\n") as site:
        build(site)
        crawl(
            folder, f"start_urls=[{site.url}/]", "timeout_s=2", "retries=0", "max_page_bytes=12000000",
            "max_calendar_pages=5",
            "max_pages=300", "keep_dropped=true", "concurrency_per_domain=8",
        )  # fmt: skip
        yield site, folder, manifest(folder)


def build(site: Site) -> None:
    good = ["/good-1", "/good-2", "/secret/page"]
    site.page("/", article(1, [*good, *CASES, *LINKS, *(f"/list?sort={n}&PHPSESSID={n}" for n in range(3))]))
    for number in (1, 2):
        site.page(f"/good-{number}", article(number + 1))
    site.page("/secret/page", article(9))
    site.pages |= {"/loop-a": redirect("/loop-b"), "/loop-b": redirect("/loop-a"), "/self": redirect("/self")}
    site.pages |= {f"/chain-{n}": redirect(f"/chain-{n + 1}") for n in range(12)}
    site.pages |= {"/bomb": bomb(10_000), "/drip": drip(site), "/inside": redirect("file:///etc/passwd")}
    site.pages["/bomb-plain"] = endless
    site.page(
        "/charset", article(20).replace(b"Story 20", "Größe 20".encode("latin-1")), "text/html; charset=no-such-charset"
    )
    site.page(
        "/long-line",
        b"<html><body><article><p>" + (sentence(21) + " ").encode() * 60_000 + b"</p></article></body></html>",
    )
    site.page(
        "/script",
        article(22, head="<script>var stolen = 'SCRIPTTEXT';</script>").replace(
            b"<h1>", b"<script>SCRIPTTEXT()</script><h1>"
        ),
    )
    site.page("/film", b"\0" * 1000, "video/mp4")
    site.page("/empty", b"")
    site.page("/short", b"<html><body><p>Too short.</p></body></html>")
    site.page(
        "/refresh", b'<html><head><meta http-equiv="refresh" content="0; url=/refreshed"></head><body></body></html>'
    )
    site.page("/refreshed", article(23))
    site.pages["/cut"] = cut
    site.page("/nul", article(24).replace(b"<h1>", b"<h1>\0\xff\xfe"))
    site.page("/deep", b"<div>" * 20_000 + b"<p>" + sentence(25).encode() * 30)
    site.page("/garbage", bytes(range(256)) * 400)
    site.page("/noindex", article(26, ["/behind-noindex"], head='<meta name="robots" content="noindex">'))
    site.page("/behind-noindex", article(27))
    site.page("/bad-gzip", b"\x1f\x8b\x08\x00not gzip at all", Content_Encoding="gzip")
    site.page("/bad-br", article(28), Content_Encoding="br")
    site.page("/bad-zstd", article(29), Content_Encoding="zstd")
    site.fallback = lambda handler: (
        calendar(handler) if handler.path.startswith("/calendar/") else send(handler, article(30), status=200)
    )


def endless(handler) -> None:
    """An answer that never ends, at full speed."""
    handler.send_response(200)
    handler.send_header("Content-Type", "text/html")
    handler.send_header("Connection", "close")
    handler.end_headers()
    for _ in range(10_000):
        handler.wfile.write(b"<p>again</p>" * 100_000)


def cut(handler) -> None:
    """An answer that ends before its announced length."""
    handler.send_response(200)
    handler.send_header("Content-Type", "text/html")
    handler.send_header("Content-Length", "100000")
    handler.end_headers()
    handler.wfile.write(b"<p>half a sen")
    handler.close_connection = True


def ends(folder: Path) -> dict[str, tuple[str, str | None]]:
    """What became of each address, from the ledger."""
    import sqlite3

    rows = sqlite3.connect(folder / "crawl.sqlite").execute("SELECT url, outcome, reason FROM pages").fetchall()
    return {"/" + url.split("/", 3)[3]: (outcome, reason) for url, outcome, reason in rows}


@pytest.mark.parametrize(
    ("path", "outcome", "reason"),
    [
        ("/good-1", "kept", None),
        ("/good-2", "kept", None),
        ("/secret/page", "refused", "robots"),
        ("/loop-a", "dropped", "redirect"),
        ("/loop-b", "failed", "redirect_loop"),
        ("/self", "failed", "redirect_loop"),
        ("/chain-5", "failed", "too_many_redirects"),
        ("/bomb", "failed", "too_large_decompressed"),
        ("/bomb-plain", "failed", "too_large"),
        ("/drip", "failed", "timeout"),
        ("/cut", "failed", "broken_off"),
        ("/film", "dropped", "content_type"),
        ("/empty", "dropped", "empty"),
        ("/inside", "dropped", "redirect"),
        ("/noindex", "dropped", "noindex"),
        ("/behind-noindex", "kept", None),
        ("/bad-gzip", "failed", "bad_compression"),
        ("/bad-br", "failed", "bad_compression"),
        ("/bad-zstd", "failed", "bad_compression"),
        ("/refreshed", "kept", None),
    ],
)
def test_each_case_is_named(done, path: str, outcome: str, reason: str | None) -> None:
    assert ends(done[1])[path] == (outcome, reason)


def test_every_address_has_an_end(done) -> None:
    site, folder, found = done
    assert found["queued"] == 0
    assert all(outcome for outcome, _ in ends(folder).values())
    assert site.hits["/chain-6"] == 0
    assert site.hits["/secret/page"] == 0, "forbidden pages are never asked for"


def test_calendar_and_sessions_are_bounded(done) -> None:
    site, _, found = done
    assert 2 <= sum(n for path, n in site.hits.items() if path.startswith("/calendar/")) <= 6
    assert found["skipped"]["trap_calendar"] >= 1
    assert [path for path in site.hits if "PHPSESSID" in path] == [], "session ids are no part of an address"


def test_nothing_but_the_web_is_asked_for(done) -> None:
    _, folder, found = done
    assert found["skipped"]["not_http"] >= 4
    assert not [url for url in ends(folder) if "passwd" in url]
    assert found["skipped"]["offsite"] == 1


def test_text_survives_and_scripts_do_not(done) -> None:
    found = {document["url"].split("/", 3)[3]: document for document in documents(done[1])}
    assert not [document for document in found.values() if "SCRIPTTEXT" in document["text"]]
    assert "place 2200" in found["script"]["text"]
    assert all(json.loads(json.dumps(document))["text"].strip() for document in found.values())


def test_each_page_is_asked_for_once(done) -> None:
    site, _, _ = done
    assert {path: n for path, n in site.hits.items() if n > 1} == {}
