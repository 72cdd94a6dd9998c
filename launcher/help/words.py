"""Plain words for wrong requests: what was given, what was expected, what to type."""

from collections.abc import Iterable, Sequence
from difflib import SequenceMatcher

ALIKE, SURE = 0.6, 0.8  # closeness of a name to the one it was meant to be


def closeness(a: str, b: str) -> float:
    """1 for equal, 0 for nothing in common; letters swapped or left out cost little."""
    return SequenceMatcher(None, a.lower(), b.lower()).ratio()


def nearest(word: str, choices: Iterable[str], *, cutoff: float = 0.5) -> str | None:
    """The choice that looks most like `word`, or None if none does."""
    best = max(choices, key=lambda choice: closeness(word, choice), default=None)
    return best if best is not None and closeness(word, best) >= cutoff else None


def nearest_key(key: str, valid: Sequence[str], others: Sequence[str] = ()) -> str | None:
    """The dotted key meant by `key`: one of `valid` of which each name is spelled alike, the same name elsewhere, one
    of `others` spelled alike, or the likeliest of `valid`.
    """
    alike, likeness = _spelled_alike(key, valid)
    section, _, leaf = key.rpartition(".")
    same = [v for v in valid if v.rpartition(".")[2] == leaf]
    if same and (likeness < SURE or not section):
        return nearest(key, same, cutoff=0.0)
    if likeness >= ALIKE:
        return alike
    other, likeness = _spelled_alike(key, others)
    if likeness >= ALIKE:
        return other
    inner = [v for v in valid if not key.startswith(f"{v}.")]  # a section is no name of what it lacks
    scores = {v: closeness(leaf, v.rpartition(".")[2]) + closeness(key, v) for v in inner}
    best = max(scores, key=scores.__getitem__, default=None)
    return best if best is not None and scores[best] >= 1.1 else None


def _spelled_alike(key: str, valid: Iterable[str]) -> tuple[str | None, float]:
    """The key of as many names that looks most like this one, and how close the least close of its names is."""
    names = key.split(".")
    found: tuple[tuple[float, float], str | None] = ((0.0, 0.0), None)
    for other in valid:
        parts = other.split(".")
        if len(parts) == len(names):
            close = [closeness(name, part) for name, part in zip(names, parts, strict=True)]
            found = max(found, ((min(close), sum(close)), other), key=lambda each: each[0])
    return found[1], found[0][0]


def listing(names: Iterable[str], *, limit: int = 24) -> str:
    """ "a, b, c", cut with a count where there are too many to read."""
    names = list(names)
    more = len(names) - limit
    return ", ".join(names[:limit]) + (f", ... ({more} more)" if more > 0 else "")


def did_you_mean(word: str, choices: Sequence[str], *, form: str = "{}") -> str:
    """A line with the likeliest choice, or nothing."""
    close = nearest(word, choices)
    return "" if close is None else f"\nDid you mean {form.format(close)}?"


def shown(value: object) -> str:
    """A value as a user would type it."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    return cut(str(value) if not isinstance(value, str) else (f'"{value}"' if value == "" or " " in value else value))


def cut(text: str, *, limit: int = 120) -> str:
    """A text for a message: its beginning, and how long it is, where it is longer than a line."""
    text = text.encode("utf-8", "backslashreplace").decode()
    return text if len(text) <= limit else f"{text[:limit]}... ({len(text):,} characters)"
