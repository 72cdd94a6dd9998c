"""Two crawlers on one queue in a real Redis server, one of them killed: no page twice, none lost."""

import hashlib
import json
import os
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from crawl.document import Document
from crawl.queueing.files import Files
from crawl.queueing.frontier import Frontier
from crawl.queueing.ledger import Ending, Link
from crawl.queueing.merge import merge
from crawl.samples import Samples
from crawl.settings import CRAWL
from tests.crawl.helpers import command, documents, environment, manifest, refused
from tests.crawl.site import Site, tree
from tests.crawl.test_durability import done_pages, start, wait_for

pytest.importorskip("scrapy_redis")


@pytest.fixture(scope="module")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A Redis server of our own on a free port."""
    if not shutil.which("redis-server"):
        pytest.skip("no redis-server on this machine (Debian: apt-get install redis-server)")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    words = [
        "redis-server",
        "--port",
        str(port),
        "--bind",
        "127.0.0.1",
        "--save",
        "",
        "--dir",
        str(tmp_path_factory.mktemp("redis")),
    ]
    server = subprocess.Popen(words, stdout=subprocess.DEVNULL)
    for _ in range(100):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                break
        time.sleep(0.05)
    yield f"redis://127.0.0.1:{port}/0"
    server.kill()
    server.wait()


def shared(redis_url: str, site: Site, worker: str) -> list[str]:
    return [
        f"start_urls=[{site.url}/page/0]",
        "queue=redis",
        f"redis_url={redis_url}",
        f"redis_key={site.url[-5:]}",
        f"worker={worker}",
        "lease_s=2",
    ]


def test_one_of_two_is_killed(tmp_path: Path, redis_url: str) -> None:
    with Site() as site:
        pages, both_at_work = tree(150), threading.Event()
        site.fallback = lambda handler: (
            time.sleep(0.01) if both_at_work.is_set() else time.sleep(0.3),
            pages(handler),
        )[1]
        one, two = (start(tmp_path, *shared(redis_url, site, worker)) for worker in ("one", "two"))
        wait_for(tmp_path / "workers" / "one", 20, one)
        wait_for(tmp_path / "workers" / "two", 5, two)
        both_at_work.set()
        assert one.poll() is None
        merging = [*command(tmp_path)[:3], "merge", str(tmp_path)]
        early = subprocess.run(merging, env=environment(), capture_output=True, text=True)
        assert (early.returncode, "is at work" in early.stderr) == (2, True), early.stderr
        os.kill(one.pid, signal.SIGKILL)
        one.wait()
        before = done_pages(tmp_path / "workers" / "one")
        assert two.wait(timeout=60) == 0
    merged = subprocess.run(
        [*command(tmp_path)[:3], "merge", str(tmp_path)], env=environment(), capture_output=True, text=True
    )
    assert merged.returncode == 0, merged.stderr
    found = manifest(tmp_path)
    assert before >= 20
    assert done_pages(tmp_path / "workers" / "two") > 0
    assert found["fetched"] == 150
    assert found["kept"] == 150, found
    assert "Redis holds another crawl named" in refused(tmp_path / "b", *shared(redis_url, site, "one"), "max_depth=2")
    assert max(Counter(document["url"] for document in documents(tmp_path)).values()) == 1


def test_no_redis_there(tmp_path: Path) -> None:
    words = ["start_urls=[http://a.org/]", "queue=redis", "redis_key=x", "redis_url=redis://127.0.0.1:1/0"]
    assert "cannot reach Redis" in refused(tmp_path, *words)


def worker(folder: Path, texts: dict[str, str]) -> None:
    """What a crawler leaves in its folder."""
    folder.mkdir(parents=True)
    frontier = Frontier(folder / "crawl.sqlite", CRAWL)
    files = Files(folder, frontier.connection, 10**6)
    Samples(frontier.connection)
    frontier.remember("settings", json.dumps(CRAWL | {"queue": "redis", "start_urls": ["http://a.org/"]}))
    frontier.add([Link(url) for url in texts])
    for url, text in texts.items():
        entry = frontier.entry(url)
        assert entry is not None
        line = Document(url, text, sha256=hashlib.sha256(text.encode()).hexdigest()).line()
        frontier.finish(entry, Ending("kept", None, *files.append_document(line)))
    files.close()
    frontier.close()


def test_merging_keeps_each_address_and_each_text_once(tmp_path: Path) -> None:
    """Stored twice because one was killed before it could say so; two addresses with one text; merged twice."""
    worker(tmp_path / "workers" / "one", {"http://a.org/1": "first text", "http://a.org/2": "second text"})
    worker(tmp_path / "workers" / "two", {"http://a.org/2": "second text, later", "http://a.org/3": "first text"})
    for _ in range(2):
        merge(tmp_path)
        assert [document["url"] for document in documents(tmp_path)] == ["http://a.org/1", "http://a.org/2"]
        found = manifest(tmp_path)
        assert (found["fetched"], found["dropped"]) == (3, {"duplicate_other_worker": 1})
