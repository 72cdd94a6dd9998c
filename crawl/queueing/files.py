"""Append-only files whose length is part of the crawl's transactions.

A record is appended and flushed first; the transaction that says "this page is done" also says how long the file is
now. After a kill the file may be longer than the database knows: the tail is cut, and the page it belonged to is
asked for again.
"""

import os
import sqlite3
from pathlib import Path
from typing import BinaryIO

import folders
from errors import RunError

TABLE = "CREATE TABLE IF NOT EXISTS files(name TEXT PRIMARY KEY, size INTEGER NOT NULL)"


class Files:
    """The record files of one crawl folder; shares the crawl's connection and never commits."""

    def __init__(self, folder: Path, connection: sqlite3.Connection, shard_bytes: int):
        self.folder, self.connection, self.shard_bytes = folder, connection, shard_bytes
        self.open_files: dict[str, BinaryIO] = {}
        self.sizes: dict[str, int] = {}
        self.connection.execute(TABLE)
        self._recover()
        shards = sorted(name for name in self.sizes if name.startswith("documents-"))
        self.shard = int(shards[-1][10:15]) if shards else 0

    def append(self, name: str, line: bytes) -> tuple[str, int, int]:
        """Append one record; returns (file, offset, length) for the page's row.

        Raises RunError when the disk is full: what is committed stays whole.
        """
        file = self._file(name)
        offset = self.sizes.get(name, 0)
        try:
            file.write(line)
            file.flush()
        except OSError as error:
            raise RunError(
                f"Cannot write {self.folder / name}: {error.strerror}. Free some space and run the same command again."
            ) from error
        self.sizes[name] = offset + len(line)
        self.connection.execute("INSERT OR REPLACE INTO files VALUES (?, ?)", (name, self.sizes[name]))
        return name, offset, len(line)

    def append_document(self, line: bytes) -> tuple[str, int, int]:
        """Append to the current shard, or begin the next one when it is full."""
        if self.sizes.get(self._shard_name(), 0) >= self.shard_bytes:
            self.close_file(self._shard_name())
            self.shard += 1
        return self.append(self._shard_name(), line)

    def shards(self) -> list[Path]:
        """The shards of the corpus, in order."""
        return [self.folder / name for name in sorted(self.sizes) if name.startswith("documents-")]

    def close(self) -> None:
        """Close all files, with their bytes on the disk."""
        for name in list(self.open_files):
            self.close_file(name)

    def close_file(self, name: str) -> None:
        """Close one file, with its bytes on the disk."""
        file = self.open_files.pop(name, None)
        if file:
            os.fsync(file.fileno())
            file.close()

    def _shard_name(self) -> str:
        return f"documents-{self.shard:05d}.jsonl"

    def _file(self, name: str) -> BinaryIO:
        if name not in self.open_files:
            path = self.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            self.open_files[name] = open(path, "ab")  # noqa: SIM115  closed by close_file
        return self.open_files[name]

    def _recover(self) -> None:
        """Cut what no transaction knows of; forget pages whose bytes a power cut has lost."""
        for name, size in self.connection.execute("SELECT name, size FROM files").fetchall():
            path = self.folder / name
            actual = path.stat().st_size if path.exists() else 0
            if actual > size:
                os.truncate(path, size)
            elif actual < size:
                size = self._forget_lost(name, actual)
            self.sizes[name] = size
        known = set(self.sizes)
        found = [*self.folder.glob("documents-*.jsonl"), *self.folder.glob("dropped/*/documents.jsonl")]
        for path in found:
            name = path.relative_to(self.folder).as_posix()
            if name not in known and folders.is_ours(name, "crawl"):
                path.unlink()  # begun by a transaction that never ended

    def _forget_lost(self, name: str, actual: int) -> int:
        lost = "file = ? AND offset + length > ?"
        self.connection.execute(
            f"UPDATE pages SET state = 0, outcome = NULL, reason = NULL WHERE {lost}", (name, actual)
        )
        row = self.connection.execute(
            "SELECT max(offset + length) FROM pages WHERE state = 2 AND file = ?", (name,)
        ).fetchone()
        size = row[0] or 0
        if (self.folder / name).exists():
            os.truncate(self.folder / name, size)
        self.connection.execute("UPDATE files SET size = ? WHERE name = ?", (size, name))
        return size
