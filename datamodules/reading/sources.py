"""Where documents come from: what `data.path` names, in a fixed order, with a fingerprint of the content."""

from __future__ import annotations

import glob
import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from commands import shell
from datamodules.reading.readers import READERS, Document, reader_for
from errors import RequestError

HASH_WHOLE_BYTES = 64 << 20  # up to here the whole content is hashed: 0.1 s
SAMPLE_BYTES = 1 << 16


class Source(Protocol):
    """Documents in a fixed order; may be walked several times."""

    @property
    def name(self) -> str: ...  # for messages and meta.json

    @property
    def n_bytes(self) -> int | None: ...  # size of the text for the progress bar, None: not known

    def documents(self) -> Iterator[Document]: ...

    def fingerprint(self) -> str: ...  # SHA-256, changes with the content


@dataclass(frozen=True)
class FileSource:
    """`files`, read one after the other. `key`: the config key that named them, for messages."""

    name: str
    files: tuple[Path, ...]
    text_column: str
    separator: str | None

    @property
    def n_bytes(self) -> int | None:
        plain = all(path.suffix.lower() in (".txt", ".jsonl") for path in self.files)
        return sum(path.stat().st_size for path in self.files) if plain else None

    def documents(self) -> Iterator[Document]:
        for path in self.files:
            read = reader_for(path)
            assert read is not None, path  # find_files let no other through
            yield from read(path, text_column=self.text_column, separator=self.separator)

    def fingerprint(self) -> str:
        """SHA-256 of the files' content; of a sample of it, with sizes and times of change, beyond 64 MiB.

        A sample cannot see an edit that keeps the size, and the time of change cannot see one that was set back; both
        at once do not happen by accident, and hashing a terabyte at every start would.
        """
        sizes = [path.stat().st_size for path in self.files]
        whole = sum(sizes) <= HASH_WHOLE_BYTES
        digest = hashlib.sha256(repr((self.text_column, self.separator, whole)).encode())
        for path, size in zip(self.files, sizes, strict=True):
            digest.update(f"{''.join(path.suffixes[-2:])} {size}\n".encode())
            digest.update(path.read_bytes() if whole else sample(path, size))
        return digest.hexdigest()


def sample(path: Path, size: int) -> bytes:
    """Time of change and 16 blocks spread over the file, its first and last among them."""
    blocks = [str(path.stat().st_mtime_ns).encode()]
    with path.open("rb") as file:
        for i in range(16):
            file.seek(max(0, size - SAMPLE_BYTES) * i // 15)
            blocks.append(file.read(SAMPLE_BYTES))
    return b"".join(blocks)


def find_files(path: str, key: str = "data.path", url: str | None = None) -> tuple[Path, ...]:
    """What a file name, a folder (recursively) or a glob stands for, sorted, empty files left out.

    `key` is the config key that gave `path`, `url` where the data can be had; both are for the message.
    Raises RequestError where there is nothing to read.
    """
    given, known = Path(path).expanduser(), ", ".join(READERS)
    if given.is_dir():
        found = [p for p in sorted(given.rglob("*")) if p.is_file() and reader_for(p) and not p.name.startswith(".")]
        if not found:
            raise RequestError(f"{key}={path}: this folder holds no file that can be read ({known}).")
    elif given.is_file():
        found = [given]
    else:
        found = [Path(p) for p in sorted(glob.glob(str(given), recursive=True)) if Path(p).is_file()]
        if not found:
            raise missing(path, given, key, url)
    for file in found:
        if reader_for(file) is None:
            raise RequestError(
                f"{key}={path}: {file.name} has an unknown extension; expected {known}.\nRename or convert it."
            )
        if not os.access(file, os.R_OK):
            raise RequestError(f"{key}={path}: no permission to read {file}.\nType: {shell('chmod', '+r', file)}")
    filled = tuple(file for file in found if file.stat().st_size > 0)
    if not filled:
        raise RequestError(f"{key}={path}: empty, 0 bytes in {len(found)} file(s).\nType {key}=<a file with text>.")
    return filled


def missing(path: str, given: Path, key: str, url: str | None) -> RequestError:
    if glob.has_magic(path):
        return RequestError(f"{key}={path}: no file matches this pattern (from {Path.cwd()}).")
    message = f"{key}={path}: no such file or folder. {what_is_near(given)}"
    fetch = ""
    if url:
        load = shell("curl", "-L", "-o", given, url.replace("{name}", given.name))
        fetch = f"\nTo fetch it: {shell('mkdir', '-p', given.parent)} && {load}"
    none = ", or null to split it off data.path" if key == "data.val_path" else ""
    return RequestError(f"{message}{fetch}\nType {key}=<a file, a folder or a 'glob*.txt'>{none}.")


def what_is_near(given: Path) -> str:
    """The files beside one that is not there."""
    parent = next((p for p in given.absolute().parents if p.is_dir()), Path.cwd())
    near = sorted(p.name for p in parent.iterdir() if not p.name.startswith("."))[:8]
    return f"{parent} holds: {', '.join(near) or 'nothing'}."
