"""Writes one side of a split: ids, in shards or in one file, document ends, and the counts that go into meta.json."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from datamodules.preparing.encoding import EncodedSide


class SideWriter:
    """Appends to `<side>.bin`, or to `<side>-00000.bin` and so on, each of `shard_tokens`, and to `<side>.docs`.

    `position` says how far it got; a writer that is given it goes on there, whatever lies behind is cut off. Without,
    it starts at 0 and takes away what an earlier writer left.
    """

    def __init__(
        self, folder: Path, side: str, dtype: np.dtype[Any], shard_tokens: int | None, position: dict[str, int] | None
    ):
        self.folder, self.side, self.dtype, self.shard_tokens = folder, side, dtype, shard_tokens
        self.digest = hashlib.sha256()
        self.tokens = self.n_bytes = self.n_characters = self.documents = 0
        if position:
            self._go_on(position)
        self._keep_shards(self._last_shard())
        self.ids = self._open_shard(self._last_shard())
        self.ends = open_at(folder / f"{side}.docs", 8 * self.documents)

    def _path(self, shard: int) -> Path:
        return self.folder / (f"{self.side}-{shard:05}.bin" if self.shard_tokens else f"{self.side}.bin")

    def _last_shard(self) -> int:
        return max(0, self.tokens - 1) // self.shard_tokens if self.shard_tokens else 0

    def _go_on(self, position: dict[str, int]) -> None:
        """Take the counts, hash again what is there."""
        self.tokens, self.documents = position["tokens"], position["documents"]
        self.n_bytes, self.n_characters = position["bytes"], position["characters"]
        left = self.tokens * self.dtype.itemsize
        for i in range(self._last_shard() + 1):
            with self._path(i).open("rb") as file:
                while left and (data := file.read(min(left, 1 << 22))):
                    self.digest.update(data)
                    left -= len(data)

    def _keep_shards(self, last: int) -> None:
        """Remove those behind shard `last`, which a later `open_side` would take for part of this side."""
        kept = {self._path(i) for i in range(last + 1)}
        for path in set(self.folder.glob(f"{self.side}*.bin")) - kept:
            path.unlink()

    def _open_shard(self, shard: int) -> BinaryIO:
        before = shard * (self.shard_tokens or 0)
        return open_at(self._path(shard), (self.tokens - before) * self.dtype.itemsize)

    def write(self, part: EncodedSide) -> None:
        self.ends.write((part.ends + self.tokens).astype("<i8").tobytes())
        self.documents += len(part.ends)
        self.n_bytes += part.n_bytes
        self.n_characters += part.n_characters
        ids = part.ids
        while len(ids):
            room = len(ids)
            if self.shard_tokens:
                room = self.shard_tokens - self.tokens % self.shard_tokens
                if self.tokens and room == self.shard_tokens:
                    self.ids.close()
                    self.ids = self._open_shard(self.tokens // self.shard_tokens)
            self._append(ids[:room])
            ids = ids[room:]

    def _append(self, ids: np.ndarray) -> None:
        data = ids.astype(self.dtype).tobytes()
        self.ids.write(data)
        self.digest.update(data)
        self.tokens += len(ids)

    def flush(self) -> None:
        """Hands everything to the operating system."""
        self.ids.flush()
        self.ends.flush()

    @property
    def position(self) -> dict[str, int]:
        """From which a later writer can go on, once this one was flushed or closed."""
        return {key: value for key, value in self.counts.items() if key != "sha256"}

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


def open_at(path: Path, size: int) -> BinaryIO:
    """A file to append to from `size` on; what lies behind is cut off."""
    file = path.open("r+b" if path.exists() else "w+b")
    file.truncate(size)
    file.seek(size)
    return file
