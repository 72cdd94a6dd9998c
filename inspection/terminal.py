"""Tokens in a terminal: colours where it has them, bars between tokens where it has not."""

from __future__ import annotations

from collections.abc import Sequence

from batch import IGNORE

BACKGROUNDS = (153, 157, 223, 225, 159, 217)  # of the 256 colours: light, with black letters on them
RESET = "\x1b[0m"


def coloured(texts: Sequence[str], targets: Sequence[int] | None = None, documents: Sequence[int] | None = None) -> str:
    """Each token on its own ground; those without a target are dim; documents begin on a line of their own."""
    parts = []
    for i, text in enumerate(texts):
        if documents and i and documents[i] != documents[i - 1]:
            parts.append("\n")
        dim = "\x1b[2m" if targets is not None and targets[i] == IGNORE else ""
        style = f"{dim}\x1b[30;48;5;{BACKGROUNDS[i % len(BACKGROUNDS)]}m"
        parts.append(f"{style}{visible(text)}{RESET}")
    return "".join(parts)


def plain(texts: Sequence[str], targets: Sequence[int] | None = None, documents: Sequence[int] | None = None) -> str:
    """Bars between tokens; brackets around those without a target; documents begin on a line of their own."""
    parts = []
    for i, text in enumerate(texts):
        border = documents and i and documents[i] != documents[i - 1]
        parts.append("\n" if border else "|" if i else "")
        parts.append(f"({visible(text)})" if targets is not None and targets[i] == IGNORE else visible(text))
    return "".join(parts)


def visible(text: str) -> str:
    """Control characters by their pictures, so that no text can steer the terminal."""
    return "".join(chr(0x2400 + ord(c)) if ord(c) < 32 else "\u2421" if ord(c) == 127 else c for c in text)
