"""JSON that others wrote: lines, lists, objects. The one reader, strict (strict_json.py), that names the line."""

from __future__ import annotations

import codecs
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from datamodules.reading.files import not_utf8, opened
from datamodules.reading.ignored import Ignored
from errors import RequestError
from strict_json import value_of

FIRST_BYTES = 1 << 24  # of a .json file: a first line that is longer is no line


def json_lines(path: Path, ignored: Ignored | None = None) -> Iterator[tuple[int, Any]]:
    """(line's number from 1, its value) of every line that is not blank. Raises RequestError with the line's number."""
    offset = 0
    with opened(path) as lines:
        for number, line in enumerate(lines, start=1):
            data = line.removeprefix(codecs.BOM_UTF8) if number == 1 else line
            if not data.isspace() and data:
                try:
                    value = value_of(data, ignored)
                except UnicodeDecodeError as error:
                    raise not_utf8(path, offset + len(line) - len(data) + error.start, data[error.start]) from None
                except ValueError as error:
                    raise not_json(f"{path}, line {number:,}", error) from None
                yield number, value
            offset += len(line)


def json_value(path: Path, ignored: Ignored | None = None) -> Any:
    """The value of a whole file. Raises RequestError where it is not JSON, OSError where it cannot be read."""
    with opened(path) as file:
        data = file.read()
    try:
        return value_of(data.removeprefix(codecs.BOM_UTF8), ignored)
    except UnicodeDecodeError as error:
        raise not_utf8(path, error.start + data.startswith(codecs.BOM_UTF8) * 3, error.object[error.start]) from None
    except ValueError as error:
        raise not_json(str(path), error, lines=False) from None


def json_rows(path: Path, ignored: Ignored | None = None) -> Iterator[tuple[int, Any]]:
    """(number, value) of what a .json file holds: the entries of a list, one object, or, as many write it, lines."""
    if has_json_lines(path):
        yield from json_lines(path, ignored)
        return
    found = json_value(path, ignored)
    yield from enumerate(found if isinstance(found, list) else [found], start=1)


def has_json_lines(path: Path) -> bool:
    """Whether the first line that is not blank is an object by itself."""
    with opened(path) as file:
        line = file.readline(FIRST_BYTES).removeprefix(codecs.BOM_UTF8)
        while line.isspace():
            line = file.readline(FIRST_BYTES)
    try:
        return isinstance(value_of(line), dict)
    except ValueError:
        return False


def not_json(where: str, error: Exception, *, lines: bool = True) -> RequestError:
    expected = "Expected one JSON object a line." if lines else "Expected a list of objects, or an object."
    return RequestError(f"{where}: not JSON ({error}).\n{expected}")
