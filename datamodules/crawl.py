"""`data=crawl`: a crawled corpus, split by site where there are sites enough, else by document (N12).

Reads the folder that `task=crawl` writes (crawl/FORMAT.md): documents-*.jsonl, nothing else of it. Pages of one
site share wording, so a split by document alone would let training see much of what validation asks.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from datamodules.kinds.prepared import PreparedDataModule
from datamodules.reading.ignored import Ignored
from datamodules.reading.json_rows import json_lines
from datamodules.reading.readers import Document
from datamodules.reading.sources import FileSource
from errors import RequestError

MIN_SITES = 10  # fewer cannot be divided fairly: one site may be most of the corpus
MAX_MISS = 0.5  # a split by site whose validation is further off than this share of what was asked for is not taken


@dataclass(frozen=True)
class SiteSource:
    """The documents of some of the sites, in the order of the shards."""

    shards: FileSource
    sites: frozenset[str]

    @property
    def name(self) -> str:
        return f"{self.shards.name} ({len(self.sites)} sites)"

    @property
    def n_bytes(self) -> int | None:
        return None

    ignored = Ignored()

    def documents(self) -> Iterator[Document]:
        for record in records(self.shards):
            if site_of(record) in self.sites and record["text"].strip():
                yield (record["text"],)

    def fingerprint(self) -> str:
        return hashlib.sha256("\n".join([self.shards.fingerprint(), *sorted(self.sites)]).encode()).hexdigest()


class CrawlDataModule(PreparedDataModule):
    provides = ("tokens",)

    def __init__(self, *, path: str, split: Literal["auto", "site", "document"] = "auto", **shared: Any):
        super().__init__(**shared)
        self.path, self.split = path, split

    def _sides(self) -> tuple[FileSource | SiteSource, SiteSource | None]:
        """Both sides by site; or all shards and None, which splits by document."""
        shards = FileSource(f"data.path={self.path}", find_shards(self.path), "text", None)
        if self.split == "document":
            return shards, None
        counts = Counter(site_of(record) for record in records(shards))
        val = choose_sites(counts, self.val_fraction)
        wanted = self.val_fraction * counts.total()
        fair = abs(sum(counts[site] for site in val) - wanted) <= MAX_MISS * wanted
        if len(val) == len(counts) or (self.split == "auto" and (len(counts) < MIN_SITES or not fair)):
            if self.split == "site":
                raise RequestError(
                    f"data.split=site needs more than one site; {self.path} holds {len(counts)}."
                    "\nType data.split=document."
                )
            return shards, None
        return SiteSource(shards, frozenset(counts) - val), SiteSource(shards, val)


def choose_sites(counts: Counter[str], fraction: float) -> frozenset[str]:
    """Sites for validation, in the order of their hash, until they hold `fraction` of the documents; a site that would
    hold more than the rest of that share is passed over, unless nothing has been chosen."""
    wanted, chosen, n = fraction * counts.total(), set(), 0
    order = sorted(counts, key=lambda site: hashlib.sha256(site.encode()).hexdigest())
    for site in order:
        if n + counts[site] <= wanted * (1 + MAX_MISS / 2):
            chosen.add(site)
            n += counts[site]
        if n >= wanted:
            break
    return frozenset(chosen or order[:1])


def find_shards(path: str) -> tuple[Path, ...]:
    """The shards of a crawl. Raises RequestError when the folder is none."""
    folder = Path(path).expanduser()
    found = tuple(file for file in sorted(folder.glob("documents-*.jsonl")) if file.stat().st_size)
    if not found:
        what = "is no folder" if not folder.is_dir() else "holds no documents-*.jsonl with text"
        raise RequestError(
            f"data.path={path} {what}: data=crawl reads the folder that task=crawl writes.\n"
            "Type: python run.py task=crawl crawl.start_urls=[https://...] crawl.contact=... run_dir=outputs/crawl/NAME"
        )
    return found


def records(shards: FileSource) -> Iterator[dict]:
    """The records of all shards. Raises RequestError with file and line where one is damaged."""
    for path in shards.files:
        for number, record in json_lines(path):
            if not isinstance(record, dict) or not isinstance(record.get("text"), str):
                raise RequestError(f"{path}, line {number:,}: no document of a crawl (see crawl/FORMAT.md).")
            yield record


def site_of(record: dict) -> str:
    """The site a record names, or the host of its address."""
    return record.get("site") or urlsplit(str(record.get("url", ""))).hostname or ""
