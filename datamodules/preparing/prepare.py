"""Documents -> split -> ids -> a folder of token files, once; afterwards the folder is found again by its key.

The key is a hash of all that decides the ids: the source's content, the tokenizer (or, before it is trained, its
settings), the split. Change any and the files are written anew (N8, S34). They are written beside their place and
renamed when whole. A full disk or a text that cannot be read leaves nothing; a process that is killed leaves what it
had finished, part by part, and the next one goes on from there.
"""

from __future__ import annotations

import json
import logging
import sys
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

import folders
from commands import shell
from datamodules.preparing.encoding import EncodedPart
from datamodules.preparing.overlap import Overlap, sample_bits
from datamodules.preparing.progress import PROGRESS, Progress
from datamodules.preparing.side_writer import SideWriter
from datamodules.preparing.split import Side, Split, plan_split
from datamodules.preparing.token_files import DTYPES, FORMAT, META, dtype_for, open_side, read_meta
from datamodules.preparing.work_folder import (
    IN_THE_MAKING,
    KEY,
    begin,
    disk_error,
    locked,
    move_into_place,
    part_of,
    refuse_to_replace,
    remove_stale,
)
from datamodules.preparing.workers import encode_parts
from datamodules.reading.sources import Source
from errors import Interrupted, RequestError, WorkerKilled
from tokenization.base import FILE_NAME, Tokenizer, digest, load_tokenizer

# seconds of work that a kill may cost; saving after each part was a fifth of what comes on top of the tokenizer
SAVE_EVERY_S = 0.5
log = logging.getLogger(__name__)
SIDES: tuple[Side, Side] = ("train", "val")


@dataclass(frozen=True)
class Target:
    """Where token files go and how: into `out`, or into a folder of `cache_dir` that the key names."""

    cache_dir: Path
    out: Path | None = None
    shard_tokens: int | None = None  # ids in a file; None: one file a side
    workers: int | None = None  # processes that encode; None: one per core; 0: this one

    @property
    def name(self) -> str:
        """The config key that says where."""
        return "data.cache_dir" if self.out is None else "data.out"

    def folder(self, key: str) -> Path:
        """Raises RequestError if `out` holds anything but what `key` stands for."""
        if self.out is None:
            return self.cache_dir / key[:16]
        there = folders.strangers(self.out) if self.out.is_dir() else []
        if self.out.exists() and not self.out.is_dir():
            raise RequestError(f"data.out={self.out} is a file; expected a folder that is empty or not there yet.")
        if there and (read_meta(self.out) or {}).get("key") != key:
            folders.refuse_strangers(self.out, "token files", key="data.out", why="token files are to be written there")
            raise RequestError(
                f"data.out={self.out} is stale: it holds {folders.listing(there)}, made from another text, tokenizer or"
                " split than now asked for.\nType data.out=<another folder>, or remove it: "
                + shell("rm", "-r", self.out)
            )
        return self.out


def target_of(cache_dir: str, out: str | None, shard_tokens: int | None, workers: int | None) -> Target:
    return Target(Path(cache_dir), None if out is None else Path(out), shard_tokens, workers)


def prepare_tokens(
    *, source: Source, val_source: Source | None, tokenizer: Tokenizer, val_fraction: float, target: Target
) -> tuple[Path, Tokenizer]:
    """The folder with the tokens of `source`, written now or found again, and the trained tokenizer.

    Raises RequestError where the source cannot be used, RunError where the disk is full.
    """
    key = cache_key(source, val_source, tokenizer, val_fraction, target)
    folder = target.folder(key)
    written = False
    while not written and not reusable(folder, key):
        try:
            written = write_folder(folder, key, plan_split(source, val_source, val_fraction), tokenizer, target)
        except OSError as error:
            raise disk_error(error, folder.parent, target.name) from error
    return folder, tokenizer if tokenizer.trained else load_tokenizer(folder)


def cache_key(
    source: Source, val_source: Source | None, tokenizer: Tokenizer, val_fraction: float, target: Target
) -> str:
    """SHA-256 of all that decides the files, as hex."""
    shards = {} if target.shard_tokens is None else {"shard_tokens": target.shard_tokens}
    return digest(
        {
            "format": FORMAT,
            "source": source.fingerprint(),
            "val_source": val_source.fingerprint() if val_source else None,
            "tokenizer": tokenizer.recipe,
            "val_fraction": None if val_source else val_fraction,
            **shards,
        }
    )


def reusable(folder: Path, key: str) -> bool:
    """Whether `folder` holds whole token files; a damaged one is reported and will be written anew."""
    if not folder.is_dir() or not any(folder.iterdir()):
        return False
    try:
        meta = read_meta(folder)
        if meta is None or load_tokenizer(folder).fingerprint != meta["tokenizer_fingerprint"] or meta["key"] != key:
            raise RequestError(f"{folder} does not hold what its {META} says.")
        for side in SIDES:
            open_side(folder, side, meta)
        return True
    except (RequestError, KeyError) as error:
        log.warning("Preparing the data again, the cache is damaged: %s", error)
        return False


def write_folder(folder: Path, key: str, split: Split, tokenizer: Tokenizer, target: Target) -> bool:
    """Write the token files of `split`; or wait until the process that is at it has done so, and return False."""
    part = part_of(folder)
    remove_stale(folder.parent)
    with locked(part) as ours:
        if not ours:
            return False
        if reusable(folder, key):  # another process finished it a moment ago
            folders.remove(part, IN_THE_MAKING)
            return False
        try:
            target.folder(key)  # another process may have filled it while this one waited
            refuse_to_replace(folder, target.name)
            begin(part, key, target.name)
            tokenizer = trained_tokenizer(part, split, tokenizer)
            meta = {"key": key, **write_both(part, split, tokenizer, target)}
            (part / PROGRESS).unlink()
            (part / META).write_text(json.dumps(meta, indent=1) + "\n", encoding="utf-8")
            (part / KEY).unlink()
            move_into_place(part, folder, target.name)
            return True
        except BaseException as error:
            if not isinstance(error, Interrupted | KeyboardInterrupt | WorkerKilled):  # those will want to go on
                folders.remove(part, IN_THE_MAKING)
            raise


def trained_tokenizer(part: Path, split: Split, tokenizer: Tokenizer) -> Tokenizer:
    """The tokenizer, saved in `part`: trained now, or by the process that was killed."""
    if not tokenizer.trained:
        if (part / FILE_NAME).is_file():
            return load_tokenizer(part)
        tokenizer.train(
            piece
            for side, document in split.walk()
            # both sides where unseen text could not be encoded
            if side == "train" or tokenizer.needs_whole_corpus
            for piece in document
        )
    tokenizer.save(part)
    return tokenizer


def write_both(folder: Path, split: Split, tokenizer: Tokenizer, target: Target) -> dict[str, Any]:
    """Write both sides; returns `meta.json`'s contents. Raises RequestError where a side got nothing."""
    found = write_sides(folder, split, tokenizer, target)
    documents = [found[side]["documents"] for side in SIDES]
    if split.kind == "hash" and sum(documents) > 1 and 0 in documents:  # few documents, all on one side by chance
        split = split.with_smallest_hash_in_val()
        (folder / PROGRESS).unlink()
        found = write_sides(folder, split, tokenizer, target)
    refuse_empty_side(split, found)
    return {
        "format": FORMAT,
        "dtype": dtype_for(tokenizer.vocab_size),
        "vocab_size": tokenizer.vocab_size,
        "tokenizer": tokenizer.kind,
        "tokenizer_fingerprint": tokenizer.fingerprint,
        "source": split.source.name,
        "source_fingerprint": split.source.fingerprint(),
        "ignored": dict(split.ignored),
        "passed_over": dict(split.passed_over),
        "split": {"kind": split.kind, "val_fraction": split.val_fraction if split.kind != "given" else None},
        **found,
    }


def refuse_empty_side(split: Split, sides: dict[str, Any]) -> None:
    counts = ", ".join(f"{side}: {sides[side]['documents']:,} documents" for side in SIDES)
    sources = {"train": split.source, "val": split.val_source or split.source}
    for side in SIDES:
        if not sides[side]["tokens"]:
            raise RequestError(
                f"{sources[side].name}: no text is left for the {side} side ({counts}"
                f"{', documents that are equal on one side' * (split.kind == 'hash')}).\n"
                "Give more text in data.path, or data.val_path=<a file>, or another data.val_fraction"
                f" (now {split.val_fraction})."
            )


def write_sides(folder: Path, split: Split, tokenizer: Tokenizer, target: Target) -> dict[str, Any]:
    """Encode every document into its side's files, from where an earlier process was stopped; returns the counts."""
    progress = Progress.load(folder, f"{split.kind} {split.threshold}")
    overlap, bar = Overlap(bits=sample_bits(split.source.n_bytes)), progress_bar(split)
    dtype = DTYPES[dtype_for(tokenizer.vocab_size)]
    saved = time.monotonic()
    with ExitStack() as stack:
        stack.callback(lambda: progress.save(folder))  # in the end, also of an interruption: the files are closed then
        stack.enter_context(bar)
        writers = {
            side: stack.enter_context(
                SideWriter(folder, side, dtype, target.shard_tokens, progress.positions.get(side))
            )
            for side in SIDES
        }
        numbers = dict.fromkeys(SIDES, 0)  # documents that have ended in the parts so far
        for i, part in enumerate(encode_parts(split, tokenizer, folder, workers=target.workers, done=progress.parts)):
            look_at(part, overlap, numbers, compare_documents=split.kind == "given")
            if i >= progress.parts:
                for side, encoded in part.sides.items():
                    writers[side].write(encoded)
                positions: dict[str, dict[str, int]] = {side: writer.position for side, writer in writers.items()}
                progress = progress.add(part, positions)
                if time.monotonic() - saved >= SAVE_EVERY_S:
                    for writer in writers.values():
                        writer.flush()
                    progress.save(folder)
                    saved = time.monotonic()
            bar.update(sum(side.n_bytes for side in part.sides.values()))
        return {
            **{side: writer.counts for side, writer in writers.items()},
            "overlap": overlap.report(),
            "round_trip": {"checked_bytes": progress.checked_bytes, "lost_bytes": progress.lost_bytes},
        }


def look_at(part: EncodedPart, overlap: Overlap, numbers: dict[Side, int], *, compare_documents: bool) -> None:
    for side, encoded in sorted(part.sides.items(), reverse=True):  # validation first
        overlap.add_shingles(side, encoded.hashes, encoded.owners + numbers[side])
        if compare_documents:  # a split by hash cannot have them in both
            overlap.add_documents(side, encoded.digests)
        numbers[side] += encoded.n_documents


def progress_bar(split: Split) -> Any:
    return tqdm(
        total=split.source.n_bytes, unit="B", unit_scale=True, desc="preparing", delay=1.0, file=sys.stderr, leave=False
    )
