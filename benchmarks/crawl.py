"""Pages a second of the whole crawl (links, extraction, filters, duplicates, ledger, reports) against a bare Scrapy
spider.

    python -m benchmarks.crawl [--site FOLDER] [--rounds 3] [--concurrency 16]

Both crawl the same folder of HTML (default: Debian's python3-doc), served by `python -m http.server` on loopback in a
process of its own, at the same concurrency and without any delay, turn and turn about. The bare spider follows links
with Scrapy's LinkExtractor and writes bodies to disk, nothing else. Time is that of the whole command, start to end.
The bar is a ratio of 1.0.
"""

import argparse
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BARE = """
import hashlib, sys
from pathlib import Path
from urllib.parse import urlsplit
from scrapy import Spider
from scrapy.crawler import CrawlerProcess
from scrapy.linkextractors import LinkExtractor

start, folder, concurrency = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])

class Bare(Spider):
    name = "bare"
    start_urls = [start]
    links = LinkExtractor(allow_domains=[urlsplit(start).netloc])

    def parse(self, response):
        (folder / hashlib.sha1(response.url.encode()).hexdigest()).write_bytes(response.body)
        if hasattr(response, "text"):
            yield from response.follow_all(self.links.extract_links(response))

process = CrawlerProcess({"CONCURRENT_REQUESTS": concurrency, "CONCURRENT_REQUESTS_PER_DOMAIN": concurrency,
"LOG_LEVEL": "ERROR",
                          "COOKIES_ENABLED": False, "TELNETCONSOLE_ENABLED": False})
process.crawl(Bare)
process.start()
"""


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """The folder behind http.server, in a process of its own."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    words = [sys.executable, "-m", "http.server", str(port), "--bind", "127.0.0.1", "--directory", str(folder)]
    server = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        for _ in range(100):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.05)
        yield f"http://127.0.0.1:{port}/"
    finally:
        server.kill()
        server.wait()


def timed(words: list[str]) -> float:
    """Seconds of a command; it must end well."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))}
    begun = time.perf_counter()
    subprocess.run(words, check=True, env=environment, cwd=ROOT, stdout=subprocess.DEVNULL)
    return time.perf_counter() - begun


def bare(start: str, folder: Path, concurrency: int) -> tuple[int, float]:
    """Bodies stored and seconds of the bare spider."""
    folder.mkdir()
    seconds = timed([sys.executable, "-c", BARE, start, str(folder), str(concurrency)])
    return len(list(folder.iterdir())), seconds


def whole(start: str, folder: Path, concurrency: int, processes: int) -> tuple[int, float]:
    """Pages fetched and seconds of the whole crawl."""
    given = {
        "start_urls": f"[{start}]", "contact": "me@example.org", "allow_private": "true", "delay_s": 0,
        "autothrottle": "false", "progress_s": 0,
        "concurrency": concurrency, "concurrency_per_domain": concurrency, "processes": processes, "output": folder,
    }  # fmt: skip
    seconds = timed([sys.executable, "-m", "crawl", *[f"{key}={value}" for key, value in given.items()]])
    manifest = json.loads((folder / "manifest.json").read_text("utf-8"))
    return manifest["fetched"], seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--site", type=Path, default=Path("/usr/share/doc/python3.11/html"))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--concurrency", type=int, default=16)
    parser.add_argument("--processes", type=int, default=2)
    arguments = parser.parse_args()
    if not (arguments.site / "index.html").is_file():
        print(
            f"crawl: left out, no index.html in {arguments.site}. Debian: apt-get install python3-doc, or --site FOLDER"
        )
        return
    ratios = []
    with served(arguments.site) as start, tempfile.TemporaryDirectory() as folder:
        for number in range(arguments.rounds):
            pages, seconds = bare(start, Path(folder) / f"bare-{number}", arguments.concurrency)
            fetched, ours = whole(start, Path(folder) / f"whole-{number}", arguments.concurrency, arguments.processes)
            ratios.append((fetched / ours) / (pages / seconds))
            print(f"bare {pages} pages {seconds:.1f} s = {pages / seconds:.1f}/s   whole {fetched} pages {ours:.1f} s = {fetched / ours:.1f}/s   ratio {ratios[-1]:.2f}", flush=True)  # fmt: skip  # noqa: E501
    print(f"ratio, median of {len(ratios)}: {statistics.median(ratios):.2f} (bar 1.0)")


if __name__ == "__main__":
    main()
