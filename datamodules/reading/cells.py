"""Cells of a table that hold messages as text: CSV knows no lists, and Parquet is often written with JSON in a cell."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from errors import RequestError
from strict_json import nested

OPENED = re.compile(r"\s*\[\s*\{\s*['\"]")  # how a list of objects begins, in JSON and as Python prints it
MEANT = re.compile(r"\s*\[\s*\{\s*['\"](role|content|from|value)['\"]\s*:.*\]\s*", re.DOTALL)
SPEAKERS = {  # who speaks in ShareGPT's rows and their relatives, and today's name of it
    **dict.fromkeys(("human", "user"), "user"),
    **dict.fromkeys(("gpt", "assistant", "chatgpt", "bing", "bard", "model"), "assistant"),
    **dict.fromkeys(("observation", "tool", "function_response", "function"), "tool"),
    **{role: role for role in ("system", "developer", "function_call")},
}
SAID = {"content", "value", "tool_calls", "function_call"}


def messages_in(value: Any) -> Any:
    """A list of messages that a cell holds as text, read; anything else as it is.

    Raises:
        RequestError: it begins and ends as one, and cannot be read.
    """
    if not isinstance(value, str) or not OPENED.match(value):
        return value
    try:
        found = nested(value)
    except ValueError:
        if not MEANT.fullmatch(value):
            return value
        raise RequestError(
            f"{value!r:.60} begins as a list of messages; expected one as JSON or as Python writes it."
        ) from None
    return list(found) if all(map(is_spoken, found)) else value


def is_spoken(item: Any) -> bool:
    """Whether it is a message: somebody whom we know says something."""
    if not isinstance(item, Mapping) or not SAID & item.keys():
        return False
    who = item.get("role", item.get("from"))
    return isinstance(who, str) and who in SPEAKERS


def with_messages(row: Mapping[str, Any], columns: Iterable[str], where: str) -> Mapping[str, Any]:
    """The row with those of its columns read by `messages_in`. Raises RequestError naming row and column."""
    found = dict(row)
    for name in columns:
        try:
            if name in row:
                found[name] = messages_in(row[name])
        except RequestError as error:
            raise RequestError(f"{where}, {name!r}: {error}") from None
    return found
