"""Documents -> split -> ids -> a folder of token files, once; afterwards the folder is found again by its key.

The key is a hash of all that decides the ids: the source's content, the tokenizer (or, before it is trained, its
settings), the split. Change any and the files are written anew (N8). They are written into a temporary folder that is
renamed when whole: a kill or a full disk leaves no half file, and of two processes that prepare the same, one wins.
"""

from __future__ import annotations

import errno
import hashlib
import json
import logging
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from tqdm import tqdm

from datamodules.side_writer import SideWriter
from datamodules.sources import Source
from datamodules.split import Overlap, Side, Split, plan_split
from datamodules.token_files import FORMAT, META, dtype_for, open_side, read_meta
from errors import RequestError, RunError
from tokenization.base import Tokenizer, digest, load_tokenizer, utf8

log = logging.getLogger(__name__)
STALE_S = 24 * 3600  # a temporary folder this old was left by a process that was killed


def prepare_tokens(
    *, source: Source, val_source: Source | None, tokenizer: Tokenizer, val_fraction: float, cache_dir: Path
) -> tuple[Path, Tokenizer]:
    """The folder with the tokens of `source`, written now or found again, and the trained tokenizer.

    Raises RequestError where the source cannot be used, RunError where the disk is full.
    """
    if not 0 < val_fraction < 1:
        raise RequestError(f"data.val_fraction={val_fraction}: expected a share between 0 and 1, for example 0.1.")
    folder = cache_dir / cache_key(source, val_source, tokenizer, val_fraction)[:16]
    if not reusable(folder):
        split = plan_split(source, val_source, val_fraction)
        write_folder(folder, split, tokenizer)
    return folder, tokenizer if tokenizer.trained else load_tokenizer(folder)


def cache_key(source: Source, val_source: Source | None, tokenizer: Tokenizer, val_fraction: float) -> str:
    """SHA-256 of all that decides the ids, as hex."""
    return digest(
        {
            "format": FORMAT,
            "source": source.fingerprint(),
            "val_source": val_source.fingerprint() if val_source else None,
            "tokenizer": tokenizer.recipe,
            "val_fraction": None if val_source else val_fraction,
        }
    )


def reusable(folder: Path) -> bool:
    """Whether `folder` holds whole token files; a damaged one is reported and will be written anew."""
    if not folder.is_dir():
        return False
    try:
        meta = read_meta(folder)
        if meta is None or load_tokenizer(folder).fingerprint != meta["tokenizer_fingerprint"]:
            raise RequestError(f"{folder} does not hold what its {META} says.")
        for side in ("train", "val"):
            open_side(folder, side, meta)
        return True
    except RequestError as error:
        log.warning("Preparing the data again, the cache is damaged: %s", error)
        return False


def write_folder(folder: Path, split: Split, tokenizer: Tokenizer) -> None:
    """Write the token files of `split` and rename them to `folder` when whole."""
    part: Path | None = None
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        remove_stale(folder.parent)
        part = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
        if not tokenizer.trained:
            train_tokenizer(split, tokenizer)
        meta = write_both(part, split, tokenizer)
        tokenizer.save(part)
        (part / META).write_text(json.dumps(meta, indent=1) + "\n", encoding="utf-8")
        os.chmod(part, 0o755)  # mkdtemp's 0700 would keep a shared cache from others
        move_into_place(part, folder)
    except OSError as error:
        raise disk_error(error, folder.parent) from error
    finally:
        if part is not None:
            shutil.rmtree(part, ignore_errors=True)


def train_tokenizer(split: Split, tokenizer: Tokenizer) -> None:
    """Let the tokenizer learn from the training side; from both where unseen text could not be encoded."""
    tokenizer.train(
        piece
        for side, document in split.walk()
        if side == "train" or tokenizer.needs_whole_corpus
        for piece in document
    )


def write_both(folder: Path, split: Split, tokenizer: Tokenizer) -> dict[str, Any]:
    """Write both sides; returns `meta.json`'s contents. Raises RequestError where a side got nothing."""
    sides, overlap = write_sides(folder, split, tokenizer)
    documents = [sides[side]["documents"] for side in ("train", "val")]
    if split.kind == "hash" and sum(documents) > 1 and 0 in documents:  # few documents, all on one side by chance
        split = split.with_smallest_hash_in_val()
        sides, overlap = write_sides(folder, split, tokenizer)
    refuse_empty_side(split, sides)
    return {
        "format": FORMAT,
        "dtype": dtype_for(tokenizer.vocab_size),
        "vocab_size": tokenizer.vocab_size,
        "tokenizer": tokenizer.kind,
        "tokenizer_fingerprint": tokenizer.fingerprint,
        "source": split.source.name,
        "source_fingerprint": split.source.fingerprint(),
        "split": {"kind": split.kind, "val_fraction": split.val_fraction if split.kind != "given" else None},
        "train": sides["train"],
        "val": sides["val"],
        "overlap": overlap,
    }


def refuse_empty_side(split: Split, sides: dict[Side, dict[str, Any]]) -> None:
    counts = ", ".join(f"{side}: {count['documents']:,} documents" for side, count in sides.items())
    sources = {"train": split.source, "val": split.val_source or split.source}
    for side, count in sides.items():
        if not count["tokens"]:
            raise RequestError(
                f"{sources[side].name}: no text is left for the {side} side ({counts}).\n"
                "Give more text in data.path, or data.val_path=<a file>, or another data.val_fraction"
                f" (now {split.val_fraction})."
            )


def write_sides(folder: Path, split: Split, tokenizer: Tokenizer) -> tuple[dict[Side, dict[str, Any]], dict[str, Any]]:
    """Encode every document into its side's file; returns the counts of each side and the overlap."""
    overlap = Overlap()
    bar = tqdm(
        total=split.source.n_bytes, unit="B", unit_scale=True, desc="preparing", delay=1.0, file=sys.stderr, leave=False
    )
    with SideWriter(folder, "train", tokenizer) as train, SideWriter(folder, "val", tokenizer) as val, bar:
        writers: dict[Side, SideWriter] = {"train": train, "val": val}
        for side, document in split.walk():
            text_digest, at = hashlib.blake2b(digest_size=8), 0
            for text in document:
                data = utf8(text)
                text_digest.update(data)
                overlap.add_text(side, text)
                try:
                    writers[side].write(text, len(data))
                except RequestError as error:
                    where = f"document {train.documents + val.documents + 1:,}, from its character {at:,} on"
                    raise RequestError(f"{split.source.name}, {where}:\n{error}") from None
                at += len(text)
                bar.update(len(data))
            if writers[side].end_document(add_eot=split.ends_documents) and split.kind == "given":
                overlap.add_document(side, int.from_bytes(text_digest.digest(), "little"))
        return {side: writer.counts for side, writer in writers.items()}, overlap.report()


def move_into_place(part: Path, folder: Path) -> None:
    """Rename `part` to `folder`; a damaged folder gives way, one that another process just finished stays."""
    if folder.exists() and not reusable(folder):
        shutil.rmtree(folder)
    try:
        part.rename(folder)
    except OSError as error:
        if error.errno not in (errno.EEXIST, errno.ENOTEMPTY) or not reusable(folder):
            raise


def remove_stale(cache_dir: Path) -> None:
    for left in cache_dir.glob(".????????????????-*"):
        if time.time() - left.stat().st_mtime > STALE_S:
            shutil.rmtree(left, ignore_errors=True)


def disk_error(error: OSError, cache_dir: Path) -> Exception:
    """What the user reads when the cache folder cannot be written."""
    what = f"Preparing token files in {cache_dir} failed: {error}."
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        free = shutil.disk_usage(cache_dir).free
        return RunError(
            f"{what} {free:,} bytes are free.\nMake room, or type data.cache_dir=<a folder on a larger disk>."
        )
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST):
        return RequestError(f"{what}\nType data.cache_dir=<a folder that you may write>.")
    return RunError(what)
