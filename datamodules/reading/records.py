"""Rows (dictionaries) out of files, folders or the Hugging Face Hub, each with the place where it stands.

Files: .jsonl, .ndjson, .json (a list, an object, or lines), .csv, .tsv, all these also as .gz and .zst; .parquet and
.arrow. A folder: all such files in it, or one that `datasets` saved. Anything else that looks like `org/name` is asked
for at the Hub, or taken from its cache offline.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from commands import run_py
from datamodules.reading.arrow_rows import all_columns, arrow_rows
from datamodules.reading.files import COMPRESSED, kind_of
from datamodules.reading.ignored import Ignored
from datamodules.reading.json_rows import json_lines, json_rows
from datamodules.reading.sources import files_in, plain_file, what_is_near
from datamodules.reading.tables import table_cells
from errors import RequestError
from strict_json import object_in

Row = dict[str, Any]
HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")
TABLES, ARROW = (".csv", ".tsv"), (".parquet", ".arrow")
SPLITS = "dataset_dict.json"  # of a folder that `datasets` saved, where it has several splits
ENDINGS = (".jsonl", ".ndjson", ".json", *TABLES, *ARROW)


class Asked(NamedTuple):
    """For messages: the config key that gave a path, a command that needs no file, the kinds of files."""

    key: str
    without_file: str
    endings: tuple[str, ...] = ENDINGS

    @property
    def expected(self) -> str:
        """What can be read, and what to type."""
        return (
            f"Expected a file ({', '.join(self.endings)}), a folder of them, or a data set on the Hub.\n"
            f"Type {self.key}=<one of these>; what needs no file: {run_py(*self.without_file.split())}"
        )


def read_rows(
    path: str,
    *,
    name: str | None,
    split: str,
    revision: str | None,
    columns: list[str] | None,
    asked: Asked,
    split_asked: str | None = None,
    ignored: Ignored | None = None,
) -> Iterator[tuple[Row, str]]:
    """(row, where it stands) of everything that `path` names.

    Args:
        name, split, revision: of a data set on the Hub. In a folder, `split` chooses the files named after it, if any.
        columns: names of the columns of .csv and .tsv files that have no header.
        asked: for messages.
        split_asked: what was typed for the split, which a folder must have then; None: nothing was.
        ignored: counts what is passed over, by name.

    Raises:
        RequestError: nothing is there, or it cannot be read; names the file and the line.
    """
    given = Path(path).expanduser()
    if is_saved(given):
        yield from saved_rows(given, split, asked.key)
    elif given.exists():
        ignored = Ignored() if ignored is None else ignored
        for file in files_of(given, split, asked.key, ignored, split_asked):
            rows = file_rows(file, columns, ignored)
            first = next(rows, None)
            if first is None:
                ignored.file("without rows")
            else:
                yield first
                yield from rows
    elif HUB_ID.fullmatch(path) and kind_of(given) not in asked.endings:
        yield from hub_rows(path, name, split, revision, asked)
    else:
        raise RequestError(
            f"{asked.key}={path}: no such file or folder, and no name of a data set on the Hub, org/name."
            f" {what_is_near(given)}\n{asked.expected}"
        )


def files_of(given: Path, split: str, key: str, ignored: Ignored, split_asked: str | None = None) -> list[Path]:
    """A file, or those of a folder that can be read: the ones named after the split, if there are such.

    Raises:
        RequestError: there is nothing to read, or none is named after a split that was asked for.
    """
    if given.is_dir():
        found = files_in(given, has_rows, ignored)
        of_split = [file for file in found if is_named_after(split, file)]
        if split_asked and found and not of_split:
            there = ", ".join(str(file.relative_to(given)) for file in found[:8]) + (", ..." if len(found) > 8 else "")
            raise RequestError(
                f"{split_asked}: no file of {key}={given} is named after it; there are {there}.\n"
                f"Name one {split}{found[0].suffix}, or name files: data.path=... data.val_path=... data.val_split=null"
            )
        for _ in range(len(found) - len(of_split) if of_split else 0):
            ignored.file(f"of another split than {split}")
        found = of_split or found
    else:
        found = [plain_file(given, key)]
    unknown = [file for file in found if not has_rows(file)]
    if unknown or not found:
        what = f"{unknown[0].name} has an unknown extension" if unknown else "this folder holds no file to read"
        raise RequestError(
            f"{key}={given}: {what}; expected {', '.join(ENDINGS)} (all but the last two also .gz, .zst)."
        )
    return found


def is_named_after(split: str, file: Path) -> bool:
    """train.jsonl, train-00000-of-00002.parquet, train_1.csv."""
    return re.match(rf"{re.escape(split)}[._-]", file.name) is not None


def has_rows(file: Path) -> bool:
    """Whether its ending is one that is read."""
    kind = kind_of(file)
    return kind in ENDINGS and not (kind in ARROW and file.suffix.lower() in COMPRESSED)


def file_rows(file: Path, columns: list[str] | None, ignored: Ignored) -> Iterator[tuple[Row, str]]:
    kind = kind_of(file)
    if kind in TABLES:
        return table_rows(file, columns)
    if kind in ARROW:
        return arrow_records(file)
    return json_records(file, ignored)


def json_records(file: Path, ignored: Ignored) -> Iterator[tuple[Row, str]]:
    lines = kind_of(file) != ".json"
    entry = "line" if lines else "entry"
    for number, row in json_lines(file, ignored) if lines else json_rows(file, ignored):
        where = f"{file}, {entry} {number:,}"
        if not isinstance(row, dict):
            raise RequestError(f"{where}: expected a JSON object, found {type(row).__name__}.")
        yield row, where


def arrow_records(file: Path) -> Iterator[tuple[Row, str]]:
    names: list[str] = []

    def choose(schema: Any) -> list[str]:
        names.extend(all_columns(file, schema))
        return names

    for number, values in arrow_rows(file, choose):
        yield dict(zip(names, values, strict=True)), f"{file}, row {number:,}"


def table_rows(file: Path, columns: list[str] | None) -> Iterator[tuple[Row, str]]:
    """Without a header the columns must be named."""
    rows = table_cells(file, columns)
    _, names = next(rows)
    for number, cells in rows:
        yield dict(zip(names, cells, strict=True)), f"{file}, row {number:,}"


def is_saved(folder: Path) -> bool:
    """Whether `datasets` wrote it."""
    return (folder / "dataset_info.json").is_file() or (folder / SPLITS).is_file()


def saved_rows(folder: Path, split: str, key: str) -> Iterator[tuple[Row, str]]:
    """A folder that `Dataset.save_to_disk` wrote, or one with a folder for each split; its files as any other Arrow,
    each batch checked: `datasets` maps them into memory as they are.

    Raises:
        RequestError: there is no such split, or what describes the folder is damaged.
    """
    try:
        if (folder / SPLITS).is_file():
            splits = object_in(folder / SPLITS)["splits"]
            if split not in splits:
                raise RequestError(f"{key}={folder} has no split {split!r}; there are {', '.join(map(str, splits))}.")
            folder /= split
        files = [folder / Path(file["filename"]).name for file in object_in(folder / "state.json")["_data_files"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RequestError(
            f"{key}={folder} is damaged: not as Dataset.save_to_disk writes it ({error!r:.200})."
        ) from None
    for file in files:
        if not file.is_file():
            raise RequestError(f"{key}={folder} is damaged: {file.name} is missing, or no plain file.")
        yield from arrow_records(file)


def hub_rows(path: str, name: str | None, split: str, revision: str | None, asked: Asked) -> Iterator[tuple[Row, str]]:
    """A data set of the Hub. Raises RequestError if it is unknown, gated, or not here and there is no network."""
    from datasets import load_dataset

    try:
        data = load_dataset(path, name, split=split, revision=revision)
    except Exception as error:  # the libraries below raise a dozen kinds
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise RequestError(
            f"{asked.key}={path}: neither a file here nor to be had from the Hugging Face Hub: {reason}\n"
            f"Without network, fetch it once elsewhere. {asked.expected}"
        ) from error
    for number, row in enumerate(data, start=1):
        yield dict(row), f"{path} {split}, row {number:,}"
