"""`data=pydoc`: English and Python that ship inside every Python: the language reference and the docstrings.

The topics of `pydoc_data` are sections of the language reference, a document each; those that another one repeats (the
topic `while` lies within `compound`) are left out, or validation would be seen in training. Then the docstrings of each
module of the standard library, a document a module. About 1.4 MB, read in 0.1 s, the same for the same Python.
"""

from __future__ import annotations

import hashlib
import inspect
import re
import sysconfig
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from pydoc_data.topics import topics
from typing import Any, Literal

from bounds import OpenShare
from datamodules.kinds.prepared import PreparedDataModule
from datamodules.reading.ignored import Ignored
from datamodules.reading.readers import Document
from tokenization.base import utf8

STRING = re.compile(r'[rR]?"""(.*?)"""', re.DOTALL)
MIN_DOCSTRINGS_CHARS = 500  # modules with less have nothing to tell


class PydocDataModule(PreparedDataModule):
    provides = ("tokens",)

    def __init__(
        self, *, part: Literal["all", "reference", "docstrings"] = "all", val_fraction: OpenShare = 0.05, **shared: Any
    ):
        super().__init__(val_fraction=val_fraction, **shared)
        self.part = part

    def _sides(self) -> tuple[PydocSource, None]:
        return PydocSource(self.part), None


class PydocSource:
    """The embedded corpus as a source of documents."""

    name = "pydoc"
    ignored = Ignored()

    def __init__(self, part: str = "all"):
        self.part = part

    @property
    def _texts(self) -> list[str]:
        return texts(self.part)

    @property
    def n_bytes(self) -> int:
        return sum(len(utf8(text)) for text in self._texts)

    def documents(self) -> Iterator[Document]:
        return ((text,) for text in self._texts)

    def fingerprint(self) -> str:
        return hashlib.sha256("\0".join(self._texts).encode("utf-8", "replace")).hexdigest()


@lru_cache(maxsize=3)
def texts(part: str) -> list[str]:
    """The documents of a part, read once in a process: each job of a sweep asks for them."""
    modules = sorted(Path(sysconfig.get_path("stdlib")).glob("*.py"))
    docs = (docstrings(path.read_text(encoding="utf-8", errors="replace")) for path in modules)
    reference = own_topics(topics) if part != "docstrings" else []
    if part == "reference":
        return reference
    return reference + [text for text in docs if len(text) >= MIN_DOCSTRINGS_CHARS]


def own_topics(topics: dict[str, str]) -> list[str]:
    """The texts of the topics, longest first, without those half of whose paragraphs were in a longer one."""
    kept: list[str] = []
    seen: set[str] = set()
    for _, text in sorted(topics.items(), key=lambda item: (-len(item[1]), item[0])):
        paragraphs = [" ".join(part.split()) for part in text.split("\n\n")]
        if sum(p in seen for p in paragraphs) < len(paragraphs) / 2:
            kept.append(text.strip() + "\n")
        seen.update(paragraphs)
    return kept


def docstrings(source: str) -> str:
    """The docstrings in a module's source, one after the other."""
    return "\n\n".join(each_docstring(source)) + "\n"


def each_docstring(source: str) -> Iterator[str]:
    """Found by a pattern, a hundred times as fast as by parsing: a triple-quoted string that opens the file or follows
    a colon at the end of a line.
    """
    first = True
    for match in STRING.finditer(source):
        before = source[max(0, match.start() - 80) : match.start()].rstrip()
        if before.endswith(":") or (first and is_preamble(source[: match.start()])):
            first = False
            if text := inspect.cleandoc(match[1]):
                yield text


def is_preamble(text: str) -> bool:
    return all(not line.strip() or line.lstrip().startswith("#") for line in text.split("\n"))
