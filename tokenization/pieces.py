"""Cutting text where no token crosses, and drawing a bounded, seeded sample of a corpus to train a tokenizer on."""

from __future__ import annotations

import heapq
import random
from collections.abc import Iterable, Iterator

from errors import RequestError
from tokenization.base import utf8

# A regex engine that looks ahead fails on runs of several 100,000 blanks, and with it the process: no longer pieces.
PIECE_CHARS = 1 << 17
SEARCH_CHARS = 1 << 13  # how far back a good place to cut is looked for
MARKS = frozenset('.,;:!?()"\u3001\u3002\uff0c\uff1a\uff1b\uff01\uff1f')
# rustbpe counts pairs in 32 bits; no pair occurs more often than there are bytes (S40)
MOST_BYTES = (1 << 31) - 1


def ends_line(text: str, at: int) -> bool:
    """Whether text[:at] and text[at:] have together the ids of the whole, for every tokenizer that can be cut: at the
    end of a line. There the split patterns of GPT-2, GPT-4 and o200k begin a new match whatever stands around, and
    SentencePiece a new line (its unigram may order equally likely ids otherwise)."""
    if text[at] == "\n" or text.startswith("\r\n", at):
        return text[at - 1].isalnum()
    return text[at - 1] == "\n" and text[at].isalnum() and at > 1 and not text[at - 2].isspace()


def ends_word(text: str, at: int) -> bool:
    """Whether a text may be cut here, before a blank behind a word; other blanks are letters to SentencePiece."""
    return text[at] in " \t\r\n" and text[at - 1].isalnum()


def before_mark(text: str, at: int) -> bool:
    """Whether it may be cut before a mark behind a word, by tokenizers with split patterns."""
    return text[at] in MARKS and text[at - 1].isalnum()


def last_cut(text: str, start: int, stop: int, *, at_lines: bool) -> int:
    """The last place in text[start:stop] to cut at, a line's end where there is one and `at_lines`; 0: none."""
    newline = stop if at_lines else 0
    while (newline := text.rfind("\n", start + 1, newline)) > 0:
        for at in (newline + 1, newline, newline - 1):
            if start < at < stop and ends_line(text, at):
                return at
    for is_place in (ends_word, before_mark):
        for at in range(stop - 1, start, -1):
            if is_place(text, at):
                return at
    return 0


def pieces(text: str, size: int = PIECE_CHARS) -> Iterator[str]:
    """`text` in pieces of at most `size` characters that end with a word, or anywhere if there is no word's end."""
    start = 0
    while len(text) - start > size:
        stop = last_cut(text, max(start, start + size - SEARCH_CHARS), start + size, at_lines=False)
        stop = stop or start + size
        yield text[start:stop]
        start = stop
    yield text[start:]


def sample(texts: Iterable[str], *, max_bytes: int, seed: int) -> list[str]:
    """At most `max_bytes` of UTF-8 out of `texts`, in their order: all of it if it fits, else pieces drawn at random.

    Every piece gets a random number and the smallest stay: one pass over a corpus of any size, memory `max_bytes`.
    Raises RequestError for a bound that makes no sense.
    """
    if not 1 <= max_bytes <= MOST_BYTES:
        raise RequestError(
            f"tokenizer.train_bytes={max_bytes}: expected 1 to {MOST_BYTES:,} (pair counts are kept in 32 bits)."
        )
    rng, limit, total = random.Random(seed), 1.0, 0
    kept: list[tuple[float, int, str, int]] = []  # a heap: the largest random number first, negated
    for i, piece in enumerate(p for text in texts for p in pieces(text, min(PIECE_CHARS, max_bytes // 16 + 1))):
        draw = rng.random()
        if draw >= limit or not piece:
            continue
        size = len(utf8(piece))
        heapq.heappush(kept, (-draw, i, piece, size))
        total += size
        while total > max_bytes:
            largest, _, _, size = heapq.heappop(kept)
            limit, total = -largest, total - size
    return [piece for _, _, piece, _ in sorted(kept, key=lambda item: item[1])]
