"""Documents in parts of half a megabyte or more, parts to ids and to what the data card wants to know.

Where a part ends depends on the text alone. Several are worked on at once in `datamodules/preparing/workers.py`.
"""

from __future__ import annotations

import difflib
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np

from datamodules.preparing.overlap import letters_of, shingles
from datamodules.preparing.split import Side, Split
from datamodules.preparing.token_files import DTYPES, dtype_for
from errors import RequestError
from tokenization.base import Tokenizer, utf8

PART_BYTES = 1 << 19
CHECK_IDS = 1 << 14  # of each part, as many are decoded again to see what the tokenizer loses
HALF = "\ufffd"  # what is decoded of a character of which a part is missing
# where something is lost: of so much text some samples, in which the loss is measured
CHECK_CHARS, COMPARE_CHARS, COMPARISONS = 1 << 15, 1 << 10, 8


@dataclass(frozen=True)
class Piece:
    """Text of one document. `document`: its number in the source, from 1; `at`: characters of it that came before."""

    side: Side
    text: str
    document: int
    at: int
    is_last: bool


Part = list[Piece]


@dataclass
class EncodedSide:
    """What one part adds to one side. Documents are counted from the first one that has text in this part."""

    ids: np.ndarray  # (tokens,)
    ends: np.ndarray  # (n_documents,) int64: their ends in `ids`
    n_documents: int  # that end here
    n_bytes: int
    n_characters: int
    hashes: np.ndarray  # (k,) uint64 shingles ...
    owners: np.ndarray  # (k,) int64 ... and the document of each
    digests: np.ndarray  # (documents that lie wholly in this part,) uint64


@dataclass
class EncodedPart:
    sides: dict[Side, EncodedSide]
    checked_bytes: int  # of text that was encoded and decoded again ...
    lost_bytes: int  # ... and what did not come back


def cut_parts(split: Split, *, whole_documents: bool) -> Iterator[Part]:
    """The documents of both sides as parts, each as it comes or in one piece; what has no character is no document."""
    part: Part = []
    size = 0
    for number, (side, document) in enumerate(split.walk(), start=1):
        at, last = 0, ""
        if whole_documents:
            document = ("".join(document),)
        for text in chain(filter(None, document), [None]):
            if last:
                part.append(Piece(side, last, number, at, text is None))
                at += len(last)
                size += len(last)
                if size >= PART_BYTES:
                    yield part
                    part, size = [], 0
            last = text or ""
    if part:
        yield part


def encode_part(
    part: Part, tokenizer: Tokenizer, source: str, *, add_eot: bool, bits: int, skip_ids: bool
) -> EncodedPart:
    """Ids of a part, and what the data card wants to know. `skip_ids`: they are on disk already.

    Raises RequestError, naming the document of `source`, where the tokenizer refuses a text.
    """
    dtype = DTYPES[dtype_for(tokenizer.vocab_size)]
    ids = [] if skip_ids else [encode_piece(piece, tokenizer, source, dtype) for piece in part]
    sides: dict[Side, EncodedSide] = {}
    for side in ("train", "val"):
        at = [i for i, piece in enumerate(part) if piece.side == side]
        if at:
            pieces, eot = [part[i] for i in at], [tokenizer.eot] if add_eot else []
            joined, ends = join([], [], eot, dtype) if skip_ids else join(pieces, [ids[i] for i in at], eot, dtype)
            sides[side] = describe_side(pieces, joined, ends, bits)
    return EncodedPart(sides, *round_trip(part, ids, tokenizer))


def encode_piece(piece: Piece, tokenizer: Tokenizer, source: str, dtype: np.dtype[Any]) -> np.ndarray:
    """(tokens,) ids."""
    try:
        return tokenizer.encode_as(piece.text, dtype)
    except RequestError as error:
        where = f"document {piece.document:,}, from its character {piece.at:,} on"
        raise RequestError(f"{source}, {where}:\n{error}") from None


def join(pieces: Part, ids: list[np.ndarray], eot: list[int], dtype: np.dtype[Any]) -> tuple[np.ndarray, np.ndarray]:
    """(tokens,) ids of all pieces, `eot` behind each document, and (documents that end,) int64 where they end."""
    runs, ends, n = [np.empty(0, dtype)], [], 0
    for piece, run in zip(pieces, ids, strict=True):
        runs.append(run)
        n += len(run)
        if piece.is_last:
            runs.append(np.array(eot, dtype))
            n += len(eot)
            ends.append(n)
    return np.concatenate(runs), np.array(ends, dtype=np.int64)


def describe_side(pieces: Part, ids: np.ndarray, ends: np.ndarray, bits: int) -> EncodedSide:
    texts = [utf8(piece.text) for piece in pieces]
    letters = [letters_of(text) for text in texts]
    hashes, starts = shingles(b"".join(letters), bits)
    borders = np.cumsum([len(run) for run in letters])
    documents = np.cumsum([0, *(piece.is_last for piece in pieces[:-1])])  # (pieces,): the document of each
    return EncodedSide(
        ids=ids,
        ends=ends,
        n_documents=sum(piece.is_last for piece in pieces),
        n_bytes=sum(map(len, texts)),
        n_characters=sum(len(piece.text) for piece in pieces),
        hashes=hashes,
        owners=documents[np.searchsorted(borders, starts, side="right")],
        digests=np.array(
            [
                int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "little")
                for piece, text in zip(pieces, texts, strict=True)
                if piece.is_last and piece.at == 0
            ],
            dtype=np.uint64,
        ),
    )


def round_trip(part: Part, ids: list[np.ndarray], tokenizer: Tokenizer) -> tuple[int, int]:
    """Bytes of text that were decoded again from the ids of a part's pieces, and how many of them are missing (N14)."""
    checked = lost = 0
    left, comparisons = CHECK_IDS, COMPARISONS  # measuring a loss is slow
    for piece, run in zip(part, ids, strict=False):  # no ids: nothing is checked
        head = tokenizer.decode(run[:left]).rstrip(HALF if len(run) > left else "")
        text = piece.text[: len(head)] if len(run) > left else piece.text
        left -= len(run)
        if utf8(head) == utf8(text):
            checked += len(utf8(text))
        else:
            samples = spread(piece.text[:CHECK_CHARS])[:comparisons]
            comparisons -= len(samples)
            checked += sum(len(utf8(sample)) for sample in samples)
            lost += sum(lost_bytes(sample, tokenizer.decode(tokenizer.encode(sample))) for sample in samples)
        if left <= 0 or comparisons <= 0:
            break
    return checked, lost


def spread(text: str) -> list[str]:
    """Short samples spread over a text."""
    step = max(COMPARE_CHARS, len(text) // COMPARISONS)
    return [text[at : at + COMPARE_CHARS] for at in range(0, len(text), step)]


def lost_bytes(text: str, back: str) -> int:
    """Bytes of `text` that are not in `back` in the same order."""
    if text == back:
        return 0
    matches = difflib.SequenceMatcher(None, text, back, autojunk=False).get_matching_blocks()
    return len(utf8(text)) - sum(len(utf8(text[m.a : m.a + m.size])) for m in matches)
