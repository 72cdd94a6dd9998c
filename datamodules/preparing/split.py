"""Which documents train and which validate.

Three ways to split, chosen by what there is:
- `given`:    data.val_path names the validation text;
- `position`: a corpus of one document is cut as nanoGPT does, the first 90 % of its characters train;
- `hash`:     a document validates if the hash of its text says so, so exact duplicates always fall on the same side.
Never by window: neighbouring windows share text.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import islice
from typing import Literal

from datamodules.reading.ignored import Ignored
from datamodules.reading.readers import Document
from datamodules.reading.sources import Source
from tokenization.base import utf8

Side = Literal["train", "val"]


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

    @property
    def ignored(self) -> Ignored:
        """What of both sources is not used, by name; known once they have been walked."""
        return self.source.ignored + (Ignored() if self.val_source is None else self.val_source.ignored)

    @property
    def passed_over(self) -> Ignored:
        """Of these, the files beside both sources: they may be others at the next start."""
        return passed_over(self.source) + passed_over(self.val_source)

    def walk(self) -> Iterator[tuple[Side, Document]]:
        """Every document and its side, in the order of the source; validation first where it is given."""
        if self.val_source is not None:
            yield from (("val", document) for document in self.val_source.documents())
            yield from (("train", document) for document in self.source.documents())
        elif self.kind == "position":
            train, val = divided(next(self.source.documents()), self._cut)
            yield "train", train
            yield "val", val
        else:
            for document in self.source.documents():
                if iter(document) is document:  # it can be read only once
                    document = tuple(document)
                if any(piece.strip() for piece in document):  # two separators with nothing between are no document
                    yield ("val" if text_hash(document) <= self.threshold else "train"), document

    @cached_property
    def _cut(self) -> int:
        n = sum(map(len, next(self.source.documents())))
        return int(n * (1 - self.val_fraction))  # nanoGPT's int(n*0.9)

    def with_smallest_hash_in_val(self) -> Split:
        """For a few documents that all fell to one side: the one with the smallest hash validates."""
        hashes = [text_hash(document) for _, document in self.walk()]
        return replace(self, threshold=min(hashes, default=0))


def passed_over(source: Source | None) -> Ignored:
    """The files beside a source that are not read."""
    return Ignored(getattr(source, "passed_over", {}))


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


def divided(document: Document, cut: int) -> tuple[Iterator[str], Iterator[str]]:
    """The first `cut` characters of a document in pieces, and the others: one pass for both, in that order."""
    pieces, rest = iter(document), list[str]()

    def first() -> Iterator[str]:
        at = 0
        for piece in pieces:
            if piece[: cut - at]:
                yield piece[: cut - at]
            rest.append(piece[cut - at :])
            at += len(piece)
            if at >= cut:
                return

    head = first()

    def others() -> Iterator[str]:
        for _ in head:  # whatever was not asked for
            pass
        yield from filter(None, rest)
        yield from pieces

    return head, others()
