"""`data=docstring_summaries`: what a docstring explains, and its first line: summaries that ship inside every Python.

Of each docstring of the standard library whose first paragraph is one line, the rest is what is read and that line what
is to be written. Equal texts are kept once. About 2,500 pairs of 350 and 45 characters, the same for the same Python.
"""

from __future__ import annotations

import sys
import sysconfig
from collections.abc import Iterable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from bounds import OpenShare
from datamodules.batching.examples import Conversation, Examples
from datamodules.kinds.conversations import ConversationDataModule, share_of
from datamodules.pydoc import each_docstring
from datamodules.reading.formats import dialogue

LONGEST_LINE = 120  # characters: longer ones are no summaries
TESTS = {"test", "tests", "idle_test"}


class DocstringSummariesDataModule(ConversationDataModule):
    answers = "summary"

    def __init__(
        self,
        *,
        val_fraction: OpenShare = 0.06,
        truncate: Literal["end", "start", "drop", "source"] = "source",
        **shared: Any,
    ):
        super().__init__(**shared)
        self.val_fraction, self.truncate = val_fraction, truncate

    def _load(self) -> tuple[Examples, Examples]:
        """Sides by a hash of what is read."""
        sides: tuple[list[Conversation], list[Conversation]] = ([], [])
        for line, body in pairs_of_the_library():
            conversation = Conversation(dialogue(body, line))
            sides[share_of(conversation) < self.val_fraction].append(conversation)
        return self._stored(*sides)


@lru_cache(maxsize=1)
def pairs_of_the_library() -> tuple[tuple[str, str], ...]:
    """First line and the rest of each docstring; read once in a process."""
    folder = Path(sysconfig.get_path("stdlib"))
    parts = ((path, path.relative_to(folder).parts) for path in sorted(folder.rglob("*.py")))
    own = (path for path, (top, *rest) in parts if Path(top).stem in sys.stdlib_module_names and not TESTS & set(rest))
    texts = (path.read_text(encoding="utf-8", errors="replace") for path in own)
    return tuple(pairs(doc for text in texts for doc in each_docstring(text)))


def pairs(docstrings: Iterable[str]) -> Iterator[tuple[str, str]]:
    """(first line, the rest) of those docstrings that have both; of equal rests the first."""
    seen: set[str] = set()
    for doc in docstrings:
        line, _, body = (part.strip() for part in doc.partition("\n\n"))
        if line and body and "\n" not in line and len(line) <= LONGEST_LINE and body not in seen:
            seen.add(body)
            yield line, body
