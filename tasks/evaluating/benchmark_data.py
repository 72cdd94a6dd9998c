"""Where a benchmark's rows come from, and what to say where they are missing."""

from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from datamodules.reading.readers import lines_of, text_pieces
from datamodules.reading.records import ENDINGS, Asked, read_rows
from errors import RequestError
from evaluation.benchmarks.base import Benchmark, Row
from evaluation.benchmarks.texts import Texts


def rows_of(benchmark: Benchmark | Texts, split: str, limit: int | None) -> list[tuple[Row, str]]:
    """The first `limit` rows, each with the place where it stands.

    Raises:
        RequestError: they are missing: what to fetch, where to put it; or there are none.
    """
    try:
        rows = list(islice(read(benchmark, split), limit))
    except RequestError as error:
        raise RequestError(f"{error}{where_from(benchmark, split)}") from None
    if not rows:
        raise RequestError(f"benchmark.path={benchmark.path}: no row in split {split}.")
    return rows


def read(benchmark: Benchmark | Texts, split: str) -> Iterator[tuple[Row, str]]:
    file = Path(benchmark.path).expanduser()
    if isinstance(benchmark, Texts) and file.suffix == ".txt" and file.is_file():
        return text_rows(benchmark, file)
    endings = (".txt", *ENDINGS) if isinstance(benchmark, Texts) else ENDINGS
    return read_rows(
        benchmark.path, name=benchmark.name, split=split, revision=benchmark.revision, columns=benchmark.columns,
        asked=Asked("benchmark.path", "task=evaluate benchmark=arithmetic init_from=RUN", endings),
    )  # fmt: skip


def text_rows(benchmark: Texts, file: Path) -> Iterator[tuple[Row, str]]:
    """A .txt file as rows. Raises RequestError where it is not UTF-8."""
    (column,) = benchmark.needs
    try:
        texts = lines_of(text_pieces(file)) if benchmark.by_line else ["".join(text_pieces(file))]
        for number, text in enumerate(texts, start=1):
            yield {column: text}, f"{file}, row {number:,}"
    except RequestError as error:
        raise RequestError(str(error).replace("data.path", "benchmark.path")) from None


def where_from(benchmark: Benchmark | Texts, split: str) -> str:
    """What to download and where to put it, for a benchmark that is named as on the Hub."""
    if benchmark.path.count("/") != 1 or benchmark.path.startswith((".", "/", "~")):
        return ""
    part = f"configuration {benchmark.name}, split {split}" if benchmark.name else f"split {split}"
    files = [f"{name}.parquet" for name in (split, getattr(benchmark, "shots_split", None)) if name]
    several = f";\na folder may hold several splits: {', '.join(files)}" if len(files) > 1 else ""
    return (
        f"\nIt is https://huggingface.co/datasets/{benchmark.path} ({part}), as .parquet, .jsonl or .csv with the "
        f"columns {', '.join(benchmark.needs)}{several}."
    )
