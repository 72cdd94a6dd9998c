"""`data=source_target`: two columns of any table, what is read and what is to be written."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from bounds import Text
from datamodules.batching.examples import Conversation
from datamodules.chat import ChatDataModule
from datamodules.reading.formats import dialogue
from errors import RequestError


class SourceTargetDataModule(ChatDataModule):
    """Args: source, target: names of the columns. prefix: text before each source, such as "summarize: "."""

    def __init__(self, *, source: str, target: str, prefix: Text = "", **shared: Any):
        super().__init__(format="auto", **shared)
        self.source, self.target, self.prefix = source, target, prefix

    def _conversations(self, side: str) -> Iterator[Conversation]:
        for row, where in self.rows(side):
            for key, column in (("source", self.source), ("target", self.target)):
                if not isinstance(row.get(column), str) or not row[column].strip():
                    there = ", ".join(map(repr, row)) or "none"
                    raise RequestError(
                        f"{where}: data.{key}={column} names no text there; the columns are {there}.\n"
                        f"Type data.{key}=<one of them>."
                    )
            yield Conversation(dialogue(f"{self.prefix}{row[self.source]}", row[self.target]), where)
