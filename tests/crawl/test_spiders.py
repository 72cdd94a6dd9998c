"""sitemap, feed, urls and warc; budgets; `scrapy crawl`."""

import gzip
import subprocess
import sys
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest

from tests.crawl.helpers import ROOT, crawl, documents, environment, manifest
from tests.crawl.site import Site, article, redirect, send, tree


def urlset(*urls: str) -> bytes:
    return (
        "<urlset xmlns='http://www.sitemaps.org/schemas/sitemap/0.9'>"
        + "".join(f"<url><loc>{url}</loc></url>" for url in urls)
        + "</urlset>"
    ).encode()


def paths(folder: Path) -> list[str]:
    return sorted("/" + document["url"].split("/", 3)[3] for document in documents(folder))


def test_sitemap(tmp_path: Path) -> None:
    """From a site: robots.txt names an index, which names a gzipped map and a list; links of pages are not followed."""
    with Site() as site:
        site.robots = f"Sitemap: {site.url}/index.xml\n".encode()
        maps = "".join(f"<sitemap><loc>{site.url}/{name}</loc></sitemap>" for name in ("a.xml.gz", "b.txt"))
        index = f"<sitemapindex>{maps}</sitemapindex>"
        site.page("/index.xml", index.encode(), "application/xml")
        site.page(
            "/a.xml.gz",
            gzip.compress(urlset(f"{site.url}/page/1", f"{site.url}/page/2", "http://elsewhere.org/x")),
            "application/gzip",
        )
        site.page("/b.txt", f"{site.url}/page/3\n".encode(), "text/plain")
        for number in (1, 2, 3):
            site.page(f"/page/{number}", article(number, ["/page/9"]))
        crawl(tmp_path, "spider=sitemap", f"start_urls=[{site.url}]")
        assert paths(tmp_path) == ["/page/1", "/page/2", "/page/3"]
        assert site.hits["/page/9"] == 0
    found = manifest(tmp_path)
    assert found["listings"] == {"read": 4, "http_404": 1}
    assert found["skipped"]["offsite"] == 1


def test_feed(tmp_path: Path) -> None:
    """RSS and Atom, one of them found through a page; XML entities stay unread."""
    with Site() as site:
        entity = "<!DOCTYPE x [<!ENTITY file SYSTEM 'file:///etc/passwd'>]>"
        entry = f"<item><title>&file;</title><link>{site.url}/page/1</link></item>"
        rss = f"{entity}<rss><channel><link>{site.url}</link>{entry}</channel></rss>"
        entry = "<entry><link rel='self' href='/no'/><link href='/page/2'/></entry>"
        atom = f"<feed xmlns='http://www.w3.org/2005/Atom'>{entry}</feed>"
        site.page("/rss", rss.encode(), "application/rss+xml")
        site.page("/atom", atom.encode(), "application/atom+xml")
        site.page("/blog", article(5, head='<link rel="alternate" type="application/atom+xml" href="/atom">'))
        site.page("/broken", b"<html><p>no feed here</p></html>")
        for number in (1, 2):
            site.page(f"/page/{number}", article(number))
        crawl(tmp_path, "spider=feed", f"start_urls=[{site.url}/rss,{site.url}/blog,{site.url}/broken]")
        assert paths(tmp_path) == ["/page/1", "/page/2"]
    assert manifest(tmp_path)["listings"] == {"read": 3, "unreadable": 1}


def test_F26_what_is_no_address_or_no_gzip_in_a_listing_spoils_nothing_beside_it(tmp_path: Path) -> None:
    with Site() as site:
        site.robots = f"Sitemap: http://[\nSitemap: {site.url}/a.xml.gz\nSitemap: /cut.xml.gz\nSitemap: /b.txt".encode()
        packed = bytearray(gzip.compress(urlset(f"{site.url}/page/1")))
        packed[10] = 0xFF  # no block of any kind begins so
        site.page("/a.xml.gz", bytes(packed), "application/gzip")
        site.page("/cut.xml.gz", b"\x1f\x8b cut", "application/gzip")
        site.page("/b.txt", f"{site.url}/page/2\n".encode(), "text/plain")
        entries = f"<item><link>http://[</link></item><item><link>{site.url}/page/3</link></item>"
        site.page("/rss", f"<rss><channel>{entries}</channel></rss>".encode(), "application/rss+xml")
        site.page("/no-xml", b"\0\1", "application/xml")
        for number in (1, 2, 3):
            site.page(f"/page/{number}", article(number))
        for spider, start in (("sitemap", site.url), ("feed", f"{site.url}/rss,{site.url}/no-xml")):
            done = crawl(tmp_path / spider, f"spider={spider}", f"start_urls=[{start}]")
            assert "Traceback" not in done.stderr
    assert [paths(tmp_path / spider) for spider in ("sitemap", "feed")] == [["/page/2"], ["/page/3"]]
    found = [manifest(tmp_path / spider) for spider in ("sitemap", "feed")]
    assert [one["skipped"] for one in found] == [{"not_http": 1}] * 2
    assert [one["listings"] for one in found] == [
        {"read": 2, "unreadable": 2, "http_404": 1},
        {"read": 1, "unreadable": 1},
    ]


def test_urls_file_and_http_cache(tmp_path: Path) -> None:
    """Only what the list names; with the cache, nothing is asked for twice."""
    with Site() as site:
        site.fallback = tree(50)
        (tmp_path / "list.txt").write_text(
            f"# two pages\n{site.url}/page/1\n\n{site.url}/page/2#part\nnot an address\n{site.url}/page/1\n"
        )
        words = ["spider=urls", f"urls_file={tmp_path / 'list.txt'}", "http_cache=true"]
        crawl(tmp_path / "out", *words)
        assert paths(tmp_path / "out") == ["/page/1", "/page/2"]
        assert (tmp_path / "out" / "httpcache").is_dir()
    assert manifest(tmp_path / "out")["skipped"] == {"not_http": 1}


@pytest.mark.parametrize(
    ("lines", "status", "says"),
    [(b"Content-Length: 5", 0, "1 failed"), (b"Content-Length: " + b"9" * 30, 2, "a.warc cannot be read: a record")],
)  # fmt: skip
def test_F23_a_damaged_record_is_counted_or_told(lines: bytes, status: int, says: str, tmp_path: Path) -> None:
    """Of a record without Content-Type, or of any length, Scrapy logged a traceback, and the crawl ended well."""
    (tmp_path / "a.warc").write_bytes(
        b"WARC/1.0\r\nWARC-Type: response\r\nWARC-Target-URI: http://a.org/\r\nWARC-Date: 2026-01-01T00:00:00Z\r\n"
        + lines
        + b"\r\n\r\nhello\r\n\r\n"
    )
    done = crawl(tmp_path / "out", "spider=warc", f"warc_files=[{tmp_path}/a.warc]", status=status)
    assert says in done.stdout + done.stderr
    assert "Traceback" not in done.stderr


HEADERS = (
    b"WARC/1.0\r\nWARC-Type: %s\r\nWARC-Record-ID: <urn:uuid:1>\r\nWARC-Date: 2026-01-01T00:00:00Z\r\n"
    b"WARC-Target-URI: http://a.org/%d\r\nContent-Type: application/http; msgtype=response\r\n"
    b"Content-Length: %d\r\n\r\n"
)


def _record(number: int, kind: bytes = b"response") -> bytes:
    answer = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n" + article(number)
    return HEADERS % (kind, number, len(answer)) + answer + b"\r\n\r\n"


def test_F23_a_warc_file_that_ends_within_a_record_is_named_with_a_count(tmp_path: Path) -> None:
    """What there was of the last page was taken for the whole of it, and a cut header for nothing, without a word."""
    cuts = [(b"response", 0.9), (b"response", 0.05), (b"metadata", 0.9), (b"response", 1.0)]  # 0.05: in its header
    for i, (kind, left) in enumerate(cuts):
        for j, form in enumerate((bytes, gzip.compress)):
            last = form(_record(20 + 2 * i + j, kind))
            (tmp_path / f"{i}{j}.warc").write_bytes(form(_record(10 + 2 * i + j)) + last[: int(left * len(last))])
    done = crawl(tmp_path / "out", "spider=warc", f"warc_files=[{tmp_path}/*.warc]")
    assert paths(tmp_path / "out") == [f"/{n}" for n in (*range(10, 18), 26, 27)]
    found = manifest(tmp_path / "out")
    assert (found["failed"], found["skipped"]) == ({"broken_off": 2}, {"broken_off": 4})
    assert [f"{i}{j}.warc ends in the midst" in done.stderr for i in range(4) for j in range(2)] == [True] * 6 + [
        False
    ] * 2


def test_warc_and_wet(tmp_path: Path) -> None:
    """Responses are extracted, conversions taken as text, other records passed over; a second run adds nothing."""
    from warcio.statusandheaders import StatusAndHeaders
    from warcio.warcwriter import WARCWriter

    with open(tmp_path / "a.warc.gz", "wb") as stream:
        writer = WARCWriter(stream, gzip=True)
        for number, status in ((1, "200 OK"), (2, "404 Not Found"), (3, "200 OK")):
            headers = StatusAndHeaders(status, [("Content-Type", "text/html; charset=utf-8")], protocol="HTTP/1.1")
            writer.write_record(
                writer.create_warc_record(
                    f"http://a.org/{number}", "response", payload=BytesIO(article(number)), http_headers=headers
                )
            )
        text = article(4).decode().split("<article>")[1].replace("<", " <").split("</article>")[0]
        plain = " ".join(word for word in text.split() if "<" not in word and ">" not in word).encode()
        writer.write_record(
            writer.create_warc_record(
                "http://a.org/4", "conversion", payload=BytesIO(plain), warc_content_type="text/plain"
            )
        )
        writer.write_record(
            writer.create_warc_record(
                "http://a.org/5", "metadata", payload=BytesIO(b"x: y"), warc_content_type="text/plain"
            )
        )
    words = ["spider=warc", f"warc_files=[{tmp_path}/*.warc.gz]"]
    crawl(tmp_path / "out", *words)
    crawl(tmp_path / "out", *words)
    assert paths(tmp_path / "out") == ["/1", "/3", "/4"]
    assert manifest(tmp_path / "out")["failed"] == {"http_404": 1}


def test_page_budget_is_exact_and_can_be_raised(tmp_path: Path) -> None:
    with Site() as site:
        site.fallback = tree(40)
        crawl(tmp_path, f"start_urls=[{site.url}/page/0]", "max_pages=7")
        found = manifest(tmp_path)
        assert (found["fetched"], found["status"], found["stopped_by"]) == (7, "stopped", "max_pages")
        crawl(tmp_path, f"start_urls=[{site.url}/page/0]", "max_pages=11")
        assert manifest(tmp_path)["fetched"] == 11
        assert sum(site.hits.values()) == 11 + 2


def test_depth_and_patterns(tmp_path: Path) -> None:
    with Site() as site:
        site.fallback = tree(200)
        crawl(tmp_path, f"start_urls=[{site.url}/page/0]", "max_depth=1", r"exclude=['/page/3$']")
        assert paths(tmp_path) == ["/page/0", "/page/1", "/page/2", "/page/4"]
    found = manifest(tmp_path)
    assert found["skipped"]["excluded"] == 1
    assert found["skipped"]["too_deep"] > 0


def scrapy_crawl(site: Site, folder: Path, *more: str) -> subprocess.CompletedProcess[str]:
    given = ["contact=me@example.org", "allow_private=true", "delay_s=0", "progress_s=0", f"output={folder}"]
    words = [*given, f"start_urls={site.url}/page/0", *more]
    line = [sys.executable, "-m", "scrapy", "crawl", "site", *[word for text in words for word in ("-a", text)]]
    return subprocess.run(line, cwd=ROOT / "crawl", env=environment(), capture_output=True, text=True, timeout=60)


def test_scrapy_crawl_works(tmp_path: Path) -> None:
    """For those who know Scrapy; wrong requests are plain words there too."""
    with Site() as site:
        site.fallback = tree(5)
        done = scrapy_crawl(site, tmp_path)
        assert done.returncode == 0, done.stderr
        assert manifest(tmp_path)["kept"] == 5
        done = scrapy_crawl(site, tmp_path, "max_depht=3")
        assert done.returncode == 2
        assert "Did you mean crawl.max_depth?" in done.stderr + done.stdout


def test_F29_scrapy_crawl_that_fails_says_so_in_its_status(tmp_path: Path) -> None:
    """It ended with 0, and without a word, where what it writes could not be written."""
    with Site() as site:

        def page(handler: Any) -> None:
            (tmp_path / "manifest.json").mkdir(exist_ok=True)  # while the crawl is on: its report has no place
            tree(5)(handler)

        site.fallback = page
        done = scrapy_crawl(site, tmp_path)
    assert done.returncode == 1, done.stderr
    assert "manifest.json" in done.stderr
    assert "cannot be read or written" in done.stderr
    assert "Traceback" not in done.stderr


def test_F13_pages_are_found_under_the_addresses_that_a_site_links(tmp_path: Path) -> None:
    """A site that knows its pages by their exact addresses, as many do; each is asked for once."""
    known = [
        "/?print", "/x?a;b=1", "/x?a=&b", "/go//deep//page", "/%7Euser/", "/x?q=%e4", "/a%2Fb", "/x?q=a+b",
        "/go/rel//x",
    ]  # fmt: skip
    others = ["/?print=", "/%7euser/", "/x?q=a%20b", "/?print#top", "/?utm_source=x&print"]  # the same pages once more
    with Site() as site:
        exact = {path: article(number + 2, home="/go/") for number, path in enumerate(known)}
        exact["/go/"] = article(1, [*known[:-1], *others, "rel//x"], home="/go/")

        def page(handler: Any) -> None:
            found = exact.get(handler.path)
            send(handler, found or b"<p>not here</p>", status=200 if found else 404)

        site.fallback = page
        crawl(tmp_path, f"start_urls=[{site.url}/go/]", "max_depth=1", "dedup.near_duplicates=false")
        asked = site.paths()
        assert sorted(asked) == sorted(["/go/", *known])
    assert paths(tmp_path) == sorted(["/go/", *known])
    assert manifest(tmp_path)["failed"] == {}


def test_F13_a_redirect_to_another_spelling_is_followed(tmp_path: Path) -> None:
    with Site() as site:
        site.page("/", article(1, ["/docs//intro"]))
        site.pages["/docs//intro"] = redirect("/docs/intro")
        site.page("/docs/intro", article(2))
        crawl(tmp_path, f"start_urls=[{site.url}/]")
        assert paths(tmp_path) == ["/", "/docs/intro"]
