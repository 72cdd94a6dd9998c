"""What a crawl leaves: shards, corpus.txt, Parquet, dropped documents, manifest, card and page."""

import hashlib
import json
from html.parser import HTMLParser
from pathlib import Path

import pytest

from crawl.document import Document
from crawl.filters import FILTERS
from crawl.report import page
from crawl.report.words import meaning
from tests.crawl.helpers import crawl, documents, manifest
from tests.crawl.site import Site, article, tree
from tests.hostile import HOSTILE, assert_stays_text


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small crawl with everything switched on."""
    pytest.importorskip("pyarrow")
    folder = tmp_path_factory.mktemp("output") / "out"
    with Site() as site:
        site.fallback = tree(12)
        site.page("/page/3", b"<html><body><article><p>Too short to keep.</p></article></body></html>")
        site.page("/page/4", article(0, home="/page/0"))
        site.page(
            "/page/5",
            article(5, head='<meta name="robots" content="nofollow">').replace(
                b"<p>The", b"<p>The &lt;blink&gt; thing"
            ),
        )
        crawl(folder, f"start_urls=[{site.url}/page/0]", "keep_dropped=true", "parquet=true", "shard_bytes=5000")
    return folder


def test_records_are_as_promised(done: Path) -> None:
    """FORMAT.md: fields, hash, unique addresses."""
    found = documents(done)
    assert list(found[0]) == [
        "url",
        "text",
        "title",
        "date",
        "language",
        "fetched_at",
        "sha256",
        "site",
        "content_type",
        "masked",
    ]
    assert len({document["url"] for document in found}) == len(found) == manifest(done)["kept"]
    for document in found:
        assert document["sha256"] == hashlib.sha256(document["text"].encode()).hexdigest()
        assert document["text"].strip()
        assert document["fetched_at"].endswith("+00:00")


def test_shards_corpus_and_parquet_agree(done: Path) -> None:
    import pyarrow.parquet as pq

    shards = sorted(done.glob("documents-*.jsonl"))
    assert len(shards) > 1
    texts = [document["text"] for document in documents(done)]
    assert (done / "corpus.txt").read_text("utf-8") == "".join(text.strip("\n") + "\n\n" for text in texts)
    rows = [row for shard in shards for row in pq.read_table(shard.with_suffix(".parquet")).to_pylist()]
    assert [row["text"] for row in rows] == texts


def test_dropped_documents_are_kept_aside(done: Path) -> None:
    found = manifest(done)
    aside = {path.parent.name: len(path.read_text().splitlines()) for path in done.glob("dropped/*/documents.jsonl")}
    assert aside
    assert all(found["dropped"][reason] == n for reason, n in aside.items())
    assert any("duplicate" in reason for reason in aside), "page 4 repeats page 0"


def test_manifest_names_what_made_it(done: Path) -> None:
    found = manifest(done)
    assert found["settings"]["contact"] == "me@example.org"
    assert {"python", "scrapy", "trafilatura"} <= set(found["versions"])
    assert found["started_at"] <= found["ended_at"]
    assert list(found["robots"].values()) == [{"status": 404, "decision": "all allowed", "crawl_delay_s": None}]
    assert sum(found["lengths"]) == found["kept"]


class Checker(HTMLParser):
    """Collects tags and addresses of the page."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.loaded: list[str | None] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.loaded += [
            value
            for name, value in attributes
            if name in ("src", "data", "action") or (tag == "link" and name == "href")
        ]


def test_page_is_self_contained_and_safe(done: Path) -> None:
    """Nothing is loaded, and what a hostile page wrote stays text."""
    text = (done / "report.html").read_text("utf-8")
    checker = Checker()
    checker.feed(text)
    assert checker.loaded == []
    assert not {"script", "blink"} & set(checker.tags)
    assert "&lt;blink&gt;" in text
    for words in (
        "Where the pages went",
        "Lengths of kept documents",
        "Sites",
        "Kept, at random",
        "Dropped, at random",
    ):
        assert words in text


def test_hostile_text_stays_text_on_the_page(done: Path) -> None:
    sample = {"url": HOSTILE, "title": HOSTILE, "text": HOSTILE}
    hostile = {name: {HOSTILE: 1} for name in ("dropped", "failed", "refused", "skipped", "listings")}
    site = {"site": HOSTILE} | dict.fromkeys(("fetched", "kept", "dropped", "failed", "words"), 1)
    found = manifest(done) | hostile | {"sites": [site], "status": HOSTILE, "stopped_by": HOSTILE}
    found["settings"] |= {"start_urls": [HOSTILE]}
    assert_stays_text(page.text(found, {"kept": [sample], HOSTILE: [sample]}), times=16)


def test_card_counts_and_warns(done: Path) -> None:
    card = (done / "README.md").read_text("utf-8")
    assert f"{manifest(done)['kept']:,} documents" in card
    assert "Being reachable is no licence" in card
    assert "`redirect`" not in card


def test_a_line_is_a_line_for_every_reader() -> None:
    """U+2028 and friends split lines for some readers; lone surrogates have no UTF-8."""
    line = Document("http://a.org/", "one\u2028two\u2029three\x85four\nfive \ud800 \U0001f600").line()
    assert line.count(b"\n") == 1
    assert len(line.decode().splitlines()) == 1
    assert json.loads(line)["text"].startswith("one\u2028two\u2029three\x85four\nfive ")
    assert "\U0001f600" in json.loads(line)["text"]


def test_every_reason_has_words() -> None:
    for reason in [*FILTERS, "no_text", "duplicate", "near_duplicate", "boilerplate", "language", "robots", "http_404"]:
        assert meaning(reason), reason
