"""data=crawl: reads what task=crawl writes (one fixture for both test suites), and splits by site (N12)."""

import json
import shutil
from collections import Counter
from pathlib import Path

import pytest

from datamodules.crawl import CrawlDataModule, choose_sites
from errors import RequestError
from tokenization.byte import ByteTokenizer

FIXTURE = Path(__file__).resolve().parents[1] / "crawl" / "fixture" / "documents-00000.jsonl"


def module(folder: Path, tmp_path: Path, **given) -> CrawlDataModule:
    settings = {"seq_len": 32, "batch_size": 2, "cache_dir": str(tmp_path / "cache")} | given
    return CrawlDataModule(tokenizer=ByteTokenizer(), path=str(folder), **settings)


def write(folder: Path, sites: dict[str, int]) -> Path:
    folder.mkdir()
    lines = [
        json.dumps({"url": f"http://{site}/{n}", "site": site, "text": f"{site} page {n} " * 30})
        for site, pages in sites.items()
        for n in range(pages)
    ]
    (folder / "documents-00000.jsonl").write_text("\n".join(lines) + "\n")
    return folder


def test_N12_no_site_is_on_both_sides() -> None:
    train, val = choose(Counter({f"s{n}.org": 10 for n in range(20)}))
    assert train
    assert val
    assert not train & val
    assert len(val) == 2
    assert choose(Counter({f"s{n}.org": 10 for n in range(20)})) == (train, val)


def choose(counts: Counter[str], fraction: float = 0.1) -> tuple[set[str], set[str]]:
    val = set(choose_sites(counts, fraction))
    return set(counts) - val, val


def test_a_huge_site_does_not_become_validation() -> None:
    counts = Counter({"huge.org": 1000} | {f"s{n}.org": 10 for n in range(20)})
    assert "huge.org" not in choose(counts)[1]


def test_both_sides_come_from_their_sites(tmp_path: Path) -> None:
    folder = write(tmp_path / "many", {f"s{n}.org": 5 for n in range(20)})
    shards_train, shards_val = module(folder, tmp_path)._sides()
    assert shards_val is not None
    train, val = (Counter(text.split()[0] for (text,) in side.documents()) for side in (shards_train, shards_val))
    assert not set(train) & set(val)
    assert train.total() + val.total() == 100
    assert val.total() == 10


def test_few_sites_are_split_by_document(tmp_path: Path) -> None:
    folder = write(tmp_path / "one", {"a.org": 40})
    assert module(folder, tmp_path)._sides()[1] is None
    with pytest.raises(RequestError, match="split=site needs more than one site"):
        module(folder, tmp_path, split="site").prepare()


def test_batches_come_out(tmp_path: Path) -> None:
    """The fixture beside files that must not be read: corpus.txt and dropped documents."""
    folder = tmp_path / "crawl"
    folder.mkdir()
    shutil.copy(FIXTURE, folder)
    (folder / "corpus.txt").write_text("TWICE")
    (folder / "dropped" / "too_short").mkdir(parents=True)
    (folder / "dropped" / "too_short" / "documents.jsonl").write_text('{"text": "DROPPED"}\n')
    data = module(folder, tmp_path, seq_len=8)
    data.prepare()
    text = data.describe()
    assert text["train"]["documents"] + text["val"]["documents"] == 3


def test_N2_what_is_no_crawl(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="reads the folder that task=crawl writes"):
        module(tmp_path, tmp_path).prepare()
    (tmp_path / "documents-00000.jsonl").write_text('{"url": "x"}\n')
    with pytest.raises(RequestError, match="line 1"):
        module(tmp_path, tmp_path).prepare()
