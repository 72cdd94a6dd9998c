"""Where rows of conversations or pairs come from, of both sides: the keys of all data that is read row by row."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice
from typing import Annotated, Any, TypeVar

from bounds import OpenShare, at_least
from datamodules.reading.ignored import Ignored
from datamodules.reading.records import Asked, Row, read_rows

Item = TypeVar("Item")


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
        self._ignored = {"train": Ignored(), "val": Ignored()}

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

    @property
    def ignored(self) -> dict[str, int]:
        """Of both sides; where both come out of the same rows, these are counted once."""
        train, val = self._ignored.values()
        return dict(train + val if self.has_validation else train | val)

    def read(
        self, side: str, convert: Callable[[Iterator[tuple[Row, str]], Ignored], Iterator[Item]]
    ) -> Iterator[Item]:
        """What `convert(rows, ignored)` makes of the rows of a side; what it counts in `ignored` is kept."""
        return self._ignored[side].walk(lambda ignored: convert(self.rows(side, ignored), ignored))

    def rows(self, side: str, ignored: Ignored | None = None) -> Iterator[tuple[Row, str]]:
        """(row, where it stands) of a side, `max_rows` at most."""
        ignored = Ignored() if ignored is None else ignored
        key, path, split = self.place(side)
        found = read_rows(
            path, name=self.name, split=split, revision=self.revision, columns=self.columns,
            asked=Asked(key, self.without_file), ignored=ignored,
        )  # fmt: skip
        return islice(found, self.max_rows)
