"""YAML that this program reads, its own and others': the one reader. Small files, shallow, in UTF-8, whose aliases do
not multiply.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

MOST_BYTES = 10_000_000
DEEPEST = 64  # mappings and lists within each other
MOST_NODES = 200_000  # when every alias is written out
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
MOST_WORDS = 200  # characters of the parser's own complaint


def value_in(file: Path) -> Any:
    """What a file holds, as plain data. Raises OSError or ValueError as `text_of`."""
    text = text_of(file)
    try:
        return yaml.load(text, LOADER)
    except (yaml.YAMLError, ValueError) as error:  # a date that is none, a tag of Python's
        raise ValueError(_words(error)) from None


def text_of(file: Path) -> str:
    """The text of a YAML file whose events were walked through, which takes no memory, before anything is built of it.

    Raises:
        OSError: it is missing, or cannot be read.
        ValueError: it is no such YAML; the words go behind the file's name.
    """
    if not file.is_file() and file.exists():
        raise ValueError("is no file")
    if file.stat().st_size > MOST_BYTES:
        raise ValueError(f"is larger than a config file may be ({MOST_BYTES:,} bytes)")
    try:
        text = file.read_text(encoding="utf-8")
        _walk(text)
    except UnicodeDecodeError as error:
        raise ValueError(f"is not UTF-8 (byte {error.start:,})") from None
    except yaml.YAMLError as error:
        raise ValueError(_words(error)) from None
    return text


def _words(error: Exception) -> str:
    return f"cannot be read: {(str(error) or type(error).__name__).splitlines()[0][:MOST_WORDS]}"


def _walk(text: str) -> None:
    """Counts nodes and depth. An alias counts as much as what it stands for."""
    sizes: dict[str, int] = {}  # of anchors
    open_nodes: list[tuple[str | None, int]] = []  # their anchor, and the count when they began
    count = 0
    for event in _events(text):
        if isinstance(event, yaml.AliasEvent):
            if event.anchor not in sizes:
                raise ValueError(f"has an alias, *{event.anchor}, that stands for nothing, or for what it is part of")
            count += sizes[event.anchor]
        elif isinstance(event, yaml.CollectionStartEvent | yaml.ScalarEvent):
            count += 1
            if isinstance(event, yaml.CollectionStartEvent):
                open_nodes.append((event.anchor, count - 1))
            elif event.anchor:
                sizes[event.anchor] = 1
        elif isinstance(event, yaml.CollectionEndEvent):
            anchor, before = open_nodes.pop()
            if anchor:
                sizes[anchor] = count - before
        if len(open_nodes) > DEEPEST:
            raise ValueError(f"is nested more than {DEEPEST} deep")
        if count > MOST_NODES:
            raise ValueError(f"has aliases that multiply: written out it has more than {MOST_NODES:,} values")


def _events(text: str) -> Iterator[Any]:
    yield from yaml.parse(text, Loader=LOADER)
