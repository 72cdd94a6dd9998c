"""Given is used or refused: a reader declares what it knows, the rest is counted by name and said once.

A reader of rows or messages holds a table of `Field`s. `Ignored` counts what else was there: on the screen, in the data
card and in summary.json (`ignored`) it reads `column 'source': 500`. What would change what is learned is refused.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple, TypeVar

from errors import RequestError


class Field(NamedTuple):
    """One column or key that a reader knows. `kinds`: the types that it may have; none: any. `use`: what it does."""

    kinds: tuple[type, ...]
    use: str


Fields = Mapping[str, Field]
Item = TypeVar("Item")


class Ignored(Counter[str]):
    """How often something was there that is not used, by its name. Two walks over the same rows: `a | b`."""

    def __add__(self, other: Counter[str]) -> Ignored:  # type: ignore[override]
        return Ignored(super().__add__(other))

    def __sub__(self, other: Counter[str]) -> Ignored:
        return Ignored(super().__sub__(other))

    def file(self, what: str) -> None:
        """Count a file that is passed over."""
        self[f"file {what}"] += 1

    def walk(self, read: Callable[[Ignored], Iterator[Item]]) -> Iterator[Item]:
        """What `read` gives. It counts for itself; of several walks over the same, the one that saw most is kept."""
        fresh = Ignored()
        try:
            yield from read(fresh)
        finally:
            self |= fresh

    def beside(self, known: Iterable[str], row: Mapping[str, Any], what: str = "column") -> None:
        """Count the entries of a row that are not `known`; a null was not given."""
        if len(row) > 1 or not row.keys() <= set(known):
            self.update(f"{what} {name!r}" for name in row.keys() - set(known) if row[name] not in (None, "", [], {}))


def check_fields(row: Mapping[str, Any], fields: Fields, refused: Fields, where: str, what: str = "column") -> None:
    """Raises RequestError for a known field of another type, and for one that would change what is learned."""
    for name, field in fields.items():
        value = row.get(name)
        if field.kinds and value is not None and not isinstance(value, field.kinds):
            wanted = " or ".join(KINDS.get(kind, kind.__name__) for kind in field.kinds)
            raise RequestError(
                f"{where}: {what} {name!r} should be {wanted} ({field.use}), found {type(value).__name__}."
            )
    for name, field in refused.items():
        if row.get(name) not in (None, "", [], {}):
            raise RequestError(
                f"{where}: {what} {name!r} ({field.use}) would change what is learned, and this data does not use it."
                f"\nTake {name!r} out of the rows if it means nothing here."
            )


KINDS: dict[type, str] = {str: "text", int: "a whole number", float: "a number", bool: "true or false", list: "a list",
                          dict: "an object"}  # fmt: skip


def in_words(ignored: Mapping[str, int]) -> str:
    """ "not used: column 'source' (500), file ending .pdf (3)"; "" where everything was used."""
    found = sorted(ignored.items(), key=lambda item: (-item[1], item[0]))
    return "not used: " + ", ".join(f"{name} ({n:,})" for name, n in found) if found else ""
