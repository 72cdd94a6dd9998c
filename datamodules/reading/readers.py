"""Documents out of one file, lazily: .txt, .jsonl, .parquet, .arrow, .csv. A file is never held in memory as a whole.

A document is an iterable of pieces of text: a record is one piece, a large .txt file is many, opened again each time
it is walked. Every error names the file and the place in it, and what to type.
"""

from __future__ import annotations

import codecs
import csv
import gzip
import io
import json
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from commands import shell
from errors import RequestError
from tokenization.pieces import last_cut

Document = Iterable[str]
PIECE_BYTES = 1 << 20  # large enough for numpy's speed, small enough for the processor's cache and a flat memory
SEARCH_CHARS = 1 << 14  # how far back a good place to cut is looked for


@dataclass(frozen=True)
class TextFile:
    """A .txt file as one document."""

    path: Path

    def __iter__(self) -> Iterator[str]:
        return text_pieces(self.path)


def read_txt(path: Path, *, separator: str | None, **_: object) -> Iterator[Document]:
    """The whole file as one document, or what lies between separators."""
    if separator is None:
        yield TextFile(path)
    else:
        yield from ((text,) for text in split_pieces(text_pieces(path), separator))


def text_pieces(path: Path, size: int = PIECE_BYTES) -> Iterator[str]:
    """A UTF-8 file in pieces of about `size` bytes. Raises RequestError with the byte offset where it is not UTF-8.

    Pieces end where words do: most tokenizers give the same ids as for the whole (`Tokenizer.whole_documents`).
    """
    return cut_at_words(decoded(path, size), size)


def cut_at_words(texts: Iterable[str], size: int = PIECE_BYTES) -> Iterator[str]:
    """The same text in pieces of `size` characters or more that end where words do, whichever way it came."""
    text: list[str] = []
    n, enough = 0, size
    for fresh in texts:
        text.append(fresh)
        n += len(fresh)
        if n >= enough:
            whole = "".join(text)
            cut = safe_cut(whole)
            if cut:
                yield whole[:cut]
            text, n = [whole[cut:]], len(whole) - cut
            enough = size if cut else n + min(size, SEARCH_CHARS)
    if n:
        yield "".join(text)


def decoded(path: Path, size: int) -> Iterator[str]:
    """A UTF-8 file in blocks of `size` bytes. Raises RequestError with the byte offset where it is not UTF-8."""
    decoder, offset = codecs.getincrementaldecoder("utf-8")(), 0
    with path.open("rb") as file:
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


def safe_cut(text: str) -> int:
    """Length of the longest prefix that ends where a word does; 0: none yet, read on."""
    found = last_cut(text, max(0, len(text) - SEARCH_CHARS), len(text), at_lines=True)
    return found or (len(text) if len(text) > 2 * PIECE_BYTES else 0)


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
            check_schema(path, file.schema_arrow, text_column)
            for batch in file.iter_batches(batch_size=1024, columns=[text_column]):
                yield from ((text,) for text in batch.column(0).to_pylist() if text is not None)
    except (pa.ArrowException, OSError) as error:
        raise RequestError(
            f"{path} is damaged, cut off or no Parquet file: {str(error).splitlines()[0]}\nFetch or write it again."
        ) from error


def check_schema(path: Path, schema: Any, column: str) -> None:
    """Raises RequestError unless an Arrow schema has `column` and it is text."""
    import pyarrow as pa

    if column not in schema.names:
        raise no_column(str(path), column, schema.names)
    kind = schema.field(column).type
    if not (pa.types.is_string(kind) or pa.types.is_large_string(kind)):
        raise RequestError(f"{path}: {column!r} should be text, found {kind}.\nType data.text_column=NAME.")


def read_arrow(path: Path, *, text_column: str, **_: object) -> Iterator[Document]:
    """One document a row, in `text_column` of an Arrow file or stream. Nulls are passed over."""
    import pyarrow as pa

    try:
        with path.open("rb") as file:
            is_file = file.read(6) == b"ARROW1"
            file.seek(0)
            reader = pa.ipc.open_file(file) if is_file else pa.ipc.open_stream(file)
            check_schema(path, reader.schema, text_column)
            batches = (reader.get_batch(i) for i in range(reader.num_record_batches)) if is_file else reader
            for batch in batches:
                yield from ((text,) for text in batch.column(text_column).to_pylist() if text is not None)
    except (pa.ArrowException, OSError) as error:
        raise RequestError(
            f"{path} is damaged, cut off or no Arrow file: {str(error).splitlines()[0]}\nFetch or write it again."
        ) from error


def read_csv(path: Path, *, text_column: str, **_: object) -> Iterator[Document]:
    """One document a row, in `text_column`; the first line names the columns. Empty cells are passed over."""
    csv.field_size_limit(1 << 30)  # 128 KiB by default: less than a long document
    reader = csv.reader(lines_of(text_pieces(path)), strict=True)
    try:
        header = next(reader, [])
        if text_column not in header:
            raise no_column(f"{path}, line 1", text_column, header)
        column = header.index(text_column)
        for row in reader:
            if row and len(row) != len(header):
                raise RequestError(
                    f"{path}, line {reader.line_num:,}: {len(row)} columns, and the first line names {len(header)}."
                )
            if row and row[column]:
                yield (row[column],)
    except csv.Error as error:
        raise RequestError(f"{path}, line {reader.line_num:,}: not CSV ({error}).") from None


def lines_of(pieces: Iterable[str]) -> Iterator[str]:
    """Lines with their ends, as csv wants them, out of pieces that may end anywhere."""
    carry = ""
    for piece in pieces:
        *whole, carry = io.StringIO(carry + piece, newline="")
        yield from whole
    if carry:
        yield carry


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
        f"Type: {shell('iconv', '-f', guess, '-t', 'UTF-8', path)} > new.txt, then data.path=new.txt"
    )


READERS: dict[str, Callable[..., Iterator[Document]]] = {
    ".txt": read_txt,
    ".jsonl": read_jsonl,
    ".jsonl.gz": read_jsonl,
    ".json.gz": read_jsonl,
    ".parquet": read_parquet,
    ".arrow": read_arrow,
    ".csv": read_csv,
}


def reader_for(path: Path) -> Callable[..., Iterator[Document]] | None:
    """The reader for a file's extension; None where there is none."""
    return next((read for end, read in READERS.items() if path.name.lower().endswith(end)), None)
