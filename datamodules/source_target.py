"""`data=source_target`: two columns of any table, what is read and what is to be written.

What else data=chat knows may stand beside them: system, history, tools, thoughts. Other columns are counted.
"""

from __future__ import annotations

from typing import Any

from bounds import Text
from datamodules.chat import ChatDataModule
from datamodules.reading.formats import HISTORY, SYSTEM, THOUGHTS, TOOLS, Format, Row, prompt_completion
from errors import RequestError
from tokenization.chat import Message

BESIDE = TOOLS | SYSTEM | HISTORY | THOUGHTS


class SourceTargetDataModule(ChatDataModule):
    """Args: source, target: names of the columns. prefix: text before each source, such as "summarize: "."""

    def __init__(self, *, source: str, target: str, prefix: Text = "", **shared: Any):
        super().__init__(format="auto", **shared)
        self.source, self.target, self.prefix = source, target, prefix
        reads = {name: field for name, field in BESIDE.items() if name not in (source, target)}
        self._form = Format((source, target), reads, f"{source} and {target}", self._messages)

    def _format(self, row: Row, where: str) -> Format:
        """Raises RequestError where a column that was named holds no text."""
        for key, column in (("source", self.source), ("target", self.target)):
            if not isinstance(row.get(column), str) or not row[column].strip():
                there = ", ".join(map(repr, row)) or "none"
                raise RequestError(
                    f"{where}: data.{key}={column} names no text there; the columns are {there}.\n"
                    f"Type data.{key}=<one of them>."
                )
        return self._form

    def _messages(self, row: Row) -> list[Message]:
        beside = {name: row.get(name) for name in self._form.reads}
        return prompt_completion(
            beside | {"prompt": f"{self.prefix}{row[self.source]}", "completion": row[self.target]}
        )
