"""UTF-8 bytes as tokens: ids 0..255 are the bytes, nothing to train, any text can be encoded."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from tokenization.base import Tokenizer, utf8


class ByteTokenizer(Tokenizer):
    kind: ClassVar[str] = "byte"

    def __init__(self, *, specials: list[str] | None = None):
        super().__init__(specials=specials)

    @property
    def n_text_ids(self) -> int:
        return 256

    def encode(self, text: str) -> np.ndarray:
        return np.frombuffer(utf8(text), dtype=np.uint8).astype(np.int64)  # (n,)

    def _decode_text(self, ids: np.ndarray) -> str:
        """Bytes that are no UTF-8 (a model may write any) become U+FFFD."""
        return ids.astype(np.uint8).tobytes().decode("utf-8", errors="replace")

    def _pieces_of_text(self) -> list[bytes]:
        return [bytes([i]) for i in range(256)]

    def token_bytes(self) -> np.ndarray:
        return np.repeat([1, 0], [256, self.vocab_size - 256])  # (vocab_size,)

    def settings(self) -> dict[str, Any]:
        return {"specials": self.special_names}
