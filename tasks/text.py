"""Between the command line, tokens and the screen: escapes, stop strings, text printed as far as it is certain."""

import re
import sys
from collections.abc import Iterable, Sequence
from typing import Any

from errors import RequestError
from tokenization.base import Tokenizer

ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "\\": "\\"}


def typed(text: str) -> str:
    r"""Text of the command line: \n, \t and \r are a new line, a tab and a carriage return, \\ is one backslash.

    Shells hand "\n" on as two characters, and so does Hydra. All other backslashes stay as they are.
    """
    return re.sub(r"\\([ntr\\])", lambda match: ESCAPES[match[1]], text)


def stops(given: list[str] | str | None) -> list[str]:
    """What `stop` names. Raises RequestError for an empty text among them, which every text contains."""
    found = [typed(text) for text in ([given] if isinstance(given, str) else given or [])]
    if "" in found:
        raise RequestError("stop names an empty text, and every text contains that: leave it out, or type stop=null.")
    return found


class StopStrings:
    """Says of new ids whether their text contains one of `strings`; give it to models.generation as `stop`.

    `context`: ids that the new ones continue; without any they are a text of their own, such as an answer.
    """

    def __init__(self, tokenizer: Tokenizer, strings: Sequence[str], *, context: Sequence[int] = ()):
        self.tokenizer, self.strings, self.context = tokenizer, [s for s in strings if s], list(context)
        # a string of L bytes lies in the last L tokens or fewer; the rest is for a character cut at the front
        self.window = max((len(s.encode()) for s in self.strings), default=0) + 4

    def __call__(self, ids: list[int]) -> bool:
        text = (
            self.text(ids)
            if len(ids) <= self.window
            else self.tokenizer.decode(ids[-self.window :], skip_specials=True)
        )
        return any(s in text for s in self.strings)

    def text(self, ids: Sequence[int]) -> str:
        """Text of all new ids."""
        return self.tokenizer.decode_after(self.context, ids, skip_specials=True)

    def cut(self, text: str) -> str:
        """Text before the first stop string."""
        ends = [at for s in self.strings if (at := text.find(s)) >= 0]
        return text[: min(ends, default=len(text))]

    def certain(self, text: str) -> int:
        """Characters that no later token can take back: not those that may be the beginning of a stop string."""
        held = (k for s in self.strings for k in range(1, len(s) + 1) if text.endswith(s[:k]))
        return len(text) - max(held, default=0)


def stream_text(ids: Iterable[int], stop: StopStrings, *, out: Any = None) -> str:
    """Prints the text of ids as they come, and returns it. Bytes of an unfinished character wait for the rest."""
    out = sys.stdout if out is None else out
    read: list[int] = []
    shown, text = 0, ""
    for token in ids:
        read.append(int(token))
        text = stop.cut(stop.text(read))
        certain = stop.certain(text.rstrip("\ufffd"))
        if certain > shown:
            out.write(text[shown:certain])
            out.flush()
            shown = certain
    out.write(text[shown:])
    out.flush()
    return text
