"""Tables as text, .csv and .tsv. The one reader, strict: every row has as many cells as the first line has names.

Cells of a .csv are separated by commas, or, where the first line has none, by semicolons, tabs or bars, as spreadsheets
of many countries write them; a line `sep=;` before the names says so itself. Quotes mean nothing in a .tsv, where no
cell holds a tab.
"""

from __future__ import annotations

import csv
import logging
import re
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

from datamodules.reading.files import kind_of, opened_text
from errors import RequestError

log = logging.getLogger(__name__)
SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}
SAID = re.compile(r"sep=(.)\s*")


def table_cells(path: Path, columns: list[str] | None = None) -> Iterator[tuple[int, list[str]]]:
    """(0, names of the columns), then (row's number from 1, its cells), as many as names. Blank lines are no rows.

    Args:
        columns: their names, where the file has no header.

    Raises:
        RequestError: it is no such table; names the row and the line.
    """
    csv.field_size_limit(1 << 30)  # 128 KiB by default: less than a long document
    number = 0
    with opened_text(path) as text:
        before, first = first_line(text)
        said = SAID.fullmatch(first)  # Excel's way to say it
        if said:
            before, first = before + 1, text.readline()
        style = {"delimiter": said[1]} if said else dialect(path, first)
        reader = csv.reader(chain([first], text), strict=True, **style)
        begin = before + 1
        try:
            names = next(reader, []) if columns is None else columns
            check_names(path, names)
            yield 0, names
            begin = before + reader.line_num + 1
            for cells in told_quotes(path, reader) if kind_of(path) == ".tsv" else reader:
                if cells:
                    number += 1
                    if len(cells) != len(names):
                        raise uneven(path, number, begin, cells, names, style["delimiter"], columns is None)
                    yield number, cells
                begin = before + reader.line_num + 1
        except csv.Error as error:
            raise RequestError(
                f"{path}, row {number + 1:,}, which begins in line {begin:,}: not CSV ({error}).\n"
                'A cell that begins with a quote must end with one; a quote within is written twice: "a ""b"" c".'
            ) from None


def first_line(text: Iterator[str]) -> tuple[int, str]:
    """(how many lines stand before it, the first line that is not blank, without byte order marks)."""
    for number, line in enumerate(text):
        line = line.lstrip("\ufeff") if number == 0 else line
        if line.strip("\r\n"):
            return number, line
    return 0, ""


def told_quotes(path: Path, rows: Iterator[list[str]]) -> Iterator[list[str]]:
    """Rows of a .tsv; says once where a cell stands in quotes, as no .tsv but many a .csv has it."""
    for cells in rows:
        yield cells
        if any(len(cell) > 1 and cell[0] == cell[-1] == '"' for cell in cells):
            log.warning("%s: cells in quotes are taken with their quotes; name it .csv if these only enclose", path)
            break
    yield from rows


def dialect(path: Path, first: str) -> dict[str, Any]:
    if kind_of(path) == ".tsv":
        return {"delimiter": "\t", "quoting": csv.QUOTE_NONE}

    def n_cells(separator: str) -> int:
        return len(next(csv.reader([first], delimiter=separator), []))

    separator = next((s for s in SEPARATORS if n_cells(s) > 1), ",")
    if separator != ",":
        log.warning("%s: cells are separated by %s, as its first line says", path, SEPARATORS[separator])
    return {"delimiter": separator}


def check_names(path: Path, names: list[str]) -> None:
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise RequestError(
            f"{path}, line 1: {', '.join(map(repr, twice))} names more than one column; the columns are "
            f"{', '.join(map(repr, names))}.\nGive each a name of its own."
        )


def uneven(
    path: Path, number: int, line: int, cells: list[str], names: list[str], separator: str, has_header: bool
) -> RequestError:
    said = "the first line names" if has_header else "data.columns names"
    hint = f": a cell that holds a {SEPARATORS.get(separator, separator).removesuffix('s')} needs quotes"
    hint = ": no cell of a .tsv can hold a tab" if kind_of(path) == ".tsv" else hint
    hint = hint if len(cells) > len(names) else ""
    return RequestError(
        f"{path}, row {number:,} (line {line:,}): {len(cells)} columns, and {said} {len(names)}{hint}.\n"
        f"The row: {cells!r:.200}"
    )
