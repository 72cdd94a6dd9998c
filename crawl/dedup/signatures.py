"""MinHash: a short signature of a text such that two signatures agree in as many places as the texts share word runs.

Broder 1997, "On the resemblance and containment of documents". Word runs of 5 and 14 bands of 8 values as in FineWeb
(https://arxiv.org/abs/2406.17557, section 3.4): pairs that share 75 % of their runs are found with probability 0.77.
"""

import re
import zlib

import numpy as np
from numpy.typing import NDArray

BANDS, ROWS = 14, 8
SHINGLE = 5  # words
CHUNK = 4096  # word runs hashed at a time, which bounds memory
WORD = re.compile(r"\w+")
# fixed for ever: signatures on disk are compared with new ones. Odd factors: Dietzfelbinger's multiply-shift hashing.
_random = np.random.Generator(np.random.PCG64(20240625))
FACTORS = _random.integers(0, 2**63, BANDS * ROWS, dtype=np.uint64) * np.uint64(2) + np.uint64(1)
OFFSETS = _random.integers(0, 2**63, BANDS * ROWS, dtype=np.uint64)
MIX = np.uint64(0x9E3779B97F4A7C15)  # 2^64 / golden ratio


def signature(text: str) -> tuple[int, ...]:
    """BANDS * ROWS values below 2^32; () for a text without words."""
    hashes = _shingles(text)
    if not len(hashes):
        return ()
    least = np.full(BANDS * ROWS, 2**32 - 1, dtype=np.uint64)
    for start in range(0, len(hashes), CHUNK):
        part = hashes[start : start + CHUNK]
        values = (part[None, :] * FACTORS[:, None] + OFFSETS[:, None]) >> np.uint64(32)
        np.minimum(least, values.min(axis=1), out=least)
    return tuple(least.tolist())


def _shingles(text: str) -> NDArray[np.uint64]:
    """A hash for each run of SHINGLE words, case and punctuation ignored; each once."""
    known: dict[str, int] = {}
    words = [known.get(word) or known.setdefault(word, _hash(word)) for word in WORD.findall(text.lower())]
    array = np.array(words, dtype=np.uint64)
    count = max(1, len(array) - SHINGLE + 1) if len(array) else 0
    total = np.zeros(count, dtype=np.uint64)
    for place in range(min(SHINGLE, len(array))):
        total = total * MIX + array[place : place + count]
        total ^= total >> np.uint64(29)
    return np.unique(total)


def _hash(word: str) -> int:
    data = word.encode("utf-8", "replace")
    return zlib.crc32(data) << 32 | zlib.adler32(data)


def band_keys(values: tuple[int, ...]) -> list[int]:
    """One signed 64-bit key a band; texts that share a key are candidates."""
    array = np.array(values, dtype=np.uint64).reshape(BANDS, ROWS)
    keys = np.arange(1, BANDS + 1, dtype=np.uint64) * MIX
    for row in range(ROWS):
        keys = (keys ^ array[:, row]) * MIX
        keys ^= keys >> np.uint64(31)
    return keys.view(np.int64).tolist()
