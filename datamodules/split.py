"""Which documents train and which validate; and how much of validation was seen in training (N12).

Three ways to split, chosen by what there is:
- `given`:    data.val_path names the validation text;
- `position`: a corpus of one document is cut as nanoGPT does, the first 90 % of its characters train;
- `hash`:     a document validates if the hash of its text says so, so exact duplicates always fall on the same side.
Never by window: neighbouring windows share text.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Literal

import numpy as np

from datamodules.readers import Document
from datamodules.sources import Source
from tokenization.base import utf8

Side = Literal["train", "val"]
MIN_LINE_CHARS = 40  # shorter lines repeat by chance
MAX_HASHES = 1 << 20  # 8 MiB a side; beyond, lines are sampled


@dataclass(frozen=True)
class Split:
    """How `source` is divided. `threshold`: documents whose 64-bit hash is at most this validate (kind `hash`)."""

    kind: Literal["given", "position", "hash"]
    source: Source
    val_source: Source | None
    val_fraction: float
    threshold: int

    @property
    def ends_documents(self) -> bool:
        """Whether each document is followed by the end-of-text id; half a document has no end."""
        return self.kind != "position"

    def walk(self) -> Iterator[tuple[Side, Document]]:
        """Every document and its side, in the order of the source; validation first where it is given."""
        if self.val_source is not None:
            yield from (("val", document) for document in self.val_source.documents())
            yield from (("train", document) for document in self.source.documents())
        elif self.kind == "position":
            cut = self._cut()
            yield "train", characters(next(self.source.documents()), 0, cut)
            yield "val", characters(next(self.source.documents()), cut, None)
        else:
            for document in self.source.documents():
                text = "".join(document)
                if text.strip():  # two separators with nothing between are no document
                    yield ("val" if text_hash([text]) <= self.threshold else "train"), (text,)

    def _cut(self) -> int:
        n = sum(map(len, next(self.source.documents())))
        return int(n * (1 - self.val_fraction))  # nanoGPT's int(n*0.9)

    def with_smallest_hash_in_val(self) -> Split:
        """For a few documents that all fell to one side: the one with the smallest hash validates."""
        hashes = [text_hash(document) for _, document in self.walk()]
        return replace(self, threshold=min(hashes, default=0))


def plan_split(source: Source, val_source: Source | None, val_fraction: float) -> Split:
    threshold = int(val_fraction * 2**64)
    if val_source is not None:
        return Split("given", source, val_source, val_fraction, threshold)
    n_documents = len(list(islice(source.documents(), 2)))  # lazy: the documents themselves are not read
    return Split("position" if n_documents == 1 else "hash", source, None, val_fraction, threshold)


def text_hash(document: Iterable[str]) -> int:
    """64 bits of BLAKE2b over the text, the same on every machine."""
    digest = hashlib.blake2b(digest_size=8)
    for piece in document:
        digest.update(utf8(piece))
    return int.from_bytes(digest.digest(), "little")


def characters(document: Document, start: int, stop: int | None) -> Iterator[str]:
    """Characters [start, stop) of a document that comes in pieces."""
    at = 0
    for piece in document:
        part = piece[max(0, start - at) : None if stop is None else max(0, stop - at)]
        at += len(piece)
        if part:
            yield part
        if stop is not None and at >= stop:
            return


def no_lines() -> dict[Side, np.ndarray]:
    return {"train": np.empty(0, np.int64), "val": np.empty(0, np.int64)}


@dataclass
class Overlap:
    """Counts what validation shares with training: whole documents, and long lines. Feed both sides, in any order.

    Memory is bounded: past `MAX_HASHES` lines only those whose hash ends in `bits` zeros are kept, on both sides
    alike, so the share stays an unbiased estimate.
    """

    bits: int = 0
    lines: dict[Side, np.ndarray] = field(default_factory=no_lines)
    fresh: dict[Side, list[int]] = field(default_factory=lambda: {"train": [], "val": []})
    val_documents: set[int] = field(default_factory=set)
    duplicates: set[int] = field(default_factory=set)

    def add_document(self, side: Side, digest: int) -> None:
        """A finished document. Validation must come first; needed only where the split allows duplicates at all."""
        if side == "val":
            self.val_documents.add(digest)
        elif digest in self.val_documents:
            self.duplicates.add(digest)

    def add_text(self, side: Side, text: str) -> None:
        fresh = self.fresh[side]
        fresh.extend([hash(line) for line in text.split("\n") if len(line) >= MIN_LINE_CHARS])
        if len(fresh) >= 1 << 16:
            self._settle(side)

    def _settle(self, side: Side) -> None:
        """Take in what was gathered; sample harder when it is too much."""
        gathered = self._sampled(np.array(self.fresh[side], dtype=np.int64))
        self.fresh[side] = []
        lines = np.concatenate([self.lines[side], gathered])
        if side == "train" and len(lines) > MAX_HASHES:
            lines = np.unique(lines)  # each once is enough to look up; validation keeps repeats, they are counted
        self.lines[side] = lines
        while len(self.lines[side]) > MAX_HASHES:
            self.bits += 1
            self.lines = {key: self._sampled(value) for key, value in self.lines.items()}

    def _sampled(self, lines: np.ndarray) -> np.ndarray:
        return lines[lines & ((1 << self.bits) - 1) == 0]

    def report(self) -> dict[str, float | int]:
        """Duplicate documents, and the share of validation's long lines that occur verbatim in training."""
        self._settle("train")
        self._settle("val")
        train, val = self._sampled(self.lines["train"]), self._sampled(self.lines["val"])
        shared = int(np.isin(val, train).sum())
        return {
            "duplicate_documents": len(self.duplicates),
            "val_lines": len(val),
            "val_lines_in_train": shared,
            "val_line_share": round(shared / len(val), 4) if len(val) else 0.0,
            "lines_sampled": 0.5**self.bits,
        }
