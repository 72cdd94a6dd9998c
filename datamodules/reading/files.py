"""Bytes and text out of one file, decompressed: the one place where foreign files are opened.

Endings count without their case; any file but Parquet and Arrow may be compressed (.gz, .zst).
"""

from __future__ import annotations

import codecs
import gzip
import io
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, cast

from commands import shell, word
from errors import RequestError

COMPRESSED = (".gz", ".zst")
UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
PACKED = {b"\x1f\x8b": ".gz", b"\x28\xb5\x2f\xfd": ".zst"}  # how such files begin
BUFFER = 1 << 20


def kind_of(path: Path) -> str:
    """The ending that says what a file is: ".jsonl" for a.jsonl, A.JSONL.GZ and a.jsonl.zst."""
    name = path.name.lower()
    for end in COMPRESSED:
        name = name.removesuffix(end)
    return Path(name).suffix


@contextmanager
def opened(path: Path) -> Iterator[BinaryIO]:
    """The content, decompressed. Raises RequestError where that fails, also while it is read."""
    try:
        with _stream(path) as stream:
            yield stream
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise damaged(path, error) from error
    except OSError as error:
        if error.errno is not None:  # the disk's, not the content's
            raise
        raise damaged(path, error) from error


def _stream(path: Path) -> Any:
    end = path.suffix.lower()
    if end in (".gz", ".tgz"):
        return gzip.open(path, "rb")
    if end == ".zst":
        import pyarrow as pa  # slow to import, and only this format needs it

        return io.BufferedReader(cast(io.RawIOBase, pa.input_stream(str(path), compression="zstd")), BUFFER)
    return path.open("rb")


def damaged(path: Path, error: Exception) -> RequestError:
    test = {".gz": "gzip -t", ".zst": "zstd -t"}.get(path.suffix.lower())
    tells = f"; `{shell(*test.split(), path)}` tells when it is whole" if test else ""
    return RequestError(f"{path} is damaged or cut off: {error}.\nFetch or write it again{tells}.")


@contextmanager
def opened_text(path: Path) -> Iterator[io.TextIOWrapper]:
    """Its lines with their ends as they are, and a byte order mark. Raises RequestError if it is not UTF-8."""
    try:
        with opened(path) as data, io.TextIOWrapper(data, encoding="utf-8", newline="") as text:
            yield text
    except UnicodeDecodeError:
        for _ in decoded(path, BUFFER):  # raises, with the place of the byte in the file
            pass
        raise


def decoded(path: Path, size: int) -> Iterator[str]:
    """A UTF-8 file in blocks of `size` bytes. Raises RequestError with the byte offset where it is not UTF-8."""
    decoder, offset = codecs.getincrementaldecoder("utf-8")(), 0
    with opened(path) as file:
        while True:
            block = file.read(size)
            start = offset - len(decoder.getstate()[0])  # where the bytes that are decoded now begin in the file
            try:
                fresh = decoder.decode(block, final=not block)
            except UnicodeDecodeError as error:
                raise not_utf8(path, start + error.start, error.object[error.start]) from None
            yield fresh.removeprefix("\ufeff") if offset == 0 else fresh  # a byte order mark is no text
            offset += len(block)
            if not block:
                return


def not_utf8(path: Path, offset: int, byte: int) -> RequestError:
    with opened(path) as file:
        start = file.read(4)
    if packed := next((end for sign, end in PACKED.items() if start.startswith(sign)), None):
        return RequestError(
            f"{path} is compressed, and its name does not say so.\nType: {shell('mv', path, f'{path}{packed}')}"
        )
    is_utf16 = start[:2] in UTF_16
    guess = "UTF-16" if is_utf16 else "LATIN1"
    hint = "It begins as UTF-16 does." if is_utf16 else "It may be in an older encoding, or no text at all."
    packer = {".gz": "gzip", ".zst": "zstd"}.get(path.suffix.lower())
    convert = ("iconv", "-f", guess, "-t", "UTF-8")
    command = f"{shell(packer, '-dc', path)} | {shell(*convert)}" if packer else shell(*convert, path)
    new = f"new{kind_of(path)}"
    return RequestError(
        f"{path} is not UTF-8: byte 0x{byte:02x} at offset {offset:,}. {hint}\n"
        f"Type: {command} > {new}, then {word(f'data.path={new}')}"
    )
