"""A folder of token files, opened and checked against the tokenizer in use (N8)."""

from __future__ import annotations

import hashlib
import json
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from datamodules.sources import sample
from datamodules.token_files import META, TokenFile, open_side, read_meta
from errors import RequestError
from tokenization.base import Tokenizer, digest

log = logging.getLogger(__name__)
NO_META: dict[str, Any] = {"dtype": "uint16"}  # what nanoGPT writes


@dataclass(frozen=True)
class TokenFolder:
    """`meta` is `meta.json`'s contents, or `NO_META` for nanoGPT's folders."""

    path: Path
    train: TokenFile
    val: TokenFile
    tokenizer: Tokenizer
    meta: dict[str, Any]

    @property
    def fingerprint(self) -> str:
        """SHA-256 over the ids of both sides, by their recorded hashes or, without, by a sample, and the tokenizer."""
        hashes = [
            self.meta.get(side, {}).get("sha256") or sampled_hash(getattr(self, side)) for side in ("train", "val")
        ]
        return digest({"tokenizer": self.tokenizer.fingerprint, "ids": hashes})

    def describe(self) -> dict[str, Any]:
        meta = {key: self.meta.get(key) for key in ("source", "split", "overlap")}
        sides = {
            side: {
                "documents": self.meta.get(side, {}).get("documents"),
                "bytes": self.meta.get(side, {}).get("bytes"),
                "tokens": len(getattr(self, side)),
            }
            for side in ("train", "val")
        }
        return {"folder": str(self.path), "dtype": self.meta["dtype"], **meta, **sides}


def open_folder(path: Path, tokenizer: Tokenizer, cache_dir: Path) -> TokenFolder:
    """Open `path`, all checks made. `cache_dir` keeps the largest id of files that do not say it themselves.

    Raises RequestError if files are missing, damaged, of another tokenizer, or hold ids beyond the vocabulary.
    """
    meta = read_meta(path)
    if meta is None:
        log.warning(
            "%s has no %s: read as nanoGPT's 16-bit token files; nothing says that tokenizer=%s made them.",
            *(path, META, tokenizer.kind),
        )
        meta = NO_META
    elif meta["tokenizer_fingerprint"] != tokenizer.fingerprint:
        raise RequestError(
            f"{path} was made by another tokenizer than tokenizer={tokenizer.kind}: a {meta.get('tokenizer')} tokenizer"
            f" of {meta['vocab_size']:,} ids ({meta['tokenizer_fingerprint'][:12]}), not this one of"
            f" {tokenizer.vocab_size:,} ({tokenizer.fingerprint[:12]}).\n"
            f"Type tokenizer={meta.get('tokenizer')}, or prepare the text again with this one: task=prepare."
        )
    sides = {side: open_side(path, side, meta) for side in ("train", "val")}
    for side, tokens in sides.items():
        if meta is NO_META:
            refuse_32_bits(tokens)
        check_ids(tokens, meta.get(side, {}).get("max_id"), tokenizer, cache_dir)
    return TokenFolder(path, sides["train"], sides["val"], tokenizer, meta)


def refuse_32_bits(tokens: TokenFile) -> None:
    """Raises RequestError if 16-bit ids of unknown origin are zero at every other place, as 32-bit ids are."""
    head = tokens.read(np.array([0]), min(len(tokens), 4096))[0]
    if len(head) > 1 and not head[1::2].any() and head[::2].any():
        raise RequestError(
            f"{tokens.paths[0]}: these look like ids of 32 bits; without {META} they are read as nanoGPT's"
            " 16 bits.\nPrepare the text again: python run.py task=prepare data=text data.path=<text>"
        )


def check_ids(tokens: TokenFile, known_max: int | None, tokenizer: Tokenizer, cache_dir: Path) -> None:
    """Raises RequestError if any id is beyond the vocabulary: the embedding would fail in the middle of a run."""
    if not len(tokens):
        return
    largest = largest_id(tokens, cache_dir) if known_max is None else known_max
    if largest >= tokenizer.vocab_size:
        raise RequestError(
            f"{tokens.paths[0]} holds id {largest:,}, beyond the {tokenizer.vocab_size:,} ids of"
            f" tokenizer={tokenizer.kind}: another tokenizer made it, or it is no file of {tokens.dtype.name} ids.\n"
            "Type tokenizer=<the one that made it>, or prepare the text again: task=prepare."
        )


def largest_id(tokens: TokenFile, cache_dir: Path) -> int:
    """The largest id in the files (1 GB a second, flat in memory); remembered until they change."""
    note = cache_dir / "checked" / f"{sampled_hash(tokens)[:16]}.json"
    try:
        return int(json.loads(note.read_text())["max_id"])
    except (OSError, ValueError, KeyError):
        pass
    largest = max(int(ids.max()) for ids in tokens.scan())
    try:
        note.parent.mkdir(parents=True, exist_ok=True)
        note.write_text(json.dumps({"files": [str(path) for path in tokens.paths], "max_id": largest}))
    except OSError:
        log.info("%s cannot be written: the ids will be checked again next time.", note)
    return largest


def sampled_hash(tokens: TokenFile) -> str:
    """SHA-256 of sizes, times of change and blocks spread over the files."""
    found = hashlib.sha256(tokens.dtype.name.encode())
    for path in tokens.paths:
        found.update(f"{path.stat().st_size}\n".encode() + sample(path, path.stat().st_size))
    return found.hexdigest()
