"""The corpus in other forms: corpus.txt, and Parquet beside each shard."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from strict_json import value_of


@contextmanager
def whole(path: Path, draft: str) -> Iterator[Path]:
    """A draft beside `path`, which becomes it at the end; it is removed where anything goes wrong."""
    temporary = path.with_name(draft)
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_corpus(shards: list[Path], folder: Path) -> None:
    """All texts in one file, each followed by a blank line."""
    with (
        whole(folder / "corpus.txt", ".corpus.txt.part") as temporary,
        open(temporary, "w", encoding="utf-8", newline="\n") as corpus,
    ):
        for shard in shards:
            for record in records(shard):
                corpus.write(record["text"].strip("\n") + "\n\n")


def write_parquet(shards: list[Path], rows: int = 2000) -> None:
    """The rows of each shard as Parquet, `rows` at a time."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    texts = ("url", "text", "title", "date", "language", "fetched_at", "sha256", "site", "content_type", "masked")
    schema = pa.schema([(name, pa.string()) for name in texts])
    for shard in shards:
        with (
            whole(shard.with_suffix(".parquet"), f".{shard.stem}.parquet.part") as temporary,
            pq.ParquetWriter(temporary, schema) as writer,
        ):
            for batch in _batches(records(shard), rows):
                for record in batch:
                    record["masked"] = json.dumps(record.get("masked", {}))
                writer.write_table(pa.Table.from_pylist(batch, schema=schema))


def records(shard: Path) -> Iterator[dict]:
    """The records of one shard."""
    with open(shard, encoding="utf-8", newline="\n") as lines:
        for line in lines:
            yield value_of(line)


def _batches(items: Iterator[dict], size: int) -> Iterator[list[dict]]:
    batch: list[dict] = []
    for item in items:
        batch.append(item)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch
