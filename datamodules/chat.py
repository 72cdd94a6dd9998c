"""`data=chat` and its relatives: conversations of your own, or of a data set with a known format."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from datamodules.batching.examples import Conversation, Examples
from datamodules.kinds.conversations import ConversationDataModule, share_of
from datamodules.reading.formats import Format, format_of, to_conversation
from datamodules.reading.ignored import Ignored
from datamodules.reading.json_rows import json_value
from datamodules.reading.records import Row
from datamodules.reading.row_files import RowFiles
from errors import RequestError
from tokenization.chat import check_messages

PID_SPLITS = {"train": "train", "validation": "val", "val": "val", "test": "test"}


class ChatDataModule(RowFiles, ConversationDataModule):
    without_file = "objective=sft data=arithmetic"

    def __init__(
        self,
        *,
        format: Literal[
            "auto",
            "messages",
            "sharegpt",
            "prompt_completion",
            "prompt_answer",
            "alpaca",
            "gsm8k",
            "scienceqa",
            "sst2",
            "samsum",
        ] = "auto",
        columns: list[str] | None = None,
        answers: Literal["number", "letter", "text", "summary"] | None = None,
        truncate: Literal["end", "start", "drop", "source"] = "end",
        **shared: Any,
    ):
        super().__init__(**shared)
        self.format, self.columns, self.answers, self.truncate = format, columns, answers, truncate
        self._taken_for: Counter[str] = Counter()  # rows of both sides by their format

    def _load(self) -> tuple[Examples, Examples]:
        return self._stored(*self._split())

    @property
    def ignored(self) -> dict[str, int]:
        return super().ignored | self.not_rendered

    def facts(self) -> dict[str, str]:
        read = ", ".join(f"{n:,} rows as {said}" for said, n in self._taken_for.items())
        return {"read": read} | super().facts()

    def _split(self) -> tuple[list[Conversation], list[Conversation]]:
        """Training and validation: as given, else by a hash of what is asked, so that no question is on both sides."""
        rows = list(self._conversations("train"))
        if self.has_validation:
            return rows, list(self._conversations("val"))
        sides: tuple[list[Conversation], list[Conversation]] = ([], [])
        for conversation in rows:
            sides[share_of(conversation) < self.val_fraction].append(conversation)
        if not (sides[0] and sides[1]) and len(rows) > 1:  # few rows, all on one side by chance
            rows.sort(key=share_of)
            sides = (rows[1:], rows[:1])
        if not sides[1]:
            raise RequestError(f"data.path={self.path}: {len(rows)} conversation(s); at least 2 are needed.")
        return sides

    def _conversations(self, side: str) -> Iterator[Conversation]:
        return self.read(side, lambda rows, ignored: self._converted(side, rows, ignored))

    def _converted(self, side: str, rows: Iterator[tuple[Row, str]], ignored: Ignored) -> Iterator[Conversation]:
        _, path, split = self.place(side)
        for row, where in self._pid_rows(Path(path).expanduser(), split) or rows:
            form = self._format(row, where)
            messages, tools = to_conversation(row, form, where)
            try:
                check_messages(messages, complete=True)
            except RequestError as error:
                raise RequestError(f"{where}: {error}") from None
            self._taken_for[form.said] += 1
            ignored.beside((*form.needs, *form.reads), row)
            yield Conversation(messages, where, tools)

    def _format(self, row: Row, where: str) -> Format:
        return format_of(row, self.format, where)

    def _pid_rows(self, folder: Path, split: str) -> Iterator[tuple[Row, str]] | None:
        """ScienceQA as its authors publish it: problems.json by pid, and pid_splits.json with the pids of a split."""
        problems, splits = folder / "problems.json", folder / "pid_splits.json"
        if self.format != "scienceqa" or not (problems.is_file() and splits.is_file()):
            return None
        pids = json_value(splits)
        side = split if split in pids else PID_SPLITS.get(split, split)
        if side not in pids:
            raise RequestError(f"{splits} has no split {split!r}; there are {', '.join(pids)}.")
        rows = json_value(problems)
        missing = [pid for pid in pids[side] if str(pid) not in rows]
        if missing:
            raise RequestError(
                f"{splits}: {len(missing)} pids of {side!r} are not in problems.json, first {missing[0]}."
            )
        return ((rows[str(pid)], f"{problems}, pid {pid}") for pid in pids[side][: self.max_rows])
