"""Documents in parts of half a megabyte or more, parts to ids and to what the data card wants to know.

Where a part ends depends on the text alone. Several are worked on at once in `datamodules/preparing/workers.py`.
"""

from __future__ import annotations

import difflib
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain

import numpy as np

from datamodules.preparing.overlap import letters_of, shingles
from datamodules.preparing.split import Side, Split
from datamodules.preparing.token_files import DTYPES, dtype_for
from errors import RequestError
from tokenization.base import Tokenizer, utf8

PART_BYTES = 1 << 19
CHECK_CHARS = 1 << 15  # of each part, as much is decoded again to see what the tokenizer loses
COMPARE_CHARS, COMPARISONS = 1 << 10, 8  # where something is lost: samples in which the loss is measured


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
    sides: dict[Side, EncodedSide] = {}
    for side in ("train", "val"):
        pieces = [piece for piece in part if piece.side == side]
        if pieces:
            ids, ends = encode_pieces([] if skip_ids else pieces, tokenizer, source, add_eot=add_eot)
            sides[side] = describe_side(pieces, ids, ends, bits)
    return EncodedPart(sides, *((0, 0) if skip_ids else round_trip(part, tokenizer)))


def encode_pieces(part: Part, tokenizer: Tokenizer, source: str, *, add_eot: bool) -> tuple[np.ndarray, np.ndarray]:
    """(tokens,) ids, and (documents that end,) int64 where they end."""
    dtype = DTYPES[dtype_for(tokenizer.vocab_size)]
    eot = np.array([tokenizer.eot], dtype=dtype)
    runs, ends, n = [np.empty(0, dtype)], [], 0
    for piece in part:
        try:
            ids = tokenizer.encode_as(piece.text, dtype)
        except RequestError as error:
            where = f"document {piece.document:,}, from its character {piece.at:,} on"
            raise RequestError(f"{source}, {where}:\n{error}") from None
        runs.append(ids)
        n += len(ids)
        if piece.is_last:
            if add_eot:
                runs.append(eot)
                n += 1
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


def round_trip(part: Part, tokenizer: Tokenizer) -> tuple[int, int]:
    """Bytes of text that were encoded and decoded again, and how many of them did not come back (N14)."""
    checked = lost = 0
    left, comparisons = CHECK_CHARS, COMPARISONS  # measuring a loss is slow
    for piece in part:
        text = piece.text[:left]
        left -= len(text)
        if decodes(text, tokenizer):
            checked += len(utf8(text))
        else:
            samples = spread(text)[:comparisons]
            comparisons -= len(samples)
            checked += sum(len(utf8(sample)) for sample in samples)
            lost += sum(lost_bytes(sample, tokenizer.decode(tokenizer.encode(sample))) for sample in samples)
        if left <= 0 or comparisons <= 0:
            break
    return checked, lost


def decodes(text: str, tokenizer: Tokenizer) -> bool:
    return utf8(tokenizer.decode(tokenizer.encode(text))) == utf8(text)


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
