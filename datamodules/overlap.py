"""How much of validation was seen in training (N12): whole documents, nearly whole ones, and stretches of text.

Text is compared by shingles: `SHINGLE` letters and digits in a row, whatever case, spaces and punctuation lie between.
Only those whose hash is below a bound are kept, on both sides alike (FracMinHash, Irber et al. 2022): the share of a
document's kept shingles that also occur in training estimates the share of all of them, in bounded memory. A document
is called a near duplicate where half of it occurs in training.

The hash of a shingle comes out of prefix sums, H[i] = sum of x[j] p**j modulo 2**64, as (H[i+n] - H[i]) p**-i: a few
passes of numpy, about 10 ns a byte.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

SHINGLE = 48  # about ten English words, sixteen Chinese characters
SAMPLE_BITS, LARGE_BITS, LARGE_BYTES = 3, 6, 32_000_000  # one shingle in eight is kept; of large texts one in 64
MAX_HASHES = 1 << 22  # 32 MiB a side; beyond, fewer shingles are kept
MIN_SHINGLES = 4  # a document with fewer kept shingles is not judged
NEAR = 0.5  # share of a document's shingles from which it counts as nearly the same

BLOCK = 1 << 15  # positions at once: the tables stay in the processor's cache
BASE = 0x9E3779B97F4A7C15  # odd, so it has an inverse


def sample_bits(n_bytes: int | None) -> int:
    """Of shingles one in 2**bits is kept, by the size of the text where it is known."""
    return SAMPLE_BITS if n_bytes is not None and n_bytes < LARGE_BYTES else LARGE_BITS


def powers(base: int, n: int) -> np.ndarray:
    """(n,) uint64: base**0, base**1, ... modulo 2**64."""
    return np.cumprod(np.concatenate([[np.uint64(1)], np.full(n - 1, base, dtype=np.uint64)]), dtype=np.uint64)


POWERS = powers(BASE, BLOCK + SHINGLE)
INVERSES = powers(pow(BASE, -1, 2**64), BLOCK + SHINGLE)
LETTERS = np.array([c + 32 * (65 <= c <= 90) if c > 127 or chr(c).isalnum() else 0 for c in range(256)], dtype=np.uint8)


def shingles(text: np.ndarray, bits: int = SAMPLE_BITS) -> tuple[np.ndarray, np.ndarray]:
    """(n,) uint8 of UTF-8 -> the kept shingles' hashes, (k,) uint64, and where in `text` each begins, (k,) int64."""
    letters = LETTERS[text]  # (n,), 0 where there is nothing to compare
    places = np.flatnonzero(letters)  # (m,)
    letters = letters[places].astype(np.uint64)  # (m,)
    hashes, starts = [np.empty(0, np.uint64)], [np.empty(0, np.int64)]
    for at in range(0, len(letters) - SHINGLE + 1, BLOCK):
        block = letters[at : at + BLOCK + SHINGLE - 1]
        sums = np.zeros(len(block) + 1, dtype=np.uint64)
        np.cumsum(block * POWERS[: len(block)], out=sums[1:])
        found = (sums[SHINGLE:] - sums[:-SHINGLE]) * INVERSES[: len(sums) - SHINGLE]
        kept = np.flatnonzero(found <= largest(bits))
        hashes.append(found[kept])
        starts.append(places[at + kept])
    return np.concatenate(hashes), np.concatenate(starts)


def largest(bits: int) -> np.uint64:
    """Bound on the hashes that are kept: one in 2**bits."""
    return np.uint64(2 ** (64 - bits) - 1)


def nothing(dtype: type) -> np.ndarray:
    return np.empty(0, dtype)


@dataclass
class Overlap:
    """Feed it both sides in any order, documents in theirs; whole-document hashes of validation first."""

    bits: int = SAMPLE_BITS
    train: np.ndarray = field(default_factory=lambda: nothing(np.uint64))  # hashes, each once
    val: np.ndarray = field(default_factory=lambda: nothing(np.uint64))  # hashes ...
    owners: np.ndarray = field(default_factory=lambda: nothing(np.int64))  # ... and the document of each
    fresh: list[np.ndarray] = field(default_factory=list)
    val_documents: set[int] = field(default_factory=set)
    duplicates: set[int] = field(default_factory=set)

    def add_documents(self, side: str, digests: np.ndarray) -> None:
        """(documents,) uint64 hashes of finished documents; needed only where the split allows duplicates at all."""
        if side == "val":
            self.val_documents.update(digests.tolist())
        else:
            self.duplicates |= self.val_documents.intersection(digests.tolist())

    def add_shingles(self, side: str, hashes: np.ndarray, owners: np.ndarray) -> None:
        """(k,) uint64 hashes of kept shingles and the number, counted over the side, of the document of each."""
        if side == "train":
            self.fresh.append(hashes)
            if sum(map(len, self.fresh)) > MAX_HASHES:
                self._settle()
            return
        kept = hashes <= largest(self.bits)
        self.val, self.owners = np.append(self.val, hashes[kept]), np.append(self.owners, owners[kept])
        self._bound()

    def _settle(self) -> None:
        self.train = np.unique(np.concatenate([self.train, *self.fresh]))
        self.train = self.train[self.train <= largest(self.bits)]
        self.fresh = []
        self._bound()

    def _bound(self) -> None:
        """Keep fewer shingles when they are too many."""
        while max(len(self.train), len(self.val)) > MAX_HASHES:
            self.bits += 1
            kept = self.val <= largest(self.bits)
            self.val, self.owners = self.val[kept], self.owners[kept]
            self.train = self.train[self.train <= largest(self.bits)]

    def report(self) -> dict[str, float | int]:
        """Counts of documents, and the share of validation's text that occurs in training."""
        self._settle()
        seen = np.isin(self.val, self.train)
        documents, owner = np.unique(self.owners, return_inverse=True)
        counts = np.bincount(owner, minlength=len(documents))
        shares = np.bincount(owner, weights=seen, minlength=len(documents)) / np.maximum(counts, 1)
        judged = counts >= MIN_SHINGLES
        return {
            "duplicate_documents": len(self.duplicates),
            "near_duplicate_documents": int((shares[judged] >= NEAR).sum()),
            "judged_documents": int(judged.sum()),
            "val_share": round(float(seen.mean()), 4) if len(seen) else 0.0,
            "shingles_sampled": 0.5**self.bits,
        }
