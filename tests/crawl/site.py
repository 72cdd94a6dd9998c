"""A web site on loopback that behaves as badly as real ones do, and counts what it is asked for.

Pages are functions of the request; each hostile case is one of them. `with Site() as site:` gives `site.url` and
`site.hits`.
"""

import gzip
import random
import threading
import time
from collections import Counter
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

WORDS = [
    "river",
    "stone",
    "harbour",
    "window",
    "market",
    "garden",
    "letter",
    "engine",
    "winter",
    "bridge",
    "candle",
    "forest",
    "signal",
    "copper",
    "meadow",
    "ladder",
    "orchard",
    "kettle",
    "thunder",
    "saddle",
    "lantern",
    "pepper",
    "valley",
    "anchor",
    "cotton",
    "marble",
    "feather",
    "timber",
    "basket",
    "mirror",
]
SMALL = ["the", "of", "and", "that", "with", "to", "in", "was", "it", "for"]


def sentence(seed: int, n: int = 14) -> str:
    """English-looking words that differ from page to page and do not repeat themselves: filters let them through."""
    chance = random.Random(seed)
    words = [chance.choice(WORDS if chance.random() < 0.7 else SMALL) for _ in range(n)]
    return f"{' '.join(words).capitalize()} at place {seed}."


def article(seed: int, links: list[str] | None = None, paragraphs: int = 6, head: str = "", home: str = "/") -> bytes:
    """A page with navigation, an article of its own, and links."""
    body = "".join(f"<p>{' '.join(sentence(seed * 100 + p * 10 + s) for s in range(4))}</p>" for p in range(paragraphs))
    anchors = "".join(f'<li><a href="{link}">Link {number}</a></li>' for number, link in enumerate(links or []))
    return f"""<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Story {seed}</title>{head}</head><body>
<nav><ul><li><a href="{home}">Home</a></li></ul></nav><article><h1>Story {seed}</h1>{body}</article><ul>{anchors}</ul>
<footer>Imprint and copyright of the site</footer></body></html>""".encode()


class Site:
    """A threaded server on a free port; `pages` maps paths to functions of the handler, `fallback` serves the rest."""

    def __init__(self, robots: bytes | None = None, host: str = "127.0.0.1"):
        self.robots = robots
        self.hits: Counter[str] = Counter()
        self.times: list[tuple[float, str]] = []
        self.requests: list[dict[str, str]] = []
        self.pages: dict[str, Callable[[Any], None]] = {}
        self.fallback: Callable[[Any], None] | None = None
        self.server = _Server((host, 0), _handler(self))
        self.url = f"http://{host}:{self.server.server_address[1]}"
        self.stopping = threading.Event()

    def page(
        self, path: str, body: bytes, content_type: str = "text/html; charset=utf-8", status: int = 200, **headers: str
    ) -> None:
        """Serve fixed bytes at a path."""
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        self.pages[path] = lambda handler: send(handler, body, content_type, status, names)

    def paths(self) -> list[str]:
        """Every path asked for, robots.txt left out."""
        return [path for _, path in self.times if path != "/robots.txt"]

    def __enter__(self) -> "Site":
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stopping.set()
        self.server.shutdown()
        self.server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A crawler that hangs up on a hostile answer is what we want to see."""


def _handler(site: Site) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            site.hits[self.path] += 1
            site.times.append((time.monotonic(), self.path))
            site.requests.append({name.lower(): value for name, value in self.headers.items()})
            path = self.path.split("?")[0]
            if path == "/robots.txt" and path not in site.pages:
                send(self, site.robots or b"", "text/plain", 200 if site.robots is not None else 404)
            elif path in site.pages:
                site.pages[path](self)
            elif site.fallback is not None:
                site.fallback(self)
            else:
                send(self, b"<p>nothing here</p>", status=404)

        def log_message(self, *_: Any) -> None:
            """Silence."""

    return Handler


def send(
    handler: Any,
    body: bytes,
    content_type: str = "text/html; charset=utf-8",
    status: int = 200,
    headers: dict | None = None,
) -> None:
    """A whole answer."""
    handler.send_response(status)
    handler.send_header("Content-Type", content_type)
    handler.send_header("Content-Length", str(len(body)))
    for name, value in (headers or {}).items():
        handler.send_header(name, value)
    handler.end_headers()
    handler.wfile.write(body)


def redirect(target: str, status: int = 302) -> Callable[[Any], None]:
    """A page that sends one elsewhere."""
    return lambda handler: send(handler, b"", status=status, headers={"Location": target})


def bomb(megabytes: int) -> Callable[[Any], None]:
    """Zeros without end, small on the wire."""
    packed = gzip.compress(b"\0" * 1_000_000) * megabytes  # gzip members may follow one another
    return lambda handler: send(handler, packed, headers={"Content-Encoding": "gzip"})


def drip(site: Site, seconds: float = 60.0) -> Callable[[Any], None]:
    """One byte now and then, never done."""

    def page(handler: Any) -> None:
        handler.send_response(200)
        handler.send_header("Content-Type", "text/html")
        handler.send_header("Content-Length", "1000000")
        handler.end_headers()
        end = time.monotonic() + seconds
        while time.monotonic() < end and not site.stopping.wait(0.1):
            handler.wfile.write(b"x")
            handler.wfile.flush()

    return page


def calendar(handler: Any) -> None:
    """/calendar/2026/05: every month links to the next and to the one before, for ever."""
    year, month = (int(part) for part in handler.path.split("/")[2:4])
    following, before = (year + month // 12, month % 12 + 1), (year - (month == 1), (month - 2) % 12 + 1)
    links = [f"/calendar/{y}/{m:02d}" for y, m in (following, before)]
    send(handler, article(year * 12 + month, links, paragraphs=2))


def tree(n: int, *, links: int = 4, seed: int = 0) -> Callable[[Any], None]:
    """/page/0 ... /page/n-1, each linking to some others, so that all are reachable from the first."""

    def page(handler: Any) -> None:
        number = int(handler.path.rsplit("/", 1)[1]) if handler.path.startswith("/page/") else 0
        targets = [number * links + k for k in range(1, links + 1)] + [number // 2, (number * 7) % n]
        send(handler, article(seed + number, [f"/page/{t}" for t in targets if t < n], home="/page/0"))

    return page
