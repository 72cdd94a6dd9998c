"""Documents out of one file, lazily: .txt, .jsonl, .jsonl.gz, .parquet. A file is never held in memory as a whole.

A document is an iterable of pieces of text: a record is one piece, a large .txt file is many. Every error names the
file and the place in it, and what to type.
"""

from __future__ import annotations

import codecs
import gzip
import json
import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from errors import RequestError

Document = Iterable[str]
PIECE_BYTES = 1 << 20  # large enough for numpy's speed, small enough for the processor's cache and a flat memory
SEARCH_CHARS = 1 << 14  # how far back a good place to cut is looked for


def read_txt(path: Path, *, separator: str | None, **_: object) -> Iterator[Document]:
    """The whole file as one document, or what lies between separators."""
    if separator is None:
        yield text_pieces(path)
    else:
        yield from ((text,) for text in split_pieces(text_pieces(path), separator))


def text_pieces(path: Path, size: int = PIECE_BYTES) -> Iterator[str]:
    """A UTF-8 file in pieces of about `size` bytes. Raises RequestError with the byte offset where it is not UTF-8.

    Pieces end after a newline that a visible character follows, where there is one: tokenizers that look at words
    (BPE) then give the same ids as for the whole.
    """
    decoder, text, offset = codecs.getincrementaldecoder("utf-8")(), "", 0
    with path.open("rb") as file:
        while True:
            block = file.read(size)
            start = offset - len(decoder.getstate()[0])  # where the bytes that are decoded now begin in the file
            try:
                fresh = decoder.decode(block, final=not block)
            except UnicodeDecodeError as error:
                raise not_utf8(path, start + error.start, error.object[error.start]) from None
            text += fresh.removeprefix("\ufeff") if offset == 0 else fresh  # a byte order mark is no text
            offset += len(block)
            cut = len(text) if not block else safe_cut(text)
            if cut:
                yield text[:cut]
            text = text[cut:]
            if not block:
                return


def safe_cut(text: str) -> int:
    """Length of the longest prefix that ends after a newline with a visible character next; 0: none yet, read on."""
    newline, stop = len(text), max(0, len(text) - SEARCH_CHARS)
    while (newline := text.rfind("\n", stop, newline)) >= 0:
        if newline + 1 < len(text) and not text[newline + 1].isspace():
            return newline + 1
    return len(text) if len(text) > 2 * PIECE_BYTES else 0


def split_pieces(pieces: Iterable[str], separator: str) -> Iterator[str]:
    """What lies between separators, whichever way the text comes in pieces."""
    parts: list[str] = []  # the document so far
    carry = ""  # its last characters, which may begin a separator
    for piece in pieces:
        first, *others = (carry + piece).split(separator)
        if others:
            yield "".join(parts) + first
            yield from others[:-1]
            parts = []
        tail = others[-1] if others else first
        keep = max(0, len(tail) - len(separator) + 1)
        parts.append(tail[:keep])
        carry = tail[keep:]
    yield "".join(parts) + carry


def read_jsonl(path: Path, *, text_column: str, **_: object) -> Iterator[Document]:
    """One document a line, in `text_column` of a JSON object. Blank lines and nulls are passed over."""
    compressed = path.name.endswith(".gz")
    try:
        with gzip.open(path, "rb") if compressed else path.open("rb") as file:
            offset = 0
            for number, line in enumerate(file, start=1):
                if line.strip():
                    text = json_text(path, number, offset, line, text_column)
                    if text is not None:
                        yield (text,)
                offset += len(line)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise RequestError(
            f"{path} is damaged or cut off: {error}.\nFetch or write it again; `gzip -t {path}` tells when it is whole."
        ) from error


def json_text(path: Path, number: int, offset: int, line: bytes, column: str) -> str | None:
    """The text in one line of JSON. Raises RequestError with the line's number."""
    where = f"{path}, line {number:,}"
    try:
        record = json.loads(line.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise not_utf8(path, offset + error.start, line[error.start]) from None
    except ValueError as error:
        raise RequestError(
            f"{where}: not JSON ({error}).\nExpected one JSON object a line, {{{column!r}: ...}}."
        ) from None
    if not isinstance(record, dict):
        raise RequestError(f"{where}: expected a JSON object with {column!r}, found {type(record).__name__}.")
    if column not in record:
        raise no_column(where, column, list(record))
    text = record[column]
    if text is not None and not isinstance(text, str):
        raise RequestError(
            f"{where}: {column!r} should be text, found {type(text).__name__}.\nType data.text_column=NAME."
        )
    return text


def read_parquet(path: Path, *, text_column: str, **_: object) -> Iterator[Document]:
    """One document a row, in `text_column`. Nulls are passed over."""
    import pyarrow as pa  # slow to import, and only this format needs it
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            schema = file.schema_arrow
            if text_column not in schema.names:
                raise no_column(str(path), text_column, schema.names)
            kind = schema.field(text_column).type
            if not (pa.types.is_string(kind) or pa.types.is_large_string(kind)):
                raise RequestError(
                    f"{path}: {text_column!r} should be text, found {kind}.\nType data.text_column=NAME."
                )
            for batch in file.iter_batches(batch_size=1024, columns=[text_column]):
                yield from ((text,) for text in batch.column(0).to_pylist() if text is not None)
    except (pa.ArrowException, OSError) as error:
        raise RequestError(
            f"{path} is damaged, cut off or no Parquet file: {str(error).splitlines()[0]}\nFetch or write it again."
        ) from error


def no_column(where: str, column: str, there: list[str]) -> RequestError:
    names = ", ".join(map(repr, there)) or "none"
    return RequestError(
        f"{where}: no column {column!r}; there are {names}.\nType data.text_column=NAME with one of them."
    )


def not_utf8(path: Path, offset: int, byte: int) -> RequestError:
    with path.open("rb") as file:
        is_utf16 = file.read(2) in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
    guess = "UTF-16" if is_utf16 else "LATIN1"
    hint = "It begins as UTF-16 does." if is_utf16 else "It may be in an older encoding, or no text at all."
    return RequestError(
        f"{path} is not UTF-8: byte 0x{byte:02x} at offset {offset:,}. {hint}\n"
        f"Type: iconv -f {guess} -t UTF-8 {path} > new.txt, then data.path=new.txt"
    )


READERS: dict[str, Callable[..., Iterator[Document]]] = {
    ".txt": read_txt,
    ".jsonl": read_jsonl,
    ".jsonl.gz": read_jsonl,
    ".parquet": read_parquet,
}


def reader_for(path: Path) -> Callable[..., Iterator[Document]] | None:
    """The reader for a file's extension; None where there is none."""
    return next((read for end, read in READERS.items() if path.name.lower().endswith(end)), None)
