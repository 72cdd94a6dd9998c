"""Where documents come from: what `data.path` names, in a fixed order, with a fingerprint of the content."""

from __future__ import annotations

import glob
import hashlib
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from commands import shell
from datamodules.reading.files import kind_of
from datamodules.reading.ignored import Ignored, in_words
from datamodules.reading.readers import (
    ARCHIVES,
    KNOWN,
    PAGES,
    TEXTS,
    Document,
    NoColumnError,
    is_lines_of_plain_text,
    reader_for,
)
from errors import RequestError

HASH_WHOLE_BYTES = 64 << 20  # up to here the whole content is hashed: 0.1 s
SAMPLE_BYTES = 1 << 16
OUTPUTS = "outputs"  # where runs are written, prepared data and pages of reports among them


class Source(Protocol):
    """Documents in a fixed order; may be walked several times."""

    @property
    def name(self) -> str: ...  # for messages and meta.json

    @property
    def n_bytes(self) -> int | None: ...  # size of the text for the progress bar, None: not known

    def documents(self) -> Iterator[Document]: ...

    def fingerprint(self) -> str: ...  # SHA-256, changes with the content

    @property
    def ignored(self) -> Ignored: ...  # what is not used, by name; of rows once `documents` have been walked


@dataclass(frozen=True)
class TextSource:
    """Documents that Python has: `texts`, or a function that gives them anew each time, for what memory does not hold.

    The simplest source for a data set of one's own (CONTRIBUTING.md).
    """

    name: str
    texts: Iterable[str] | Callable[[], Iterable[str]]
    n_bytes: int | None = None
    ignored: Ignored = field(default_factory=Ignored, compare=False)

    def __post_init__(self) -> None:
        if isinstance(self.texts, str | Iterator):
            raise RequestError(
                f"{self.name}: its texts are walked several times: expected a list of str or a function that gives "
                "them, not one str or an iterator."
            )

    def documents(self) -> Iterator[Document]:
        for text in self.texts() if callable(self.texts) else self.texts:
            yield [text]

    def fingerprint(self) -> str:
        content = hashlib.sha256()
        for text in self.texts() if callable(self.texts) else self.texts:
            content.update(hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest())
        return content.hexdigest()


@dataclass(frozen=True)
class FileSource:
    """`files`, read one after the other. `passed_over`: files beside them that are not read, by what they are."""

    name: str
    files: tuple[Path, ...]
    text_column: str
    separator: str | None
    passed_over: Ignored = field(default_factory=Ignored, compare=False)
    rows_ignored: Ignored = field(default_factory=Ignored, compare=False)

    @property
    def n_bytes(self) -> int | None:
        plain = all(is_lines_of_plain_text(path) for path in self.files)
        return sum(path.stat().st_size for path in self.files) if plain else None

    @property
    def ignored(self) -> Ignored:
        return self.passed_over + self.rows_ignored

    def documents(self) -> Iterator[Document]:
        return self.rows_ignored.walk(self._documents)

    def _documents(self, ignored: Ignored) -> Iterator[Document]:
        for path in self.files:
            read = reader_for(path)
            assert read is not None, path  # find_files let no other through
            documents = read(path, text_column=self.text_column, separator=self.separator, ignored=ignored)
            yield from (
                documents if len(self.files) == 1 or kind_of(path) != ".json" else self._if_text(documents, ignored)
            )

    def _if_text(self, documents: Iterator[Document], ignored: Ignored) -> Iterator[Document]:
        """Those of a .json file among others, which may be something else: settings, an index."""
        try:
            first = next(documents, None)
        except NoColumnError:
            ignored.file(f"ending .json without {self.text_column!r}")
            return
        if first is not None:
            yield first
            yield from documents

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


def file_source(
    key: str, path: str, text_column: str, separator: str | None = None, url: str | None = None
) -> FileSource:
    """The files that `path`, the value of config key `key`, stands for, as a source of documents."""
    ignored = Ignored()
    files = find_files(path, key, url, ignored)
    kinds = {kind_of(file) for file in files} - set(ARCHIVES)  # what is in those is seen as they are read
    if text_column != "text" and kinds and kinds <= {*TEXTS, *PAGES}:
        ignored[f"data.text_column={text_column}, as {key} names no file with columns"] += 1
    if separator is not None and kinds and not kinds & set(TEXTS):
        ignored[f"data.separator={separator!r}, as {key} names no plain text"] += 1
    return FileSource(f"{key}={path}", files, text_column, separator, ignored)


def find_files(
    path: str, key: str = "data.path", url: str | None = None, ignored: Ignored | None = None
) -> tuple[Path, ...]:
    """What a file name, a folder (recursively) or a glob stands for, sorted, empty files left out.

    `key` is the config key that gave `path`, `url` where the data can be had; both are for the message. What a folder
    holds beside is counted in `ignored`.
    Raises RequestError where there is nothing to read.
    """
    given, known, ignored = Path(path).expanduser(), KNOWN, Ignored() if ignored is None else ignored
    if given.is_dir():
        found = files_in(given, lambda file: reader_for(file) is not None, ignored)
        if not found:
            beside = f"; {in_words(ignored)}" if ignored else ""
            raise RequestError(f"{key}={path}: this folder holds no file that can be read ({known}){beside}.")
    elif given.exists():
        found = [plain_file(given, key)]
    else:
        named = [Path(p) for p in sorted(glob.glob(str(given), recursive=True))]
        found = [plain_file(p, key) for p in named if not p.is_dir()]
        if "**" not in given.parts and len(found) < len(named):
            ignored["folder that the pattern names beside files"] += len(named) - len(found)
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
    for _ in range(len(found) - len(filled)):
        ignored.file("of 0 bytes")
    return filled


def files_in(folder: Path, readable: Callable[[Path], bool], ignored: Ignored) -> list[Path]:
    """The `readable` files below a folder, sorted; the others are counted by their ending, those of our runs by place.

    What runs write changes with each run: read along, it would be learned, and the data prepared anew each time.
    """
    found, ours = [], outputs_below(folder)
    for path in sorted(folder.rglob("*")):
        if path.is_dir():
            if path.is_symlink():
                ignored["link to a folder, which is not followed"] += 1
            continue
        if ours is not None and path.is_relative_to(ours):
            ignored.file(f"below {OUTPUTS}/, where runs are written")
        elif any(part.startswith(".") for part in path.relative_to(folder).parts):
            ignored.file("that is hidden")
        elif not path.is_file():
            ignored.file("that is a link to nothing" if path.is_symlink() else "that is a pipe or a device")
        elif not readable(path):
            ignored.file(f"ending {path.suffix.lower()}" if path.suffix else "without an ending")
        else:
            found.append(path)
    return found


def outputs_below(folder: Path) -> Path | None:
    """The folder of this directory's runs, as it is found from `folder`; None where it is not below."""
    ours, root = Path(OUTPUTS).resolve(), folder.resolve()
    return folder / ours.relative_to(root) if root in ours.parents else None


def plain_file(path: Path, key: str) -> Path:
    """The file itself. Raises RequestError for a pipe or a device: it can be read once only, and may have no end."""
    if not path.is_file():
        raise RequestError(
            f"{key}={path} is a pipe or a device, and data is read more than once.\n"
            f"Write it to a file first, then type {key}=<that file>."
        )
    return path


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
