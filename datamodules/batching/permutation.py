"""A pseudo-random permutation of 0..n-1 that is computed point by point: no table, any n, O(1) memory.

A generalised Feistel network (Black & Rogaway 2002, "Ciphers with Arbitrary Finite Domains", section 6): an index below
side**2, side = ceil(sqrt(n)), is two digits (left, right) in base `side`; each round adds a keyed hash of one digit to
the other. A result >= n goes through again (cycle walking), which is rare, as side**2 exceeds n by at most 2 sqrt(n).
"""

from __future__ import annotations

from functools import lru_cache
from math import isqrt

import numpy as np

ROUNDS = 6


@lru_cache(maxsize=8)
def round_keys(seed: int, epoch: int) -> tuple[np.uint64, ...]:
    return tuple(np.random.SeedSequence([seed, epoch]).generate_state(ROUNDS, np.uint64))


def permute(index: np.ndarray, n: int, seed: int, epoch: int) -> np.ndarray:
    """(k,) int64 indices below n -> (k,) int64, where the permutation of (seed, epoch) puts them."""
    side, keys = np.uint64(isqrt(n - 1) + 1), round_keys(seed, epoch)
    out = feistel(index.astype(np.uint64), side, keys)  # (k,)
    while (outside := out >= n).any():
        out[outside] = feistel(out[outside], side, keys)
    return out.astype(np.int64)


def feistel(index: np.ndarray, side: np.uint64, keys: tuple[np.uint64, ...]) -> np.ndarray:
    """(k,) uint64 below side**2 -> the same, one to one."""
    left, right = np.divmod(index, side)
    for key in keys:
        left, right = right, (left + mix(right + key) % side) % side
    return left * side + right


def mix(x: np.ndarray) -> np.ndarray:
    """splitmix64's finaliser (Steele, Lea & Flood 2014): every input bit moves every output bit. uint64 wraps round."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))
