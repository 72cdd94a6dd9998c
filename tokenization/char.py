"""Characters as tokens, as nanoGPT's shakespeare_char: every character of the corpus, sorted, gets an id."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar

import numpy as np

from errors import RequestError
from tokenization.base import Tokenizer, utf8

N_CODE_POINTS = 0x110000  # all that Unicode will ever have


class CharTokenizer(Tokenizer):
    """`chars`: the vocabulary as one string in the order of the ids; None until `train`."""

    kind: ClassVar[str] = "char"
    needs_whole_corpus: ClassVar[bool] = True

    def __init__(self, *, specials: list[str] | None = None, chars: str | None = None):
        """Raises RequestError if `chars` repeats a character."""
        super().__init__(specials=specials)
        self.chars: str | None = None
        if chars is not None:
            self._set(chars)

    def _set(self, chars: str) -> None:
        codes = code_points(chars)  # (n_text_ids,)
        if len(np.unique(codes)) != len(codes):
            raise RequestError("tokenizer.chars names a character twice; each character has one id.")
        self.chars = chars
        self._codes = codes
        self._table = np.full(int(codes.max(initial=0)) + 2, -1, dtype=np.int64)  # the last entry: all that lies beyond
        self._table[codes] = np.arange(len(codes))

    def train(self, texts: Iterable[str]) -> None:
        """Raises RequestError if the texts hold no character at all."""
        seen = np.zeros(N_CODE_POINTS, dtype=bool)
        for text in texts:
            seen[code_points(text)] = True
        if not seen.any():
            raise RequestError(
                "tokenizer=char found no character in the corpus: it is empty. Type data.path=<a file with text>."
            )
        self._set("".join(map(chr, np.flatnonzero(seen))))  # sorted, as nanoGPT's sorted(list(set(data)))

    @property
    def trained(self) -> bool:
        return self.chars is not None

    @property
    def n_text_ids(self) -> int:
        return len(self._known())

    def _known(self) -> str:
        if self.chars is None:
            raise RequestError(
                "tokenizer=char has no vocabulary yet: it takes it from the corpus.\n"
                "Type task=prepare (or fit) with data.path=<your text>, or init_from=<a run folder>."
            )
        return self.chars

    def encode(self, text: str) -> np.ndarray:
        self._known()
        codes = code_points(text)  # (n,)
        ids = np.take(self._table, codes, mode="clip")  # (n,)
        if ids.min(initial=0) < 0:
            self._refuse(text, int(ids.argmin()))
        return ids

    def _refuse(self, text: str, offset: int) -> None:
        char = text[offset]
        raise RequestError(
            f"tokenizer=char cannot encode {char!r} (U+{ord(char):04X}) at character {offset:,} of the text:"
            f" it is not among the {len(self._known())} characters of the corpus that it was trained on.\n"
            "Take the character out, or type tokenizer=byte, which can encode any text."
        )

    def _decode_text(self, ids: np.ndarray) -> str:
        return self._codes[ids].astype("<u4").tobytes().decode("utf-32-le")

    def _pieces_of_text(self) -> list[bytes]:
        return [utf8(char) for char in self._known()]

    def token_bytes(self) -> np.ndarray:
        sizes = [len(char.encode("utf-8")) for char in self._known()]
        return np.array(sizes + [0] * len(self.special_names), dtype=np.int64)  # (vocab_size,)

    def settings(self) -> dict[str, Any]:
        return {"specials": self.special_names}

    def learned(self) -> dict[str, Any]:
        return {"chars": self._known()}


def code_points(text: str) -> np.ndarray:
    """(n,) uint32: one code point for each character; lone surrogates become U+FFFD."""
    try:
        data = text.encode("utf-32-le")
    except UnicodeEncodeError:
        data = utf8(text).decode("utf-8").encode("utf-32-le")
    return np.frombuffer(data, dtype="<u4")
