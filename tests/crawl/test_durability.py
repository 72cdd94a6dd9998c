"""kill -9 at any moment and go on (N38); Ctrl-C; another crawl in the folder; memory."""

import errno
import os
import random
import re
import shlex
import signal
import sqlite3
import subprocess
import threading
import time
import tracemalloc
from collections import Counter
from pathlib import Path

import pytest

from crawl.document import Document
from crawl.failing import in_words
from crawl.queueing.files import Files
from crawl.queueing.frontier import Frontier
from crawl.queueing.ledger import Ending, Link
from crawl.queueing.merge import merge
from crawl.samples import Samples
from crawl.settings import CRAWL
from errors import RequestError, RunError
from tests.crawl.helpers import command, crawl, documents, environment, manifest, refused
from tests.crawl.site import Site, article, drip, send, tree


def start(folder: Path, *words: str) -> subprocess.Popen[bytes]:
    """A crawl in the background, in a process group of its own."""
    return subprocess.Popen(
        command(folder, *words),
        env=environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def done_pages(folder: Path) -> int:
    """How many pages the ledger says are done, while the crawl is running."""
    try:
        with sqlite3.connect(f"file:{folder}/crawl.sqlite?mode=ro", uri=True, timeout=5) as connection:
            return connection.execute("SELECT count(*) FROM pages WHERE state = 2").fetchone()[0]
    except sqlite3.OperationalError:
        return 0


def wait_for(folder: Path, pages: int, process: subprocess.Popen[bytes], seconds: float = 30) -> None:
    """Wait until so many pages are done or the process has ended."""
    end = time.monotonic() + seconds
    while done_pages(folder) < pages and process.poll() is None and time.monotonic() < end:
        time.sleep(0.01)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (sqlite3.OperationalError("database or disk is full"), "crawl.sqlite cannot be written: the disk is full"),
        (sqlite3.OperationalError("disk I/O error"), "crawl.sqlite cannot be written: the disk is full, or not well"),
        (OSError(errno.ENOSPC, "No space left on device", "corpus.txt"), "corpus.txt cannot be .*: the disk is full"),
        (OSError(errno.EMFILE, "Too many open files"), "too many open files"),
        (RequestError("as it is"), "as it is"),
    ],
)
def test_F29_what_ends_a_crawl_is_said_plainly(error: Exception, words: str, tmp_path: Path) -> None:
    found = in_words(error, tmp_path)
    assert re.search(words, str(found))
    assert isinstance(found, RequestError if isinstance(error, RequestError) else RunError)


def test_F29_a_ledger_on_a_full_disk_is_left_as_it_was(tmp_path: Path) -> None:
    """SQLite rolls back by itself there; a limit of pages makes it say that the disk is full."""
    frontier = Frontier(tmp_path / "crawl.sqlite", dict(CRAWL))
    frontier.add([Link("http://a.org/first", 0)])
    frontier.commit()
    pages = frontier.connection.execute("PRAGMA page_count").fetchone()[0]
    frontier.connection.execute(f"PRAGMA max_page_count = {pages + 2}")
    with pytest.raises(sqlite3.OperationalError, match="full"):
        frontier.add([Link(f"http://a.org/{i}/{'x' * 500}", 0) for i in range(2000)])
    frontier.abandon()
    again = Frontier(tmp_path / "crawl.sqlite", dict(CRAWL))
    assert again.connection.execute("SELECT url FROM pages").fetchall() == [("http://a.org/first",)]
    again.close()


@pytest.mark.slow
@pytest.mark.parametrize("kilobytes", [40, 150, 400])
def test_F29_a_crawl_that_cannot_write_says_so_and_goes_on_later(kilobytes: int, tmp_path: Path) -> None:
    """No file may grow beyond a size, as on a full disk a write comes back with an error."""
    with Site() as site:
        site.fallback = tree(60)
        words = command(tmp_path / "corpus", f"start_urls=[{site.url}/page/0]")
        limited = ["bash", "-c", f"ulimit -f {kilobytes}; exec " + shlex.join(words)]
        done = subprocess.run(limited, env=environment(), capture_output=True, text=True, timeout=120)
        assert done.returncode == 1, done.stderr
        assert "Traceback" not in done.stderr
        assert re.search("cannot be (written|read or written)|Cannot write", done.stderr), done.stderr
        crawl(tmp_path / "corpus", f"start_urls=[{site.url}/page/0]")
    assert len(documents(tmp_path / "corpus")) == manifest(tmp_path / "corpus")["kept"] > 40


@pytest.mark.slow
def test_N38_kill_nine_five_times(tmp_path: Path) -> None:
    """200 pages, killed at five random places: each page stored once, no torn record, counts right."""
    chance = random.Random(38)
    with Site() as site:
        pages = tree(200)
        site.fallback = lambda handler: (time.sleep(0.005), pages(handler))[1]
        words = (f"start_urls=[{site.url}/page/0]", "concurrency=8", "concurrency_per_domain=8", "keep_dropped=true")
        for kill in range(5):
            process = start(tmp_path, *words)
            wait_for(tmp_path, 15 + 30 * kill + chance.randrange(20), process)
            time.sleep(chance.random() * 0.05)
            assert 0 < done_pages(tmp_path) < 200, "it is killed in the middle"
            os.kill(process.pid, signal.SIGKILL)
            process.wait()
        crawl(tmp_path, *words)
    found = manifest(tmp_path)
    assert found["fetched"] == 200
    assert found["status"] == "finished"
    assert [url for url, n in Counter(document["url"] for document in documents(tmp_path)).items() if n > 1] == []
    assert found["kept"] == 200, found["dropped"]
    assert sum(site.hits.values()) < 200 + 5 * (8 + 8) + 6, "only what was on its way is asked for again"


def test_torn_tail_is_cut_and_lost_bytes_are_fetched_again(tmp_path: Path) -> None:
    """What the disk holds beyond or short of the ledger, after a kill or a power cut."""
    frontier = Frontier(tmp_path / "crawl.sqlite", CRAWL)
    files = Files(tmp_path, frontier.connection, 1000)
    frontier.add([Link(f"http://a.org/{n}") for n in range(3)])
    for n in range(3):
        entry = frontier.take("a.org")
        assert entry is not None
        line = Document(entry.url, f"text {n}").line()
        frontier.finish(entry, Ending("kept", None, *files.append_document(line)))
    files.close()
    frontier.close()
    shard = tmp_path / "documents-00000.jsonl"
    whole = shard.read_bytes()
    shard.write_bytes(whole + b'{"url": "torn')
    (tmp_path / "documents-00007.jsonl").write_bytes(b"begun and never committed")
    assert reopened(tmp_path) == (0, whole)
    assert not (tmp_path / "documents-00007.jsonl").exists()
    shard.write_bytes(whole[:-5])
    assert reopened(tmp_path) == (1, b"".join(whole.splitlines(keepends=True)[:2]))


def reopened(folder: Path) -> tuple[int, bytes]:
    """Queued pages and shard after recovery."""
    frontier = Frontier(folder / "crawl.sqlite", CRAWL)
    Files(folder, frontier.connection, 1000)
    frontier.read_outcomes()
    queued = frontier.queued
    frontier.close()
    return queued, (folder / "documents-00000.jsonl").read_bytes()


@pytest.mark.parametrize(
    ("number", "status"), [pytest.param(signal.SIGINT, 130, marks=pytest.mark.slow), (signal.SIGTERM, 143)]
)
def test_signal_ends_cleanly(tmp_path: Path, number: signal.Signals, status: int) -> None:
    """Also with an answer that never comes to its end, and a host that waits."""
    with Site() as site:
        first = ["/drip"] if number == signal.SIGINT else []
        site.page("/", article(1, [*first, *(f"/page/{n}" for n in range(50))]))
        site.pages["/drip"] = drip(site)
        pages = tree(50)
        site.fallback = lambda handler: (time.sleep(0.05), pages(handler))[1]
        process = start(tmp_path, f"start_urls=[{site.url}/]")
        wait_for(tmp_path, 5, process)
        begun = time.monotonic()
        process.send_signal(number)
        assert process.wait(timeout=20) == status
        assert time.monotonic() - begun < 9
        found = manifest(tmp_path)
        assert found["status"] == "interrupted"
        assert found["queued"] > 0
        del site.pages["/drip"]
        crawl(tmp_path, f"start_urls=[{site.url}/]")
        assert manifest(tmp_path)["queued"] == 0


def test_no_workers_are_left_behind(tmp_path: Path) -> None:
    with Site() as site:
        pages = tree(400)
        site.fallback = lambda handler: (time.sleep(0.02), pages(handler))[1]
        process = start(tmp_path, f"start_urls=[{site.url}/page/0]")
        wait_for(tmp_path, 10, process)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        end = time.monotonic() + 10
        while group_is_alive(process.pid) and time.monotonic() < end:
            time.sleep(0.1)
        assert not group_is_alive(process.pid)


def group_is_alive(group: int) -> bool:
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = status.read_text().rsplit(")", 1)[1].split()
        except OSError:
            continue
        if int(fields[2]) == group and fields[0] != "Z":
            return True
    return False


@pytest.mark.slow
def test_other_settings_are_another_crawl(tmp_path: Path) -> None:
    """N2: refused in plain words; what may change may."""
    with Site() as site:
        site.fallback = lambda handler: send(handler, article(1))
        start_urls = f"start_urls=[{site.url}/]"
        crawl(tmp_path, start_urls, "max_pages=5")
        crawl(tmp_path, start_urls, "max_pages=9", "concurrency=3")
        assert "max_depth: was 20, now 3" in refused(tmp_path, start_urls, "max_depth=3")


@pytest.mark.parametrize("ledger", [None, b""])
def test_F17_documents_without_a_ledger_are_not_ours_to_remove(tmp_path: Path, ledger: bytes | None) -> None:
    (tmp_path / "documents-00000.jsonl").write_text("mine")
    if ledger is not None:
        (tmp_path / "crawl.sqlite").write_bytes(ledger)
    assert "holds documents-00000.jsonl: not written by this program" in refused(tmp_path, "start_urls=[http://a.org/]")
    assert (tmp_path / "documents-00000.jsonl").read_text() == "mine"


def test_F17_recovery_removes_nothing_but_shards(tmp_path: Path) -> None:
    frontier = Frontier(tmp_path / "crawl.sqlite", CRAWL)
    for name in ("documents-mine.jsonl", "documents-00000.jsonl.bak", "documents-00003.jsonl"):
        (tmp_path / name).write_text("text")
    Files(tmp_path, frontier.connection, 1000)
    frontier.close()
    left = sorted(path.name for path in tmp_path.glob("documents-*"))
    assert left == ["documents-00000.jsonl.bak", "documents-mine.jsonl"]


def test_F17_merging_removes_only_what_merging_wrote(tmp_path: Path) -> None:
    (tmp_path / "workers/a").mkdir(parents=True)
    Frontier(tmp_path / "workers/a/crawl.sqlite", CRAWL).close()
    (tmp_path / "documents-00000.jsonl").write_text("mine")
    with pytest.raises(RequestError, match=r"holds documents-00000.jsonl"):
        merge(tmp_path)
    assert (tmp_path / "documents-00000.jsonl").read_text() == "mine"


@pytest.mark.slow
def test_two_crawlers_in_one_folder(tmp_path: Path) -> None:
    with Site() as site:
        pages = tree(300)
        site.fallback = lambda handler: (time.sleep(0.3), pages(handler))[1]  # it is still there when the other comes
        words = f"start_urls=[{site.url}/page/0]"
        process = start(tmp_path, words)
        wait_for(tmp_path, 3, process)
        try:
            assert "Another crawler is at work" in refused(tmp_path, words)
        finally:
            process.kill()
            process.wait()


def memory_mb(group: int) -> float:
    """Resident memory of all processes of a group: the crawler and its extraction workers."""
    total = 0
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            fields = (folder / "stat").read_text().rsplit(")", 1)[1].split()
        except OSError:
            continue  # it has just ended
        total += int(fields[21]) * os.sysconf("SC_PAGE_SIZE") if int(fields[2]) == group else 0
    return total / 2**20


@pytest.mark.slow
def test_ledger_keeps_nothing_in_memory(tmp_path: Path) -> None:
    """The quick half of the memory test: 6,000 addresses through the ledger, without the network."""
    frontier = Frontier(tmp_path / "crawl.sqlite", CRAWL)
    files = Files(tmp_path, frontier.connection, 10**9)
    samples = Samples(frontier.connection)
    frontier.add([Link("http://a.org/0")])
    sizes: dict[int, int] = {}
    tracemalloc.start()
    for n in range(6000):
        entry = frontier.take("a.org")
        assert entry is not None
        place = files.append_document(Document(entry.url, f"text {n}").line())
        samples.offer("kept", entry.url, None, "text")
        links = [Link(f"http://a.org/{n * 2 + k}", 1) for k in (1, 2)]
        frontier.finish(entry, Ending("kept", None, *place), links)
        if n in (1000, 5999):
            sizes[n] = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    frontier.close()
    assert sizes[5999] < sizes[1000] + 250_000, sizes


@pytest.mark.slow
@pytest.mark.timeout(3000)
def test_memory_is_flat(tmp_path: Path) -> None:
    """From 200 to 20,000 pages the crawler and its workers grow by less than a third."""
    seen: dict[int, float] = {}
    with Site() as site:
        site.fallback = tree(20_000)
        process = start(tmp_path, f"start_urls=[{site.url}/page/0]", "max_pages=30000", "max_depth=1000", "processes=2")
        watcher = threading.Thread(target=watch, args=(process, tmp_path, seen))
        watcher.start()
        assert process.wait() == 0
        watcher.join()
    assert manifest(tmp_path)["fetched"] == 20_000
    early = max(memory for pages, memory in seen.items() if 200 <= pages <= 2000)
    late = max(memory for pages, memory in seen.items() if pages >= 15_000)
    print(f"memory of the crawler and its workers: {early:.0f} MB early, {late:.0f} MB late")
    assert late < early * 1.33


def watch(process: subprocess.Popen[bytes], folder: Path, seen: dict[int, float]) -> None:
    while process.poll() is None:
        pages = done_pages(folder)
        try:
            seen[pages] = memory_mb(process.pid)
        except OSError:
            return
        time.sleep(0.5)


def test_one_crawler_to_a_folder_at_any_moment(tmp_path: Path) -> None:
    """Also between a commit and the transaction after it, where SQLite alone lets another one in."""
    first = Frontier(tmp_path / "crawl.sqlite", CRAWL)
    first.connection.execute("COMMIT")
    with pytest.raises(RequestError, match="is at work"):
        Frontier(tmp_path / "crawl.sqlite", CRAWL)
    first.connection.execute("BEGIN IMMEDIATE")
    first.close()
    Frontier(tmp_path / "crawl.sqlite", CRAWL).close()
