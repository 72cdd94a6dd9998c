"""How much of a text does not come back from its ids: 0 for bytes, more where a tokenizer normalises (N14)."""

from __future__ import annotations

from collections.abc import Iterable

from tokenization.base import Tokenizer, utf8


def lost_bytes(tokenizer: Tokenizer, texts: Iterable[str]) -> tuple[int, int]:
    """(bytes of `texts` that do not come back, all bytes). Counted by line: what lies between the first and the last
    character that differ."""
    lost = total = 0
    for text in texts:
        text = utf8(text).decode("utf-8")
        total += len(text.encode("utf-8"))
        if tokenizer.decode(tokenizer.encode(text)) != text:
            lines = text.splitlines(keepends=True)
            back = (tokenizer.decode(ids) for ids in tokenizer.encode_batch(lines))
            lost += sum(differing(line, other) for line, other in zip(lines, back, strict=True))
    return lost, total


def differing(text: str, other: str) -> int:
    """Bytes of `text` outside its longest common beginning and end with `other`; at least 1 where they differ."""
    if text == other:
        return 0
    start = shared_start(text, other)
    end = shared_start(text[start:][::-1], other[start:][::-1])
    return max(1, len(text[start : len(text) - end].encode("utf-8")))


def shared_start(text: str, other: str) -> int:
    return next((i for i, (a, b) in enumerate(zip(text, other, strict=False)) if a != b), min(len(text), len(other)))
