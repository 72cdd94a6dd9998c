"""Text that knows which of its characters came out of the data, whatever a template does to it.

`Traced` is a str: it compares, searches and prints like the text that it is, so a template sees nothing of it. Beside
every character stands a flag: DATA where it was somebody's text, LEARNED where `{% generation %}` encloses it. What
cuts and joins text keeps the flags; what makes new text out of it (upper case, JSON, formats) gives data, all of it,
unless a second pass with placeholders shows which characters were only moved (`followed`). So in doubt a character is
data: data may make a template's own token plain text, but never plain text a token (N13).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from markupsafe import Markup

DATA, LEARNED = 1, 2
OWN, FROM_DATA = b"\0", bytes([DATA])
FIRST_PLACEHOLDER, N_PLACEHOLDERS = 0xF0000, 0xFFFE  # a plane for private use: one character for each text


class Traced(str):
    """`flags`: one byte a character, by default all DATA."""

    _flags: bytes

    def __new__(cls, text: str = "", flags: bytes | None = None) -> Traced:
        self = super().__new__(cls, text)
        self._flags = FROM_DATA * len(self) if flags is None else flags
        return self

    def __str__(self) -> str:
        return self

    def __add__(self, other: str) -> Traced:
        return concat((self, other)) if isinstance(other, str) else NotImplemented

    def __radd__(self, other: str) -> Traced:
        return concat((other, self))

    def __mul__(self, times: Any) -> Traced:
        return Traced(super().__mul__(times), self._flags * times)

    __rmul__ = __mul__

    def __getitem__(self, key: Any) -> Traced:
        if isinstance(key, slice):
            return Traced(super().__getitem__(key), self._flags[key])
        return Traced(super().__getitem__(key), bytes([self._flags[key]]))

    def __iter__(self) -> Iterator[Traced]:
        return (Traced(char, bytes([flag])) for char, flag in zip(super().__iter__(), self._flags, strict=True))

    def lstrip(self, chars: str | None = None) -> Traced:
        return self[len(self) - len(super().lstrip(chars)) :]

    def rstrip(self, chars: str | None = None) -> Traced:
        return self[: len(super().rstrip(chars))]

    def strip(self, chars: str | None = None) -> Traced:
        return self.lstrip(chars).rstrip(chars)

    def removeprefix(self, prefix: str) -> Traced:
        return self[len(self) - len(super().removeprefix(prefix)) :]

    def removesuffix(self, suffix: str) -> Traced:
        return self[: len(super().removesuffix(suffix))]

    def partition(self, sep: str) -> tuple[Traced, Traced, Traced]:
        return self._in_three(*map(len, super().partition(sep)))

    def rpartition(self, sep: str) -> tuple[Traced, Traced, Traced]:
        return self._in_three(*map(len, super().rpartition(sep)))

    def _in_three(self, a: int, b: int, c: int) -> tuple[Traced, Traced, Traced]:
        return self[:a], self[a : a + b], self[a + b :]

    def split(self, sep: str | None = None, maxsplit: Any = -1) -> list[Traced]:  # type: ignore[override]
        return self._parts(super().split(sep, maxsplit), sep)

    def rsplit(self, sep: str | None = None, maxsplit: Any = -1) -> list[Traced]:  # type: ignore[override]
        return self._parts(super().rsplit(sep, maxsplit), sep)

    def splitlines(self, keepends: bool = False) -> list[Traced]:  # type: ignore[override]
        return self._parts(super().splitlines(keepends), None)

    def _parts(self, parts: list[str], sep: str | None) -> list[Traced]:
        """Parts of this text in their order, where they stand in it; between them `sep`, or white space."""
        found, at = [], 0
        for part in parts:
            at = at if sep is not None else self.find(part, at)
            found.append(self[at : at + len(part)])
            at += len(part) + len(sep or "")
        return found

    def replace(self, old: str, new: str, count: Any = -1) -> Traced:
        if not old:
            return Traced(super().replace(old, new, count))
        return Traced(new, flags_of(new)).join(self.split(old, count))

    def join(self, parts: Iterable[str]) -> Traced:
        return concat(between(self, parts))


class TracedMarkup(Markup):
    """What was declared safe or escaped: all of it counts as data."""


def between(sep: str, parts: Iterable[str]) -> Iterator[str]:
    for i, part in enumerate(parts):
        if i:
            yield sep
        yield part


def flags_of(text: str) -> bytes:
    if isinstance(text, Traced):
        return text._flags
    return (FROM_DATA if isinstance(text, TracedMarkup) else OWN) * len(text)


def concat(parts: Iterable[str]) -> Any:
    """All of it in one piece, as "".join; a str where nothing of it is traced."""
    kept = list(parts)
    text = str.join("", kept)
    if any(isinstance(part, Traced | TracedMarkup) for part in kept):
        return Traced(text, b"".join(map(flags_of, kept)))
    return text


def learned(text: str) -> Traced:
    """This text, marked as what the assistant says."""
    return Traced(str(text), bytes(flag | LEARNED for flag in flags_of(text)))


def traced(value: Any) -> Any:
    """Data of JSON's types with every text in it traced, names of fields too."""
    if isinstance(value, str):
        return Traced(value)
    if isinstance(value, Mapping):
        return {traced(key): traced(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [traced(item) for item in value]
    return value


def is_traced(value: Any) -> bool:
    """Whether there is text from the data in it, at any depth."""
    if isinstance(value, str):
        return isinstance(value, Traced | TracedMarkup)
    if isinstance(value, Mapping):
        return any(is_traced(key) or is_traced(item) for key, item in value.items())
    return isinstance(value, list | tuple) and any(map(is_traced, value))


def followed(result: Any, make: Callable[..., Any] | None, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """The result of something that was done with `args`, with flags.

    Args:
        make: does it again, with placeholders for traced texts; None: what came out is another text, and data.
    """
    if isinstance(result, list | tuple):
        return type(result)(followed(item, None, (), {}) for item in result)
    if isinstance(result, Markup):
        return TracedMarkup(result)
    if not isinstance(result, str) or isinstance(result, Traced):
        return result
    if make is None:
        return Traced(result)
    texts: list[Traced] = []
    try:
        moved = make(*hidden(args, texts), **hidden(kwargs, texts))
        return Traced(result, flags_by(moved, result, texts))
    except Exception:  # a placeholder is not what the template expected
        return Traced(result)


def hidden(value: Any, texts: list[Traced]) -> Any:
    """The tree with each traced text as so many placeholders; `texts` takes it."""
    if isinstance(value, Traced):
        texts.append(value)
        return chr(FIRST_PLACEHOLDER + len(texts) % N_PLACEHOLDERS) * len(value)
    if isinstance(value, Mapping):
        return {hidden(key, texts): hidden(item, texts) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(hidden(item, texts) for item in value)
    return value


def flags_by(moved: Any, result: str, texts: list[Traced]) -> bytes:
    """Flags of `result`, which has the texts whole where `moved` has their placeholders. ValueError: it has not."""
    flags, at = [], 0
    if not isinstance(moved, str) or len(moved) != len(result) or len(texts) >= N_PLACEHOLDERS:
        raise ValueError("shaped by the text itself")
    while at < len(result):
        number = ord(moved[at]) - FIRST_PLACEHOLDER
        text = texts[number - 1] if 0 < number <= len(texts) else ""
        if text and result.startswith(text, at) and moved.startswith(moved[at] * len(text), at):
            flags.append(flags_of(text))
            at += len(text)
        elif moved[at] == result[at]:
            flags.append(OWN)
            at += 1
        else:
            raise ValueError("another text")
    return b"".join(flags)
