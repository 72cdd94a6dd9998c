"""Byte-level BPE as tiktoken encodes it: bytes are merged by rank, so any text can be written and nothing is lost."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, ClassVar

import numpy as np

from errors import panics_told
from tokenization.base import Tokenizer
from tokenization.pieces import PIECE_CHARS, pieces


class ByteBPE(Tokenizer):
    """What trained and named byte-level tokenizers share. A subclass calls `_set` once it knows its tokens.

    Two tokens are merged where their bytes together are a token; the lowest id first. Encoding runs in Rust.
    """

    encodes_in_threads: ClassVar[bool] = True
    _encoding: Any = None  # tiktoken.Encoding

    def _set(self, ranks: dict[bytes, int], pattern: str) -> None:
        import tiktoken

        self._encoding = tiktoken.Encoding(
            "text", pat_str=pattern, mergeable_ranks=ranks, special_tokens={}
        )  # without specials: text cannot make any
        self._bytes: list[bytes] = [b""] * self.n_text_ids  # an id that stands for nothing decodes to nothing
        for token, rank in ranks.items():
            self._bytes[rank] = token

    def _ready(self) -> Any:
        """The encoder. A subclass raises RequestError where there is none yet."""
        return self._encoding

    def encode(self, text: str) -> np.ndarray:
        return encode_with(self._ready(), text)

    def encode_as(self, text: str, dtype: np.dtype[Any]) -> np.ndarray:
        return encode_with(self._ready(), text, dtype)

    def encode_batch(self, texts: Sequence[str], *, threads: int = 1) -> list[np.ndarray]:
        if threads == 1 or len(texts) < 2:
            return [self.encode(text) for text in texts]
        with ThreadPoolExecutor(threads) as pool:  # Rust encodes without Python's lock
            return list(pool.map(self.encode, texts))

    def _decode_text(self, ids: np.ndarray) -> str:
        """Bytes that are no UTF-8 (a model may write any) become U+FFFD."""
        self._ready()
        return b"".join([self._bytes[i] for i in ids.tolist()]).decode("utf-8", errors="replace")

    def _pieces_of_text(self) -> list[bytes]:
        self._ready()
        return self._bytes

    def token_bytes(self) -> np.ndarray:
        self._ready()
        sizes = np.zeros(self.vocab_size, dtype=np.int64)  # (vocab_size,)
        sizes[: len(self._bytes)] = [len(token) for token in self._bytes]
        return sizes

    def tokens(self) -> Iterable[bytes]:
        """The bytes of each id, in the order of ids, specials left out."""
        self._ready()
        return self._bytes


def encode_with(encoding: Any, text: str, dtype: Any = np.int64) -> np.ndarray:
    """(n,) ids. Long texts go in pieces that end with a word: the ids are the same. Lone surrogates become U+FFFD.

    By way of a list: tiktoken's `encode_to_numpy` looks for specials on the way, which takes longer than copying.

    Raises:
        RequestError: the pattern that splits words would try too many ways to divide this text.
    """
    with panics_told("tokenizer.pattern: tiktoken"):
        if len(text) <= PIECE_CHARS:
            return np.array(encoding.encode_ordinary(text), dtype=dtype)
        return np.concatenate([np.array(encoding.encode_ordinary(piece), dtype=dtype) for piece in pieces(text)])
