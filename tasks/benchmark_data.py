"""Where a benchmark's rows come from, and what to say where they are missing."""

from itertools import islice

from datamodules.records import ENDINGS, Asked, read_rows
from errors import RequestError
from evaluation.benchmarks.base import Benchmark, Row
from evaluation.benchmarks.texts import Texts


def rows_of(benchmark: Benchmark | Texts, split: str, limit: int | None) -> list[tuple[Row, str]]:
    """The first `limit` rows, each with the place where it stands.

    Raises:
        RequestError: they are missing: what to fetch, where to put it; or there are none.
    """
    endings = (".txt", *ENDINGS) if isinstance(benchmark, Texts) else ENDINGS
    found = read_rows(
        benchmark.path, name=benchmark.name, split=split, revision=benchmark.revision, columns=benchmark.columns,
        asked=Asked("benchmark.path", "task=evaluate benchmark=arithmetic init_from=RUN", endings),
    )  # fmt: skip
    try:
        rows = list(islice(found, limit))
    except RequestError as error:
        raise RequestError(f"{error}{where_from(benchmark, split)}") from None
    if not rows:
        raise RequestError(f"benchmark.path={benchmark.path}: no row in split {split}.")
    return rows


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
