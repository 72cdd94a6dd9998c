"""Where rows of conversations or pairs come from, of both sides: the keys of all data that is read row by row."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Annotated, Any

from bounds import OpenShare, at_least
from datamodules.reading.records import Asked, Row, read_rows


class RowFiles:
    """Beside a data module: rows of a file, a folder or a data set on the Hub; validation given, or split off."""

    columns: list[str] | None = None  # of files without a header
    without_file: str  # a command that needs no file, for messages

    def __init__(
        self,
        *,
        path: str,
        name: str | None = None,
        split: str = "train",
        revision: str | None = None,
        val_path: str | None = None,
        val_split: str | None = None,
        val_fraction: OpenShare = 0.1,
        max_rows: Annotated[int, at_least(2)] | None = None,
        **shared: Any,
    ):
        super().__init__(**shared)
        self.path, self.name, self.split, self.revision = path, name, split, revision
        self.val_path, self.val_split, self.val_fraction, self.max_rows = val_path, val_split, val_fraction, max_rows

    @property
    def has_validation(self) -> bool:
        """Whether validation is given; else `val_fraction` of the rows is split off."""
        return self.val_path is not None or self.val_split is not None

    def place(self, side: str) -> tuple[str, str, str]:
        """Config key, path and split of "train" or "val"."""
        if side == "train" or not self.has_validation:
            return "data.path", self.path, self.split
        if self.val_path is None:
            return "data.path", self.path, self.val_split or self.split
        return "data.val_path", self.val_path, self.val_split or self.split

    def rows(self, side: str) -> Iterator[tuple[Row, str]]:
        """(row, where it stands) of a side, `max_rows` at most."""
        key, path, split = self.place(side)
        found = read_rows(
            path, name=self.name, split=split, revision=self.revision, columns=self.columns,
            asked=Asked(key, self.without_file),
        )  # fmt: skip
        return islice(found, self.max_rows)
