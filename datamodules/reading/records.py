"""Rows (dictionaries) out of files, folders or the Hugging Face Hub, each with the place where it stands.

Files: .jsonl, .jsonl.gz, .json (a list of objects), .parquet, .csv, .tsv. A folder: all such files in it, or one that
`datasets` saved. Anything else that looks like `org/name` is asked for at the Hub, or taken from its cache offline.
"""

from __future__ import annotations

import csv
import gzip
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from commands import run_py
from datamodules.reading.sources import what_is_near
from errors import RequestError

Row = dict[str, Any]
HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")
ENDINGS = (".jsonl", ".jsonl.gz", ".json", ".parquet", ".csv", ".tsv")


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
) -> Iterator[tuple[Row, str]]:
    """(row, where it stands) of everything that `path` names.

    Args:
        name, split, revision: of a data set on the Hub. In a folder, `split` chooses the files named after it, if any.
        columns: names of the columns of .csv and .tsv files that have no header.
        asked: for messages.

    Raises:
        RequestError: nothing is there, or it cannot be read; names the file and the line.
    """
    given = Path(path).expanduser()
    if (given / "dataset_info.json").is_file() or (given / "dataset_dict.json").is_file():
        yield from saved_rows(given, split)
    elif given.exists():
        for file in files_of(given, split, asked.key):
            yield from file_rows(file, columns)
    elif HUB_ID.fullmatch(path) and not path.lower().endswith(asked.endings):
        yield from hub_rows(path, name, split, revision, asked)
    else:
        raise RequestError(
            f"{asked.key}={path}: no such file or folder, and no name of a data set on the Hub, org/name."
            f" {what_is_near(given)}\n{asked.expected}"
        )


def files_of(given: Path, split: str, key: str) -> list[Path]:
    """A file, or those of a folder that can be read: the ones named after the split, if there are such."""
    if given.is_file():
        found = [given]
    else:
        found = sorted(file for file in given.rglob("*") if file.name.lower().endswith(ENDINGS))
        found = [f for f in found if f.name.split(".")[0].split("-")[0].split("_")[0] == split] or found
    unknown = [file for file in found if not file.name.lower().endswith(ENDINGS)]
    if unknown or not found:
        what = f"{unknown[0].name} has an unknown extension" if unknown else "this folder holds no file to read"
        raise RequestError(f"{key}={given}: {what}; expected {', '.join(ENDINGS)}.")
    return found


def file_rows(file: Path, columns: list[str] | None) -> Iterator[tuple[Row, str]]:
    name = file.name.lower()
    if name.endswith((".jsonl", ".jsonl.gz")):
        return jsonl_rows(file)
    if name.endswith(".json"):
        return json_rows(file)
    if name.endswith(".parquet"):
        return parquet_rows(file)
    return table_rows(file, "\t" if name.endswith(".tsv") else ",", columns)


def jsonl_rows(file: Path) -> Iterator[tuple[Row, str]]:
    try:
        with gzip.open(file, "rb") if file.name.endswith(".gz") else file.open("rb") as lines:
            for number, line in enumerate(lines, start=1):
                if line.strip():
                    yield checked_row(decoded(line, f"{file}, line {number:,}"), f"{file}, line {number:,}")
    except (EOFError, gzip.BadGzipFile) as error:
        raise RequestError(f"{file} is damaged or cut off: {error}.\nFetch or write it again.") from error


def json_rows(file: Path) -> Iterator[tuple[Row, str]]:
    rows = decoded(file.read_bytes(), str(file))
    if not isinstance(rows, list):
        raise RequestError(f"{file}: expected a list of objects, found {type(rows).__name__}.")
    for number, row in enumerate(rows, start=1):
        yield checked_row(row, f"{file}, object {number:,}")


def decoded(data: bytes, where: str) -> Any:
    try:
        return json.loads(data.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise RequestError(f"{where} is not UTF-8: byte 0x{error.object[error.start]:02x} in it.") from None
    except ValueError as error:
        raise RequestError(f"{where}: not JSON ({error}).\nExpected one JSON object a line.") from None


def checked_row(row: Any, where: str) -> tuple[Row, str]:
    if not isinstance(row, dict):
        raise RequestError(f"{where}: expected a JSON object, found {type(row).__name__}.")
    return row, where


def parquet_rows(file: Path) -> Iterator[tuple[Row, str]]:
    import pyarrow as pa  # slow to import, and only this format needs it
    import pyarrow.parquet as pq

    number = 0
    try:
        with pq.ParquetFile(file) as table:
            for batch in table.iter_batches(batch_size=1024):
                for row in batch.to_pylist():
                    number += 1
                    yield row, f"{file}, row {number:,}"
    except (pa.ArrowException, OSError) as error:
        raise RequestError(f"{file} is damaged, cut off or no Parquet file: {str(error).splitlines()[0]}") from error


def table_rows(file: Path, separator: str, columns: list[str] | None) -> Iterator[tuple[Row, str]]:
    """Without a header the columns must be named. Quotes mean nothing in a .tsv, where no field holds a tab."""
    quoting: Any = csv.QUOTE_NONE if separator == "\t" else csv.QUOTE_MINIMAL
    with file.open(encoding="utf-8", newline="") as lines:
        try:
            for number, row in enumerate(csv.DictReader(lines, columns, delimiter=separator, quoting=quoting), start=1):
                yield row, f"{file}, row {number:,}"
        except UnicodeDecodeError as error:
            raise RequestError(f"{file} is not UTF-8: {error}.") from None
        except csv.Error as error:
            raise RequestError(f"{file}: {error}.") from None


def saved_rows(folder: Path, split: str) -> Iterator[tuple[Row, str]]:
    """A folder that `Dataset.save_to_disk` wrote."""
    from datasets import DatasetDict, load_from_disk

    data = load_from_disk(str(folder))
    if isinstance(data, DatasetDict):
        if split not in data:
            raise RequestError(f"data.path={folder} has no split {split!r}; there are {', '.join(data)}.")
        data = data[split]
    for number, row in enumerate(data, start=1):
        yield dict(row), f"{folder}, row {number:,}"


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
