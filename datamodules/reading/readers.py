"""Documents out of one file, lazily: text, pages, JSON, tables, Parquet and Arrow. None but .json is held in memory.

A document is an iterable of pieces of text: a record is one piece, a large .txt file is many, opened again each time
it is walked. Every error names the file and the place in it, and what to type; what is not used is counted.
"""

from __future__ import annotations

import io
import tarfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from datamodules.reading.arrow_rows import all_columns, arrow_rows
from datamodules.reading.files import COMPRESSED, damaged, decoded, kind_of, opened
from datamodules.reading.ignored import Ignored
from datamodules.reading.json_rows import json_lines, json_rows
from datamodules.reading.tables import table_cells
from errors import RequestError
from tokenization.pieces import last_cut

Document = Iterable[str]
PIECE_BYTES = 1 << 20  # large enough for numpy's speed, small enough for the processor's cache and a flat memory
NO_TEXT = "row without text"
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
    """A text in pieces of `size` characters or more that end where words do, whichever way it came."""
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


def read_json_lines(path: Path, *, text_column: str, ignored: Ignored, **_: object) -> Iterator[Document]:
    """One document a line, in `text_column` of a JSON object. Blank lines and nulls are passed over."""
    return documents_of(path, "line", json_lines(path, ignored), text_column, ignored)


def read_json(path: Path, *, text_column: str, ignored: Ignored, **_: object) -> Iterator[Document]:
    """One document an entry of a list, an object's only one, or as in .jsonl; entries may be texts themselves."""
    rows = ((n, {text_column: v} if isinstance(v, str) else v) for n, v in json_rows(path, ignored))
    return documents_of(path, "entry", rows, text_column, ignored)


def documents_of(
    path: Path, entry: str, rows: Iterable[tuple[int, Any]], column: str, ignored: Ignored
) -> Iterator[Document]:
    """The texts in `column` of JSON objects; keys beside it are counted. Raises RequestError naming the row."""
    beside: Counter[tuple[str, ...]] = Counter()  # counted by the row's shape: a row costs one look-up
    try:
        for number, row in rows:
            if not isinstance(row, dict):
                found = type(row).__name__
                raise RequestError(
                    f"{path}, {entry} {number:,}: expected a JSON object with {column!r}, found {found}."
                )
            if len(row) > 1:
                beside[tuple(row)] += 1
            text = row.get(column)
            if type(text) is str and not text.isspace() and text:  # nearly all
                yield (text,)
            elif column not in row:
                raise no_column(f"{path}, {entry} {number:,}", column, list(row))
            else:
                yield from documents_in(text, column, ignored, f"{path}, {entry} {number:,}")
    finally:
        for names, n in beside.items():
            ignored.update({f"column {name!r}": n for name in names if name != column})


def documents_in(text: Any, column: str, ignored: Ignored, where: str) -> Iterator[Document]:
    """A row's document; none for a null. Raises RequestError unless it is text."""
    if text is None:
        ignored[NO_TEXT] += 1
        return
    if not isinstance(text, str):
        raise RequestError(
            f"{where}: {column!r} should be text, found {type(text).__name__}.\nType data.text_column=NAME."
        )
    if not text or text.isspace():
        ignored[NO_TEXT] += 1
    yield (text,)


def read_arrow(path: Path, *, text_column: str, ignored: Ignored, **_: object) -> Iterator[Document]:
    """One document a row, in `text_column` of a Parquet or Arrow file. Nulls are passed over."""
    beside: list[str] = []

    def choose(schema: Any) -> list[str]:
        check_schema(path, schema, text_column)
        beside.extend(name for name in schema.names if name != text_column)
        return [text_column]

    number = 0
    try:
        for number, (text,) in arrow_rows(path, choose):
            yield from documents_in(text, text_column, ignored, f"{path}, row {number:,}")
    finally:  # also where a stream takes the first rows only
        ignored.update({f"column {name!r}": number for name in beside})


def check_schema(path: Path, schema: Any, column: str) -> None:
    """Raises RequestError unless an Arrow schema has `column`, once, and it is text."""
    import pyarrow as pa

    if column not in schema.names:
        raise no_column(str(path), column, schema.names)
    if schema.names.count(column) > 1:
        all_columns(path, schema)
    kind = schema.field(column).type
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    if not (pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)):
        raise RequestError(f"{path}: {column!r} should be text, found {kind}.\nType data.text_column=NAME.")


def read_table(path: Path, *, text_column: str, ignored: Ignored, **_: object) -> Iterator[Document]:
    """One document a row, in `text_column`. Empty cells are passed over."""
    rows = table_cells(path)
    header = next(rows)[1]
    if text_column not in header:
        raise no_column(f"{path}, line 1", text_column, header)
    column, number = header.index(text_column), 0
    try:
        for row in rows:
            number, text = row[0], row[1][column]
            if not text or text.isspace():
                ignored[NO_TEXT] += 1
            if text:
                yield (text,)
    finally:
        ignored.update({f"column {name!r}": number for name in header if name != text_column})


def read_html(path: Path, *, ignored: Ignored, **_: object) -> Iterator[Document]:
    """The main text of a page, as a crawl extracts it."""
    with opened(path) as file:
        yield from page_text(file.read(), path.name, ignored)


def page_text(body: bytes, name: str, ignored: Ignored) -> Iterator[Document]:
    try:
        from crawl.document import Page  # slow to import, and only pages need it
        from crawl.extract.page import extract
        from crawl.settings import CRAWL
    except ImportError as error:
        raise RequestError(f"{name}: pages need {error.name}.\nType: pip install 'nanolab[crawl]'") from None
    text = extract(Page(url=name, body=body), CRAWL).text
    if text.strip():
        yield (text,)
    else:
        ignored.file("ending .html without text")


def read_tar(path: Path, *, separator: str | None, ignored: Ignored, **_: object) -> Iterator[Document]:
    """The texts and pages of an archive, in its order, a document each; other files in it are counted."""
    try:
        with opened(path) as data, tarfile.open(fileobj=data, mode="r|") as archive:
            for member in archive:
                if not member.isfile():
                    if not member.isdir():
                        ignored.file("that is a link or a device in an archive")
                else:
                    file = archive.extractfile(member)
                    assert file is not None  # it is a file
                    yield from member_texts(path, member.name, file.read(), separator, ignored)
    except tarfile.TarError as error:
        raise damaged(path, error) from error


def member_texts(path: Path, name: str, body: bytes, separator: str | None, ignored: Ignored) -> Iterator[Document]:
    kind = Path(name).suffix.lower()
    if Path(name).name.startswith("."):
        ignored.file("that is hidden in an archive")
    elif kind in PAGES:
        yield from page_text(body, name, ignored)
    elif kind in TEXTS:
        try:
            text = body.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise RequestError(
                f"{path}: {name} in it is not UTF-8: byte 0x{body[error.start]:02x} at offset {error.start:,}."
            ) from None
        yield from ((part,) for part in (text.split(separator) if separator else [text]))
    else:
        ignored.file(f"ending {kind} in an archive" if kind else "without an ending in an archive")


def lines_of(pieces: Iterable[str]) -> Iterator[str]:
    """Lines with their ends, as csv wants them, out of pieces that may end anywhere."""
    carry = ""
    for piece in pieces:
        *whole, carry = io.StringIO(carry + piece, newline="")
        yield from whole
    if carry:
        yield carry


class NoColumnError(RequestError):
    """A row has no column of that name."""


def no_column(where: str, column: str, there: list[str]) -> NoColumnError:
    names = ", ".join(map(repr, there)) or "none"
    return NoColumnError(
        f"{where}: no column {column!r}; there are {names}.\nType data.text_column=NAME with one of them."
    )


TEXTS = (".txt", ".text", ".md", ".rst")
PAGES = (".html", ".htm")
ARCHIVES = (".tar", ".tgz")
READERS: dict[str, Callable[..., Iterator[Document]]] = {
    **dict.fromkeys(TEXTS, read_txt),
    **dict.fromkeys(PAGES, read_html),
    ".jsonl": read_json_lines,
    ".ndjson": read_json_lines,
    ".json": read_json,
    ".csv": read_table,
    ".tsv": read_table,
    **dict.fromkeys(ARCHIVES, read_tar),
    ".parquet": read_arrow,
    ".arrow": read_arrow,
}
KNOWN = f"{', '.join(READERS)}; all but the last two also as .gz and .zst"


def reader_for(path: Path) -> Callable[..., Iterator[Document]] | None:
    """The reader for a file's ending; None where there is none."""
    kind = kind_of(path)
    packed = path.suffix.lower() in COMPRESSED
    return None if packed and kind in (".parquet", ".arrow", ".tgz") else READERS.get(kind)


def is_lines_of_plain_text(path: Path) -> bool:
    """Whether a file's size is about that of its text."""
    return path.suffix.lower() in (*TEXTS, ".jsonl", ".ndjson")
