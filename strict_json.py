"""JSON that this program reads, its own and others': the one decoder.

Strict: a key may stand in an object once, numbers are finite, and nesting has an end. Half of a surrogate pair, which
JSON can hold and UTF-8 cannot, is read as U+FFFD and counted.
"""

from __future__ import annotations

import ast
import codecs
import json
import os
import token as tokens
from collections import Counter
from contextlib import suppress
from io import StringIO
from itertools import pairwise
from pathlib import Path
from tokenize import TokenError, generate_tokens
from typing import Any

HALF_A_PAIR = "half of a surrogate pair, read as U+FFFD: row"
SHORT_BYTES = 400
SPACES = (tokens.NL, tokens.NEWLINE, tokens.COMMENT)
LARGEST_FILE = 1 << 28  # bytes of a file that is read as one value: vocabularies are tens of megabytes


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the key {twice!r} stands in one object twice")
    return found


def _no_number(name: str) -> None:
    raise ValueError(f"{name} is no number in JSON")


def _number(digits: str) -> float:
    value = float(digits)
    if value in (float("inf"), float("-inf")):
        raise ValueError(f"{digits:.40} is too large for a number")
    return value


_decode = json.JSONDecoder(object_pairs_hook=_once, parse_constant=_no_number, parse_float=_number).decode


def value_of(data: bytes | str, halves: Counter[str] | None = None) -> Any:
    """The value of a JSON text; `halves` counts what was read as U+FFFD. Raises ValueError where it is none."""
    try:
        value = _decode(data if isinstance(data, str) else data.decode("utf-8"))
        # only an escape can make half a pair; to look at a long value is faster than to search its line for one
        escape: Any = "\\u" if isinstance(data, str) else b"\\u"
        if (len(data) > SHORT_BYTES or escape in data) and not is_whole(value):
            text = json.dumps(value, ensure_ascii=False).encode("utf-16-le", "surrogatepass")
            value = json.loads(text.decode("utf-16-le", "replace"))
            if halves is not None:
                halves[HALF_A_PAIR] += 1
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    return value


def is_whole(value: Any) -> bool:
    """Whether no text in it, names included, holds half of a surrogate pair."""
    kind = type(value)
    if kind is str:
        if not value.isascii():
            try:
                value.encode("utf-8")
            except UnicodeEncodeError:
                return False
    elif kind is dict:  # in loops: this runs for every row that is read
        for name, item in value.items():
            if not (name.isascii() or is_whole(name)) or not is_whole(item):
                return False
    elif kind is list:
        for item in value:
            if not is_whole(item):
                return False
    return True


def object_in(file: str | Path) -> dict[str, Any]:
    """The object in a file. Raises OSError where it cannot be read, ValueError where it holds something else."""
    if not os.path.isfile(file) and os.path.exists(file):
        raise ValueError("it is no plain file")
    data = bytearray()
    with open(file, "rb") as opened:
        while len(data) <= LARGEST_FILE and (more := opened.read(1 << 20)):  # at once, room for the largest is taken
            data += more
    if len(data) > LARGEST_FILE:
        raise ValueError(f"it is larger than {LARGEST_FILE >> 20} MiB")
    found = value_of(bytes(data).removeprefix(codecs.BOM_UTF8))
    if not isinstance(found, dict):
        raise ValueError(f"it holds {type(found).__name__}, no object")
    return found


def nested(value: Any) -> Any:
    """A list or an object as it is; one that a table holds as text, as JSON or as Python prints it, read.

    Raises:
        ValueError: it is neither. Arrays as numpy prints them are none: ['a' 'b'] has lost its commas.
    """
    if not isinstance(value, str):
        return value
    found = None
    for read in (value_of, _python_value):
        with suppress(ValueError, SyntaxError, MemoryError, RecursionError, TokenError):
            found = read(value)
            break
    if not isinstance(found, list | tuple | dict):
        raise ValueError(f"{value!r:.60} is text; expected a list or an object, as JSON or as Python writes it")
    return found


def _python_value(text: str) -> Any:
    """Raises ValueError where two texts stand side by side, which Python would make one."""
    kinds = [token.type for token in generate_tokens(StringIO(text.strip()).readline) if token.type not in SPACES]
    if any(a == b == tokens.STRING for a, b in pairwise(kinds)):
        raise ValueError("a comma lacks between two texts")
    return ast.literal_eval(text.strip())
