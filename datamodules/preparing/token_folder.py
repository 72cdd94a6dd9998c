"""A folder of token files, opened and checked against the tokenizer in use (N8)."""

from __future__ import annotations

import hashlib
import json
import logging
import os
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from datamodules.preparing.token_files import META, TokenFile, open_side, read_meta
from datamodules.reading.sources import sample
from errors import RequestError
from strict_json import object_in
from tokenization.base import Tokenizer, digest

log = logging.getLogger(__name__)
NO_META: dict[str, Any] = {"dtype": "uint16"}  # what nanoGPT writes


@dataclass(frozen=True)
class TokenFolder:
    """`meta` is `meta.json`'s contents, or for nanoGPT's folders what can be counted."""

    path: Path
    train: TokenFile
    val: TokenFile
    tokenizer: Tokenizer
    meta: dict[str, Any]

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over the ids of both sides, by their recorded hashes or, without, by a sample, and the tokenizer."""
        hashes = [self._hash_of(side) for side in ("train", "val")]
        return digest({"tokenizer": self.tokenizer.fingerprint, "ids": hashes})

    def _hash_of(self, side: str) -> str:
        said, tokens = self.meta.get(side, {}).get("sha256"), getattr(self, side)
        if said is None:
            return sampled_hash(tokens)
        meta = self.path / META
        if not meta.is_file():  # of a mixture, whose sources have theirs
            return said
        written = meta.stat().st_mtime_ns
        if all(path.stat().st_mtime_ns <= written for path in tokens.paths):
            return said
        found = hashlib.sha256()  # copied, or edited: what is there counts, not what was said of it
        for ids in tokens.scan():
            found.update(ids.tobytes())
        return found.hexdigest()

    def describe(self) -> dict[str, Any]:
        about = {key: self.meta.get(key) for key in ("source", "split", "overlap")}
        sides = {
            side: {
                "documents": self.meta[side]["documents"],
                "bytes": self.meta[side]["bytes"],
                "tokens": len(tokens),
            }
            for side, tokens in (("train", self.train), ("val", self.val))
        }
        return {"folder": str(self.path), "dtype": self.meta["dtype"], **about, **sides}


def open_folder(path: Path, tokenizer: Tokenizer, cache_dir: Path) -> TokenFolder:
    """Open `path`, all checks made. `cache_dir` remembers which files were looked at.

    Raises RequestError if files are missing, damaged, of another tokenizer, or hold ids beyond the vocabulary.
    """
    meta = read_meta(path) or NO_META
    sides = {side: open_side(path, side, meta) for side in ("train", "val")}
    if meta is NO_META:
        log.warning("%s has no %s: read as nanoGPT's 16-bit files; nothing says which tokenizer made them.", path, META)
        for tokens in sides.values():
            refuse_32_bits(tokens)
    elif meta["tokenizer_fingerprint"] != tokenizer.fingerprint:
        raise RequestError(
            f"{path} was made by another tokenizer than tokenizer={tokenizer.kind}: a {meta.get('tokenizer')} tokenizer"
            f" of {meta['vocab_size']:,} ids ({meta['tokenizer_fingerprint'][:12]}), not this one of"
            f" {tokenizer.vocab_size:,} ({tokenizer.fingerprint[:12]}).\n"
            f"Type tokenizer={meta.get('tokenizer')}, or prepare the text again with this one: task=prepare."
        )
    counts = {side: survey(tokens, tokenizer, cache_dir) | meta.get(side, {}) for side, tokens in sides.items()}
    return TokenFolder(path, sides["train"], sides["val"], tokenizer, meta | counts)


def refuse_32_bits(tokens: TokenFile) -> None:
    """Raises RequestError if 16-bit ids of unknown origin are zero at every other place, as 32-bit ids are."""
    head = tokens.read(np.array([0]), min(len(tokens), 4096))[0]
    if len(head) > 1 and not head[1::2].any() and head[::2].any():
        raise RequestError(
            f"{tokens.paths[0]}: these look like ids of 32 bits; without {META} they are read as nanoGPT's"
            " 16 bits.\nPrepare the text again: python run.py task=prepare data=text data.path=<text>"
        )


def survey(tokens: TokenFile, tokenizer: Tokenizer, cache_dir: Path) -> dict[str, int]:
    """{"documents", "bytes"} of the text, by looking at every id once; remembered until the files change.

    Raises RequestError if an id is beyond the vocabulary: the embedding would fail in the middle of a run.
    """
    note = (
        cache_dir / "checked" / f"{digest({'ids': sampled_hash(tokens), 'tokenizer': tokenizer.fingerprint})[:16]}.json"
    )
    with suppress(OSError, ValueError):
        return object_in(note)
    found = {"documents": 0, "bytes": 0}
    token_bytes, last = tokenizer.token_bytes(), -1
    for ids in tokens.scan():  # 0.5 billion ids a second, flat in memory
        counts = np.bincount(ids, minlength=tokenizer.vocab_size)  # (largest id + 1 or vocab_size,)
        if len(counts) > tokenizer.vocab_size:
            raise beyond_vocabulary(tokens, len(counts) - 1, tokenizer)
        found["documents"] += int(counts[tokenizer.eot])
        found["bytes"] += int(counts @ token_bytes)
        last = int(ids[-1])
    found["documents"] += last not in (-1, tokenizer.eot)  # the last document may lack its end
    remember(note, found)
    return found


def beyond_vocabulary(tokens: TokenFile, largest: int, tokenizer: Tokenizer) -> RequestError:
    return RequestError(
        f"{tokens.paths[0]} holds id {largest:,}, beyond the {tokenizer.vocab_size:,} ids of"
        f" tokenizer={tokenizer.kind}: damaged, no {tokens.dtype.name} ids, or made by another tokenizer.\n"
        "Type tokenizer=<the one that made it>, or prepare the text again: task=prepare."
    )


def remember(note: Path, found: dict[str, int]) -> None:
    """Write `note` if the folder lets us; if not, the ids are looked at again next time."""
    part = note.with_suffix(f".{os.getpid()}")
    try:
        note.parent.mkdir(parents=True, exist_ok=True)
        part.write_text(json.dumps(found))
        part.replace(note)
    except OSError as error:
        log.info("%s could not be written: %s", note, error)


def sampled_hash(tokens: TokenFile) -> str:
    """SHA-256 of sizes, times of change and blocks spread over the files."""
    found = hashlib.sha256(tokens.dtype.name.encode())
    for path in tokens.paths:
        found.update(f"{path.stat().st_size}\n".encode() + sample(path, path.stat().st_size))
    return found.hexdigest()
