"""Writes one side of a split: ids, document ends, and the counts that go into meta.json."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np

from datamodules.token_files import DTYPES, dtype_for
from tokenization.base import Tokenizer


class SideWriter:
    """Appends ids to `<side>.bin` and document ends to `<side>.docs`, counting as it goes."""

    def __init__(self, folder: Path, side: str, tokenizer: Tokenizer):
        self.tokenizer, self.dtype = tokenizer, DTYPES[dtype_for(tokenizer.vocab_size)]
        self.ids, self.ends = (folder / f"{side}.bin").open("wb"), (folder / f"{side}.docs").open("wb")
        self.digest = hashlib.sha256()
        self.tokens = self.n_bytes = self.n_characters = self.documents = 0
        self.document_start = 0

    def write(self, text: str, n_bytes: int) -> None:
        """A piece of the current document, of `n_bytes` of UTF-8."""
        self._append(self.tokenizer.encode(text))
        self.n_bytes += n_bytes
        self.n_characters += len(text)

    def _append(self, ids: np.ndarray) -> None:
        if len(ids):
            data = np.asarray(ids).astype(self.dtype).tobytes()
            self.ids.write(data)
            self.digest.update(data)
            self.tokens += len(ids)

    def end_document(self, *, add_eot: bool) -> bool:
        """Close the current document; False if it held nothing and was passed over."""
        if self.tokens == self.document_start:
            return False
        if add_eot:
            self._append(np.array([self.tokenizer.eot]))
        self.ends.write(np.array(self.tokens, dtype="<i8").tobytes())
        self.document_start = self.tokens
        self.documents += 1
        return True

    @property
    def counts(self) -> dict[str, Any]:
        return {
            "documents": self.documents,
            "bytes": self.n_bytes,
            "characters": self.n_characters,
            "tokens": self.tokens,
            "sha256": self.digest.hexdigest(),
        }

    def __enter__(self) -> SideWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self.ids.close()
        self.ends.close()
