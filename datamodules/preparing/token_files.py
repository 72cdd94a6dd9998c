"""Flat little-endian token ids on disk: reading windows out of them, and the folder that holds them.

    train*.bin val*.bin   ids, uint16 or uint32; several files are one sequence, in the order of their names
    train.docs val.docs   int64: where each document ends (exclusive), in tokens; optional
    meta.json             what they are: `Meta`; nanoGPT's folders have none
    tokenizer.json        the tokenizer that made them; optional

Windows are read with `preadv` straight into the batch. A memory map is no faster, and each page it touches counts as
ours, with those that the kernel maps around it: 10,000 random windows of a 1 GB file take hundreds of MB (N10).
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from datamodules.reading.json_rows import json_value
from errors import RequestError, RunError
from folders import refuse_pipes

META = "meta.json"
FORMAT = 2
DTYPES: dict[str, np.dtype[Any]] = {"uint16": np.dtype("<u2"), "uint32": np.dtype("<u4")}
SCAN_TOKENS = 1 << 22


def dtype_for(vocab_size: int) -> str:
    """The smaller of the two that holds every id of the vocabulary (N8: no 16-bit overflow)."""
    return "uint16" if vocab_size <= 1 << 16 else "uint32"


class TokenFile:
    """A sequence of ids over one or more files. Holds no tokens in memory; picklable, safe to use after a fork."""

    def __init__(self, paths: Sequence[Path], dtype: str):
        """Raises RequestError if a file's size is no multiple of the id's."""
        self.paths, self.dtype = list(paths), DTYPES[dtype]
        sizes = [path.stat().st_size for path in self.paths]
        for path, size in zip(self.paths, sizes, strict=True):
            if size % self.dtype.itemsize:
                raise RequestError(
                    f"{path} is damaged or no token file: {size:,} bytes are no whole number of {dtype} ids"
                    f" ({self.dtype.itemsize} bytes each).\nPrepare it again: python run.py task=prepare"
                )
        self._ends = np.cumsum([size // self.dtype.itemsize for size in sizes])  # (files,) tokens
        self._fds: list[int] = []

    def __len__(self) -> int:
        return int(self._ends[-1])

    def read(self, starts: np.ndarray, n: int) -> np.ndarray:
        """(len(starts), n) ids: n from each start on; zeros past the end of the sequence."""
        rows = np.zeros((len(starts), n), dtype=self.dtype)
        fds, size = self._open(), self.dtype.itemsize
        if len(fds) > 1:
            for row, start in zip(rows, starts.tolist(), strict=True):
                self._fill(row, start)
            return rows
        for row, start in zip(rows, starts.tolist(), strict=True):
            if os.preadv(fds[0], [row.data], start * size) != n * size:
                self._fill(row, start)
        return rows

    def _fill(self, row: np.ndarray, start: int) -> None:
        """Fill `row` from `start` on, over the borders of files, up to the end. Raises RunError if a file shrank."""
        done, wanted = 0, min(len(row), len(self) - start)
        while done < wanted:
            i = int(np.searchsorted(self._ends, start + done, side="right"))
            first = int(self._ends[i - 1]) if i else 0
            part = row[done : done + int(self._ends[i]) - start - done]
            got = os.preadv(self._open()[i], [part.data], (start + done - first) * self.dtype.itemsize)
            if got <= 0 or got % self.dtype.itemsize:
                raise RunError(
                    f"{self.paths[i]} became shorter while it was read: leave token files alone during a run."
                )
            done += got // self.dtype.itemsize

    def scan(self) -> Iterator[np.ndarray]:
        """All ids in order, in (<= SCAN_TOKENS,) pieces."""
        for path in self.paths:
            with path.open("rb") as file:
                while data := file.read(SCAN_TOKENS * self.dtype.itemsize):
                    yield np.frombuffer(data, dtype=self.dtype)

    def _open(self) -> list[int]:
        if not self._fds:
            self._fds = [os.open(path, os.O_RDONLY) for path in self.paths]
        return self._fds

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_fds": []}  # descriptors mean nothing in another process

    def __del__(self) -> None:
        for fd in self.__dict__.get("_fds", []):
            os.close(fd)


class FirstTokens:
    """The first `n` tokens of a token file."""

    def __init__(self, tokens: Any, n: int):
        self.tokens, self.n = tokens, n

    def __len__(self) -> int:
        return self.n

    def read(self, starts: np.ndarray, n: int) -> np.ndarray:
        return self.tokens.read(starts, n)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name == "tokens":
            raise AttributeError(name)
        return getattr(self.tokens, name)


def document_ends(folder: Path, side: str, tokens: TokenFile, eot: int) -> np.ndarray:
    """(documents,) int64: where each ends, in tokens; memory-mapped if on disk, else found by the end-of-text id."""
    path = folder / f"{side}.docs"
    if path.is_file() and path.stat().st_size:
        return np.memmap(path, dtype="<i8", mode="r")
    ends, at = [np.empty(0, dtype=np.int64)], 0
    for ids in tokens.scan():
        ends.append(np.flatnonzero(ids == eot) + at + 1)
        at += len(ids)
    found = np.concatenate(ends)
    return found if len(found) and found[-1] == at else np.append(found, at)


def check_docs(path: Path, tokens: TokenFile) -> None:
    """Raises RequestError unless the ends in a .docs file, where there is one, rise to the number of tokens (F28)."""
    if not path.is_file() or not path.stat().st_size:
        return
    what = None
    if path.stat().st_size % 8:
        what = f"{path.stat().st_size:,} bytes are no whole number of 64-bit numbers"
    else:
        ends = np.memmap(path, dtype="<i8", mode="r")
        if ends[0] < 0 or (np.diff(ends) < 0).any():
            what = "the ends of documents do not rise"
        elif ends[-1] != len(tokens):
            what = f"the last document ends at token {ends[-1]:,}, and there are {len(tokens):,}"
    if what:
        raise RequestError(
            f"{path} is damaged, or not of the ids beside it: {what}.\n"
            "Prepare the data again, or take the file away: documents are then found by their end-of-text ids."
        )


def read_meta(folder: Path) -> dict[str, Any] | None:
    """`meta.json`, None if there is none. Raises RequestError if it is damaged or of a later format."""
    path = folder / META
    if folder.is_dir():
        refuse_pipes(folder, key="data.path")
    if not path.exists():
        return None
    try:
        meta = json_value(path)
        what = fault_of(meta)
    except (OSError, RequestError) as error:
        what = str(error)
    if what is None:
        return dict(meta)
    if isinstance(what, int):
        raise RequestError(f"{path} has format {what}, this program knows up to {FORMAT}: update it.")
    raise RequestError(f"{path} is damaged: {what}\nPrepare the data again, or take the file away.")


def fault_of(meta: Any) -> str | int | None:
    """What is wrong with the contents of `meta.json`; the number of a later format; None: nothing."""
    if not isinstance(meta, dict):
        return f"it holds a {type(meta).__name__}, no object."
    if is_count(meta.get("format")) and meta["format"] > FORMAT:
        return int(meta["format"])
    kinds = {"format": int, "vocab_size": int, "tokenizer_fingerprint": str, "train": dict, "val": dict}
    for key, kind in kinds.items():
        if not isinstance(meta.get(key), kind) or (kind is int and not is_count(meta[key])):
            return f"{key!r} is {meta.get(key, 'not there')!r:.80}."
    if meta.get("dtype") not in (*DTYPES,):
        return f"dtype {meta.get('dtype')!r:.80}; known: {', '.join(DTYPES)}."
    for side in ("train", "val"):
        for key in {"tokens"} | ({"documents", "bytes"} & meta[side].keys()):
            if not is_count(meta[side].get(key)):
                return f"{key!r} of {side!r} is {meta[side].get(key, 'not there')!r:.80}."
    for key in {"ignored", "passed_over"} & meta.keys():
        if not isinstance(meta[key], dict) or not all(map(is_count, meta[key].values())):
            return f"{key!r} is {meta[key]!r:.80}."
    return None


def is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def open_side(folder: Path, side: str, meta: dict[str, Any]) -> TokenFile:
    """`side*.bin` as one sequence. Raises RequestError if it is missing or its length is not what `meta` says."""
    paths = sorted(folder.glob(f"{side}*.bin"))
    if not paths:
        there = ", ".join(sorted(p.name for p in folder.iterdir())[:10]) or "nothing"
        raise RequestError(
            f"{folder} holds no {side}*.bin; it holds {there}.\nType data.path=<a folder that task=prepare wrote>."
        )
    tokens, said = TokenFile(paths, meta["dtype"]), meta.get(side, {}).get("tokens")
    if said is not None and len(tokens) != said:
        raise RequestError(
            f"{folder}: {side}*.bin hold {len(tokens):,} ids of {meta['dtype']}, but {META} says {said:,}:"
            " cut off, or not written together.\nPrepare the data again: python run.py task=prepare data.path=<text>"
        )
    check_docs(folder / f"{side}.docs", tokens)
    return tokens
