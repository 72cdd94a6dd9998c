"""JSON that others wrote: lines, lists, objects. The one reader, strict, that names the line.

Strict: a key may stand in an object once, numbers are finite, and nesting has an end. Half of a surrogate pair, which
JSON can hold and UTF-8 cannot, is read as U+FFFD and counted.
"""

from __future__ import annotations

import codecs
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from datamodules.reading.files import not_utf8, opened
from datamodules.reading.ignored import Ignored
from errors import RequestError

HALF_A_PAIR = "half of a surrogate pair, read as U+FFFD: row"
SHORT_BYTES = 400
FIRST_BYTES = 1 << 24  # of a .json file: a first line that is longer is no line


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the key {twice!r} stands in one object twice")
    return found


def _no_number(name: str) -> None:
    raise ValueError(f"{name} is no number in JSON")


_decode = json.JSONDecoder(object_pairs_hook=_once, parse_constant=_no_number).decode


def parsed(data: bytes, ignored: Ignored | None = None) -> Any:
    """The value of a JSON text in UTF-8. Raises ValueError, RecursionError where it is none."""
    value = _decode(data.decode("utf-8"))
    # only an escape can make half a pair; to look at a long value is faster than to search its line for one
    if (len(data) > SHORT_BYTES or b"\\u" in data) and not is_whole(value):
        halves = json.dumps(value, ensure_ascii=False).encode("utf-16-le", "surrogatepass")
        value = json.loads(halves.decode("utf-16-le", "replace"))
        if ignored is not None:
            ignored[HALF_A_PAIR] += 1
    return value


def is_whole(value: Any) -> bool:
    """Whether no text in it holds half of a surrogate pair."""
    kind = type(value)
    if kind is str and not value.isascii():
        try:
            value.encode("utf-8")
        except UnicodeEncodeError:
            return False
    elif kind is dict:
        return all(map(is_whole, value.values()))
    elif kind is list:
        return all(map(is_whole, value))
    return True


def json_lines(path: Path, ignored: Ignored | None = None) -> Iterator[tuple[int, Any]]:
    """(line's number from 1, its value) of every line that is not blank. Raises RequestError with the line's number."""
    offset = 0
    with opened(path) as lines:
        for number, line in enumerate(lines, start=1):
            data = line.removeprefix(codecs.BOM_UTF8) if number == 1 else line
            if not data.isspace() and data:
                try:
                    value = parsed(data, ignored)
                except UnicodeDecodeError as error:
                    raise not_utf8(path, offset + len(line) - len(data) + error.start, data[error.start]) from None
                except (ValueError, RecursionError) as error:
                    raise not_json(f"{path}, line {number:,}", error) from None
                yield number, value
            offset += len(line)


def json_value(path: Path, ignored: Ignored | None = None) -> Any:
    """The value of a whole file. Raises RequestError where it is not JSON, OSError where it cannot be read."""
    with opened(path) as file:
        data = file.read()
    try:
        return parsed(data.removeprefix(codecs.BOM_UTF8), ignored)
    except UnicodeDecodeError as error:
        raise not_utf8(path, error.start + data.startswith(codecs.BOM_UTF8) * 3, error.object[error.start]) from None
    except (ValueError, RecursionError) as error:
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
        return isinstance(parsed(line), dict)
    except (ValueError, RecursionError):
        return False


def not_json(where: str, error: Exception, *, lines: bool = True) -> RequestError:
    expected = "Expected one JSON object a line." if lines else "Expected a list of objects, or an object."
    reason = "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
    return RequestError(f"{where}: not JSON ({reason}).\n{expected}")
