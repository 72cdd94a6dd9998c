"""Where rows of conversations or pairs come from, of both sides: the keys of all data that is read row by row."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Annotated, Any, TypeVar

from bounds import OpenShare, at_least
from datamodules.reading.files import kind_of
from datamodules.reading.ignored import Ignored
from datamodules.reading.records import SPLITS, TABLES, Asked, Row, is_named_after, is_saved, read_rows
from errors import RequestError

Item = TypeVar("Item")


class RowFiles:
    """Beside a data module: rows of a file, a folder or a data set on the Hub; validation given, or split off."""

    columns: list[str] | None = None  # of files without a header
    without_file: str  # a command that needs no file, for messages
    usual_val_fraction = 0.1

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

    def _split_asked(self, side: str) -> str | None:
        """What was typed for a side's split; nothing for the default one, which a folder need not have.

        Two splits of one path must both be there: without files of one, all would be read for it.
        """
        own = None if self.split == "train" else f"data.split={self.split}"
        if self.val_split is None:
            return own
        if side == "val":
            return f"data.val_split={self.val_split}"
        return own if self.val_path else f"data.split={self.split} beside data.val_split={self.val_split}"

    def _refuse_same_rows(self) -> None:
        """Raises RequestError where `val_split` names what trains: all of a whole without splits, or the same split."""
        if self.val_split is None or self.val_path is not None:
            return
        if self.val_split == self.split:
            raise RequestError(
                f"data.val_split={self.val_split} is data.split too: it validates on what it trains on.\n"
                "Type data.val_split=<another split>, or data.val_split=null for a share of this one."
            )
        place = Path(self.path).expanduser()
        for one, other in ((self.val_split, self.split), (self.split, self.val_split)):
            if place.is_dir() and not is_saved(place) and is_named_after(other, Path(f"{one}.")):
                raise RequestError(
                    f"data.val_split={self.val_split} beside data.split={self.split}: files named {one}... are of "
                    f"{other} too, so the same rows would train and validate.\n"
                    "Name the files: data.path=... data.val_path=... data.val_split=null"
                )
        if is_one(place):
            raise RequestError(
                f"data.val_split={self.val_split}: data.path={self.path} is one whole, without splits: all its rows "
                f"train.\nType data.val_split=null, which leaves data.val_fraction={self.val_fraction:g} of them to "
                "validation; or data.val_path=<another file> beside it."
            )

    @property
    def ignored(self) -> dict[str, int]:
        """Of both sides; where both come out of the same rows, these are counted once."""
        train, val = self._ignored.values()
        return dict(train + val if self.has_validation else train | val)

    def read(
        self, side: str, convert: Callable[[Iterator[tuple[Row, str]], Ignored], Iterator[Item]]
    ) -> Iterator[Item]:
        """What `convert(rows, ignored)` makes of the rows of a side; what it counts in `ignored` is kept."""
        self._ignored[side] |= Ignored(dict.fromkeys(self._means_nothing(side), 1))
        return self._ignored[side].walk(lambda ignored: convert(self.rows(side, ignored), ignored))

    def _means_nothing(self, side: str) -> Iterator[str]:
        """What was typed of a side's place that means nothing there, in words."""
        key, path, split = self.place(side)
        place, own = Path(path).expanduser(), key == "data.path"
        if side == "val" and own:
            return  # the same place
        if own and self.has_validation and self.val_fraction != self.usual_val_fraction:
            yield f"data.val_fraction={self.val_fraction:g}, as validation is given"
        if place.exists():
            for name in ("name", "revision"):
                if (value := getattr(self, name)) is not None:
                    yield f"data.{name}={value}, as {key} is no id on the Hub"
        typed = f"data.split={split}" if own or self.val_split is None else f"data.val_split={split}"
        if split != "train" and is_one(place) and not is_named_after(split, place):
            yield f"{typed}, as {key} has no splits"
        if self.columns is not None and not holds_tables(place):
            yield f"data.columns, as {key} names no .csv or .tsv"

    def rows(self, side: str, ignored: Ignored | None = None) -> Iterator[tuple[Row, str]]:
        """(row, where it stands) of a side, `max_rows` at most. Raises RequestError for a split that is not there."""
        self._refuse_same_rows()
        ignored = Ignored() if ignored is None else ignored
        key, path, split = self.place(side)
        found = read_rows(
            path, name=self.name, split=split, revision=self.revision, columns=self.columns,
            asked=Asked(key, self.without_file), split_asked=self._split_asked(side), ignored=ignored,
        )  # fmt: skip
        return islice(found, self.max_rows)


def is_one(path: Path) -> bool:
    """Whether rows come out of one file, or one data set that `datasets` saved: neither has splits."""
    return path.is_file() or (is_saved(path) and not (path / SPLITS).is_file())


def holds_tables(path: Path) -> bool:
    """Whether a file, or one of a folder, is a table whose columns may have to be named."""
    return any(kind_of(file) in TABLES for file in ([path] if path.is_file() else path.rglob("*")))
