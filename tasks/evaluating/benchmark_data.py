"""Where a benchmark's rows come from, and what to say where they are missing."""

import re
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

from datamodules.reading.ignored import Ignored, in_words
from datamodules.reading.readers import lines_of, text_pieces
from datamodules.reading.records import ENDINGS, Asked, read_rows
from errors import RequestError
from evaluation.benchmarks.base import Benchmark, Row
from evaluation.benchmarks.texts import Texts
from launcher.jobs.run_folder import RunFolder

SAVED = ("dataset_info.json", "dataset_dict.json")
SPLITS = {"train", "training", "dev", "val", "valid", "validation", "test", "testing", "eval"}


def rows_of(
    benchmark: Benchmark | Texts, split: str, limit: int | None, ignored: Ignored | None = None
) -> list[tuple[Row, str]]:
    """The first `limit` rows, each with the place where it stands; files that are passed over are counted.

    Raises:
        RequestError: they are missing: what to fetch, where to put it; or there are none.
    """
    try:
        rows = list(islice(read(benchmark, split, ignored), limit))
    except RequestError as error:
        words = str(error).replace("data.path", "benchmark.path")
        raise RequestError(f"{words}{where_from(benchmark, split)}") from None
    if not rows:
        raise RequestError(f"benchmark.path={benchmark.path}: no row in split {split}.")
    return rows


def read(benchmark: Benchmark | Texts, split: str, ignored: Ignored | None) -> Iterator[tuple[Row, str]]:
    file = Path(benchmark.path).expanduser()
    if isinstance(benchmark, Texts) and file.suffix == ".txt" and file.is_file():
        return text_rows(benchmark, file)
    endings = (".txt", *ENDINGS) if isinstance(benchmark, Texts) else ENDINGS
    path = str(split_folder(file, split, endings)) if file.is_dir() else benchmark.path
    columns = benchmark.columns if isinstance(benchmark.columns, Sequence) else None
    return read_rows(
        path, name=benchmark.name, split=split, revision=benchmark.revision, columns=columns,
        asked=Asked("benchmark.path", "task=evaluate benchmark=arithmetic init_from=RUN", endings),
        ignored=ignored,
    )  # fmt: skip


def told_ignored(run: RunFolder, ignored: Ignored) -> None:
    """What was there beside and is not used: on the screen, and in summary.json."""
    if ignored:
        run.results["ignored"] = dict(ignored)
        print(in_words(ignored), flush=True)


def split_folder(folder: Path, split: str, endings: tuple[str, ...]) -> Path:
    """Where in a folder a split is: in a folder of its name, or in the files that are named after it.

    A folder whose files are named after no split at all is one as a whole.

    Raises:
        RequestError: there are other splits, and not this one; training data would be asked otherwise.
    """
    if any((folder / name).is_file() for name in SAVED):  # by `datasets`, which knows its splits
        return folder
    files = [file.relative_to(folder) for file in folder.rglob("*") if file.name.lower().endswith(endings)]
    names = {file: re.split(r"[.\-_]", file.name, maxsplit=1)[0] for file in files}
    if split in names.values():
        return folder
    there = {*names.values(), *(part for file in files for part in file.parts[:-1])}
    if split in there:
        return next(folder.joinpath(*parts[: parts.index(split) + 1]) for parts in map(_parts, files) if split in parts)
    if named := sorted(there & SPLITS):
        raise RequestError(
            f"benchmark.path={folder} has no split {split!r}; there are {', '.join(named)}.\n"
            f"Type benchmark.split={named[0]} (benchmark.shots_split for the examples), or name a file."
        )
    return folder


def _parts(file: Path) -> tuple[str, ...]:
    return file.parts[:-1]


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
