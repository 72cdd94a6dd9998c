"""How much of validation was seen in training (N12): whole documents, nearly whole ones, and stretches of text.

Text is compared by shingles: `SHINGLE` letters and digits in a row, whatever case, spaces and punctuation lie between.
Only a sample of them is kept, the same on both sides because the text itself decides (as FracMinHash, Irber et al.
2022): those whose first eight letters hash below a bound, and of these, when they become too many, those whose own hash
is below another. The share of a document's kept shingles that also occur in training estimates the share of all of
them, in bounded memory. A document is called a near duplicate where half of it occurs in training.

Looking at eight letters first leaves few shingles to hash: about 5 ns a byte in all.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

SHINGLE = 48  # about ten English words, sixteen Chinese characters
SAMPLE_BITS, LARGE_BITS, LARGE_BYTES = 3, 6, 32_000_000  # one shingle in eight is kept; of large texts one in 64
MAX_HASHES = 1 << 22  # 32 MiB a side; beyond, fewer shingles are kept
MIN_SHINGLES = 4  # a document with fewer kept shingles is not judged
NEAR = 0.5  # share of a document's shingles from which it counts as nearly the same

BLOCK = 1 << 15  # positions at once: they stay in the processor's cache
WORD = 8  # letters in 64 bits
SPREAD, STIR = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xD6E8FEB86659FD93)  # odd, with many bits set
LETTERS = bytes(c + 32 * (65 <= c <= 90) if c > 127 or chr(c).isalnum() else 0 for c in range(256))
NO_LETTERS = bytes(c for c in range(256) if not LETTERS[c])


def sample_bits(n_bytes: int | None) -> int:
    """Of shingles one in 2**bits is kept, by the size of the text where it is known."""
    return SAMPLE_BITS if n_bytes is not None and n_bytes < LARGE_BYTES else LARGE_BITS


def letters_of(text: bytes) -> bytes:
    """What is compared of a UTF-8 text."""
    return text.translate(LETTERS, NO_LETTERS)


def shingles(letters: bytes, bits: int = SAMPLE_BITS) -> tuple[np.ndarray, np.ndarray]:
    """The kept shingles' hashes, (k,) uint64, and where in `letters` each begins, (k,) int64."""
    n = len(letters) - SHINGLE + 1
    if n < 1:
        return np.empty(0, np.uint64), np.empty(0, np.int64)
    words = np.ndarray(len(letters) - WORD + 1, dtype="<u8", buffer=letters, strides=(1,))  # eight letters from each on
    starts = [
        at + np.flatnonzero(words[at : min(n, at + BLOCK)] * SPREAD <= largest(bits)) for at in range(0, n, BLOCK)
    ]
    places = np.concatenate(starts)  # (k,)
    hashes = np.zeros(len(places), dtype=np.uint64)
    for i in range(0, SHINGLE, WORD):
        hashes = stirred(hashes * SPREAD + words[places + i])
    return hashes, places


def stirred(numbers: np.ndarray) -> np.ndarray:
    """Each bit of (k,) uint64 spread over the others."""
    numbers = (numbers ^ (numbers >> np.uint64(32))) * STIR
    return numbers ^ (numbers >> np.uint64(29))


def largest(bits: int) -> np.uint64:
    """Bound on the hashes that are kept: one in 2**bits."""
    return np.uint64(2 ** (64 - bits) - 1)


def nothing(dtype: type) -> np.ndarray:
    return np.empty(0, dtype)


@dataclass
class Overlap:
    """Feed it both sides in any order, documents in theirs; whole-document hashes of validation first."""

    bits: int = SAMPLE_BITS  # that chose the shingles which come in
    more_bits: int = 0  # by which they are thinned out here
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
        kept = hashes <= largest(self.more_bits)
        self.val, self.owners = np.append(self.val, hashes[kept]), np.append(self.owners, owners[kept])
        self._bound()

    def _settle(self) -> None:
        found = np.sort(np.concatenate([self.train, *self.fresh]))  # four times as fast as numpy's unique
        self.train = found[np.diff(found, prepend=~found[:1]) != 0]
        self.train = self.train[self.train <= largest(self.more_bits)]
        self.fresh = []
        self._bound()

    def _bound(self) -> None:
        """Keep fewer shingles when they are too many."""
        while max(len(self.train), len(self.val)) > MAX_HASHES:
            self.more_bits += 1
            kept = self.val <= largest(self.more_bits)
            self.val, self.owners = self.val[kept], self.owners[kept]
            self.train = self.train[self.train <= largest(self.more_bits)]

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
            "shingles_sampled": 0.5 ** (self.bits + self.more_bits),
        }
