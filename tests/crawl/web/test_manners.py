"""N39, polite by default: robots.txt in all its states, Crawl-delay, 429 and Retry-After, user agent, conditional
requests.
"""

import ipaddress
import sqlite3
import subprocess
from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path

import pytest

from crawl.web.addresses import is_private
from crawl.web.manners import retry_after
from tests.crawl.helpers import command, crawl, environment, manifest
from tests.crawl.site import Site, article, redirect, send, tree


def small(site: Site, n: int = 4) -> None:
    site.fallback = tree(n)


@pytest.mark.slow
def test_crawl_delay_and_user_agent(tmp_path: Path) -> None:
    """Also with AutoThrottle on, which would go down to delay_s, and with parallel requests allowed."""
    with Site(robots=b"User-agent: *\nCrawl-delay: 0.5\n") as site:
        small(site, 5)
        crawl(tmp_path, f"start_urls=[{site.url}/page/0]", "autothrottle=true", "delay_s=0.01")
        times = [when for when, path in site.times]
        gaps = [after - before for before, after in pairwise(times[1:])]
        assert len(times) == 6
        assert min(gaps) > 0.45, gaps
        assert all("(+me@example.org)" in request["user-agent"] for request in site.requests)
    robots = manifest(tmp_path)["robots"][site.url]
    assert robots == {"status": 200, "decision": "rules", "crawl_delay_s": 0.5}


HUGE = b"User-agent: *\nDisallow: /page/2\n" + b"# padding\n" * 100_000 + b"Disallow: /page/1\n"


ROBOTS: dict[str, tuple[bytes, int, int, str | None]] = {  # robots.txt, its status, pages kept, reason of refusal
    "forbids": (b"User-agent: *\nDisallow: /\n", 200, 0, "robots"),
    "others": (b"User-agent: other\nDisallow: /\n\nUser-agent: *\nAllow: /\n", 200, 4, None),
    "names-us": (b"User-agent: nanolab-crawl\nDisallow: /page/1\n", 200, 3, "robots"),
    "500": (b"anything", 500, 0, "robots_unavailable"),
    "404": (b"anything", 404, 4, None),
    "huge": (HUGE, 200, 3, "robots"),  # rules after the first 512 KiB are not read
    "too-slow": (b"User-agent: *\nCrawl-delay: 9999\n", 200, 0, "crawl_delay_too_long"),
    "moved": (b"User-agent: *\nDisallow: /page/1\n", 301, 3, "robots"),
    "beyond-numbers": (b"User-agent: *\nRequest-rate: 1/" + b"9" * 400, 200, 0, "crawl_delay_too_long"),
    "astray": (b"", 301, 0, "robots_unavailable"),
}


@pytest.fixture(scope="module")
def robots_crawl(tmp_path_factory: pytest.TempPathFactory):
    """One crawl of a site for each state of robots.txt; {name: (site, ends of its addresses)}."""
    folder = tmp_path_factory.mktemp("robots")
    with ExitStack() as stack:
        sites = {name: stack.enter_context(Site(host=f"127.0.0.{n}")) for n, name in enumerate(ROBOTS, 1)}
        for name, (robots, status, _, _) in ROBOTS.items():
            n = 1000 * list(ROBOTS).index(name)
            sites[name].fallback = tree(4, seed=n)
            sites[name].page("/robots.txt", robots, "text/plain", status)
            if status == 301:
                sites[name].pages["/robots.txt"] = redirect("http://[" if name == "astray" else "/real-robots.txt", 301)
                sites[name].page("/real-robots.txt", robots, "text/plain")
        crawl(folder, f"start_urls=[{','.join(f'{site.url}/page/0' for site in sites.values())}]", "retries=0")
        rows = sqlite3.connect(folder / "crawl.sqlite").execute("SELECT url, outcome, reason FROM pages").fetchall()
        ends = {name: [row[1:] for row in rows if row[0].startswith(site.url)] for name, site in sites.items()}
        yield {name: (site, ends[name]) for name, site in sites.items()}


@pytest.mark.parametrize("name", ROBOTS)
def test_robots(robots_crawl, name: str) -> None:
    site, ends = robots_crawl[name]
    _, _, kept, refused = ROBOTS[name]
    assert [reason for outcome, reason in ends if outcome == "refused"] == ([refused] if refused else [])
    assert sum(outcome == "kept" for outcome, _ in ends) == kept
    assert site.hits["/robots.txt"] == 1
    assert sum(n for path, n in site.hits.items() if path.startswith("/page/")) == kept


@pytest.mark.slow
def test_retry_after_holds_back_the_whole_host(tmp_path: Path) -> None:
    with Site() as site:
        small(site, 6)
        answers = iter([429, 503])

        def busy(handler) -> None:
            status = next(answers, 200)
            send(handler, article(90), status=status, headers={"Retry-After": "1"} if status != 200 else {})

        site.pages["/page/1"] = busy
        crawl(tmp_path, f"start_urls=[{site.url}/page/0]", "concurrency_per_domain=1")
        assert site.hits["/page/1"] == 3
        when = [at for at, path in site.times]
        after = [when[i + 1] - when[i] for i, (_, path) in enumerate(site.times[:-1]) if path == "/page/1"]
        assert after[0] > 0.95, "nothing of the host is asked for until then"
        assert after[1] > 0.95
    assert manifest(tmp_path)["kept"] == 5


def test_a_host_that_wants_to_be_left_alone(tmp_path: Path) -> None:
    """Retry-After beyond what one cares to wait: the rest stays queued, the crawl ends, and says so."""
    with Site() as site:
        small(site, 30)
        site.page("/page/0", b"later", status=429, Retry_After="100000")
        done = crawl(tmp_path, f"start_urls=[{site.url}/page/0]", timeout=20)
        assert "left" in done.stdout
        assert site.hits["/page/0"] == 1
    assert manifest(tmp_path)["queued"] == 1


def test_recrawl_asks_only_for_what_changed(tmp_path: Path) -> None:
    """ETag and Last-Modified go out; a 304 brings record and links back; a new text is taken."""
    with Site() as site:
        bodies = {f"/page/{n}": article(n, [f"/page/{n + 1}"] if n < 4 else [], home="/page/0") for n in range(5)}

        def page(handler) -> None:
            body = bodies[handler.path]
            tag = f'"{hash(body)}"'
            if handler.headers.get("If-None-Match") == tag:
                handler.send_response(304)
                handler.end_headers()
                return
            send(handler, body, headers={"ETag": tag})

        site.fallback = page
        start = f"start_urls=[{site.url}/page/0]"
        crawl(tmp_path / "old", start)
        bodies["/page/3"] = article(33, ["/page/4"], home="/page/0")
        crawl(tmp_path / "new", start, f"previous={tmp_path / 'old'}")
    old, new = manifest(tmp_path / "old"), manifest(tmp_path / "new")
    assert (old["kept"], new["kept"], new["not_modified"]) == (5, 5, 4)
    texts = (tmp_path / "new" / "corpus.txt").read_text()
    assert "Story 33" in texts or "place 3300" in texts


def test_private_addresses_are_refused(tmp_path: Path) -> None:
    """Asked for outright, by number and by name."""
    with Site() as site:
        small(site)
        port = site.url.rsplit(":", 1)[1]
        hosts = ("127.0.0.1", "localhost", "[::1]", "[::ffff:127.0.0.1]", "169.254.169.254", "x.localhost")
        (tmp_path / "list.txt").write_text("".join(f"http://{host}:{port}/inside\n" for host in hosts))
        crawl(tmp_path / "out", "spider=urls", f"urls_file={tmp_path / 'list.txt'}", "allow_private=false")
        assert sum(site.hits.values()) == 0
    assert manifest(tmp_path / "out")["refused"] == {"private_address": 6}


LYING_DNS = """
import socket, sys
from crawl.__main__ import main
real = socket.getaddrinfo
socket.getaddrinfo = lambda host, *a, **k: real("127.0.0.1" if "inside.example" in str(host) else host, *a, **k)
if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
"""


def test_private_address_behind_a_name(tmp_path: Path) -> None:
    """The name looks public; what it resolves to, at the time of connecting, is not."""
    (tmp_path / "lying_dns.py").write_text(LYING_DNS)
    with Site() as site:
        small(site)
        start = f"start_urls=[{site.url.replace('127.0.0.1', 'inside.example')}/page/0]"
        for name, allow in (("refused", "false"), ("allowed", "true")):
            line = command(tmp_path / name, start, f"allow_private={allow}", "retries=0", "obey_robots=false")
            line[1:3] = [str(tmp_path / "lying_dns.py")]
            subprocess.run(line, env=environment(), check=True, timeout=60, capture_output=True)
            assert site.hits["/page/0"] == (allow == "true")
    assert manifest(tmp_path / "refused")["refused"] == {"private_address": 1}
    assert manifest(tmp_path / "allowed")["kept"] == 4


@pytest.mark.parametrize(
    ("address", "private"),
    [
        ("127.0.0.1", True), ("10.1.2.3", True), ("192.168.0.1", True), ("169.254.169.254", True), ("100.64.0.1", True),
        ("0.0.0.0", True), ("224.0.0.1", True), ("::1", True), ("fe80::1", True), ("fc00::1", True),
        ("::ffff:127.0.0.1", True),
        ("64:ff9b::7f00:1", True), ("2002:7f00:1::", True), ("8.8.8.8", False), ("2001:4860:4860::8888", False),
        ("::ffff:8.8.8.8", False), ("64:ff9b::808:808", False),
    ],
)  # fmt: skip
def test_what_counts_as_private(address: str, private: bool) -> None:
    assert is_private(ipaddress.ip_address(address)) is private


def test_retry_after_reads_seconds_and_dates() -> None:
    assert retry_after(b"120") == 120
    assert retry_after(b"Wed, 21 Oct 2015 07:28:00 GMT") == 0
    assert (retry_after(b"Wed, 21 Oct 2099 07:28:00 GMT") or 0) > 10**8
    assert retry_after(b"soon") is None
    assert retry_after(None) is None
