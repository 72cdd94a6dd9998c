"""Documents in parts, parts to ids, over processes: the same result whatever their number.

The main process reads, splits and cuts documents into parts of about 4 MB; workers turn parts into ids and look for
what the data card wants to know; the main process takes the results in the order of the parts. Where a part ends
depends on the text alone. A corpus of one part is encoded where it is read: starting processes would take longer.
"""

from __future__ import annotations

import difflib
import hashlib
import multiprocessing
import os
import signal
import sys
import threading
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from datamodules.overlap import sample_bits, shingles
from datamodules.split import Side, Split
from datamodules.token_files import DTYPES, dtype_for
from errors import RequestError, RunError
from tokenization.base import Tokenizer, load_tokenizer, utf8

PART_BYTES = 4 << 20
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
            ids = tokenizer.encode(piece.text)
        except RequestError as error:
            where = f"document {piece.document:,}, from its character {piece.at:,} on"
            raise RequestError(f"{source}, {where}:\n{error}") from None
        runs.append(np.asarray(ids).astype(dtype))
        n += len(ids)
        if piece.is_last:
            if add_eot:
                runs.append(eot)
                n += 1
            ends.append(n)
    return np.concatenate(runs), np.array(ends, dtype=np.int64)


def describe_side(pieces: Part, ids: np.ndarray, ends: np.ndarray, bits: int) -> EncodedSide:
    texts = [utf8(piece.text) for piece in pieces]
    hashes, starts = shingles(np.frombuffer(b"".join(texts), dtype=np.uint8), bits)
    borders = np.cumsum([len(text) for text in texts])
    documents = np.cumsum([0, *(piece.is_last for piece in pieces[:-1])])  # (pieces,): the document of each
    return EncodedSide(
        ids=ids,
        ends=ends,
        n_documents=sum(piece.is_last for piece in pieces),
        n_bytes=int(borders[-1]),
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


# Over processes ---------------------------------------------------------------------------------------------------


def encode_parts(
    split: Split, tokenizer: Tokenizer, folder: Path, *, workers: int | None, done: int
) -> Iterator[EncodedPart]:
    """The parts of `split` in their order. `folder` holds the tokenizer; the ids of the first `done` are not made.

    `workers`: processes; None: one per core; 0: this process.
    """
    parts = cut_parts(split, whole_documents=tokenizer.whole_documents)
    options: dict[str, Any] = {"add_eot": split.ends_documents, "bits": sample_bits(split.source.n_bytes)}
    head = list(islice(parts, 2))
    workers = cores() if workers is None else workers
    if len(head) < 2 or workers == 0:
        for i, part in enumerate(chain(head, parts)):
            yield encode_part(part, tokenizer, split.source.name, **options, skip_ids=i < done)
        return
    pool = ProcessPoolExecutor(
        workers, multiprocessing.get_context("spawn"), initializer=start_worker, initargs=(folder,)
    )
    waiting: deque[Future[EncodedPart]] = deque()
    try:
        for i, part in enumerate(chain(head, parts)):
            with nothing_to_import():
                waiting.append(pool.submit(work, part, split.source.name, options | {"skip_ids": i < done}))
            if len(waiting) > 2 * workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    except BrokenProcessPool as error:
        raise RunError(
            "A process that encodes text was killed: most often for want of memory.\n"
            f"Type data.prepare_workers={max(0, workers // 2)}, then the same line again: what is done is kept."
        ) from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def cores() -> int:
    """Those that this process may use, where the system tells."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def nothing_to_import() -> Iterator[None]:
    """New processes import the program that was started, whatever it is; ours need only this module."""
    main = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


_tokenizer: Tokenizer | None = None


def start_worker(folder: Path) -> None:
    """Once in each process: the tokenizer; signals are the main process's business, and so is living on without it."""
    global _tokenizer
    os.environ["TOKENIZERS_PARALLELISM"] = "false"  # processes are the parallelism here
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    threading.Thread(target=end_with_parent, daemon=True).start()
    _tokenizer = load_tokenizer(folder)


def end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def work(part: Part, source: str, options: dict[str, Any]) -> EncodedPart:
    assert _tokenizer is not None
    return encode_part(part, _tokenizer, source, **options)
