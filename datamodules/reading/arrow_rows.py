"""Parquet and Arrow. The one reader: each batch is checked whole before anything is taken from it.

Without that check a file with wrong offsets ends the process (SIGSEGV), and text that is not UTF-8 is found too late.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from datamodules.reading.files import kind_of
from errors import RequestError

AT_ONCE = 1024  # rows


def arrow_rows(path: Path, choose: Callable[[Any], list[str]]) -> Iterator[tuple[int, list[Any]]]:
    """(row's number from 1, values of the chosen columns) of a .parquet or .arrow file.

    Args:
        choose: the names of the columns, given the Arrow schema.

    Raises:
        RequestError: it is damaged, and where: names the row that holds no valid text.
    """
    import pyarrow as pa  # slow to import, and only these formats need it

    what, number = "Parquet" if kind_of(path) == ".parquet" else "Arrow", 0
    try:
        with path.open("rb") as file:
            for batch in _parquet(file, choose) if what == "Parquet" else _ipc(file, choose):
                check_batch(path, batch, number)
                columns = [column.to_pylist() for column in batch.columns]
                for values in zip(*columns, strict=True) if columns else [()] * batch.num_rows:
                    number += 1
                    yield number, list(values)
    except (pa.ArrowException, OSError, ValueError, OverflowError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise RequestError(
            f"{path} is damaged, cut off or no {what} file: {reason}\nFetch or write it again."
        ) from error


def _parquet(file: Any, choose: Callable[[Any], list[str]]) -> Iterator[Any]:
    import pyarrow.parquet as pq

    with pq.ParquetFile(file) as table:
        names = choose(table.schema_arrow)
        for batch in table.iter_batches(AT_ONCE, columns=names):
            yield batch.select(names)


def _ipc(file: Any, choose: Callable[[Any], list[str]]) -> Iterator[Any]:
    import pyarrow as pa

    is_file = file.read(6) == b"ARROW1"
    file.seek(0)
    reader = pa.ipc.open_file(file) if is_file else pa.ipc.open_stream(file)
    names = choose(reader.schema)
    for batch in (reader.get_batch(i) for i in range(reader.num_record_batches)) if is_file else reader:
        yield batch.select(names)


def check_batch(path: Path, batch: Any, before: int) -> None:
    """Raises RequestError for a batch whose offsets or texts are not valid. `before`: rows in earlier ones."""
    import pyarrow as pa

    try:
        batch.validate(full=True)
    except pa.ArrowException as error:
        place = f"{path}, row {first_invalid(batch) + before:,}"
        raise RequestError(f"{place}: {str(error).splitlines()[0]}\nFetch or write it again.") from None


def first_invalid(batch: Any) -> int:
    """The number, from 1, of the first row that is not valid by itself."""
    import pyarrow as pa

    for i in range(batch.num_rows):
        try:
            batch.slice(i, 1).validate(full=True)
        except pa.ArrowException:
            return i + 1
    return 1


def all_columns(path: Path, schema: Any) -> list[str]:
    """All names of a schema. Raises RequestError for a name that two columns have."""
    twice = sorted({name for name in schema.names if schema.names.count(name) > 1})
    if twice:
        raise RequestError(f"{path}: {', '.join(map(repr, twice))} names more than one column.\nGive each its own.")
    return list(schema.names)
