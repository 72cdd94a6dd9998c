"""Text from the Hugging Face Hub, or from a folder laid out as there, through the `datasets` library.

What the library raises is said in plain words here, with what to type; `datasets` is imported when it is needed.
"""

from __future__ import annotations

import hashlib
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from datamodules.reading.ignored import Ignored
from datamodules.reading.readers import NO_TEXT, Document, cut_at_words, no_column
from datamodules.reading.retry import resuming, with_retries
from errors import RequestError, RunError

ON_DISK = ("state.json", "dataset_dict.json")  # what `save_to_disk` leaves
NAME = re.compile(r"[A-Za-z0-9][\w.-]*(/[\w.-]+)?")  # of a data set, with its owner or without
AT_ONCE = 64  # rows
FIRST_TRIES = 3  # at the start somebody may be waiting: do not let a machine without network try for minutes


@dataclass(frozen=True)
class HubData:
    """One split of one data set. `join`: its rows are pieces of one document, otherwise each is a document."""

    path: str
    config: str | None
    split: str
    revision: str | None
    text_column: str
    join: bool = False

    @property
    def name(self) -> str:
        return ":".join(filter(None, [self.path, self.config, self.split]))

    @property
    def is_pinned(self) -> bool:
        """Whether path and revision alone say what the content is."""
        return self.revision is not None and len(self.revision) == 40 and not Path(self.path).exists()

    def load(self, *, streaming: bool) -> Any:
        """The split as `datasets` gives it. Raises RequestError or RunError in plain words."""
        import datasets

        if not sys.stderr.isatty():
            datasets.disable_progress_bars()
        folder = Path(self.path).expanduser()
        if not folder.exists() and NAME.fullmatch(self.path) is None:  # the Hub is not asked: it may be out of reach
            raise RequestError(nowhere(self.path))
        with plain_words(self):
            if any((folder / name).is_file() for name in ON_DISK):
                return self._from_disk(datasets, folder, streaming)
            return with_retries(
                lambda: datasets.load_dataset(
                    str(folder) if folder.exists() else self.path,
                    self.config,
                    split=self.split,
                    revision=None if folder.exists() else self.revision,
                    streaming=streaming,
                ),
                f"loading data.path={self.path}",
                FIRST_TRIES,
            )

    def _from_disk(self, datasets: Any, folder: Path, streaming: bool) -> Any:
        try:
            found = datasets.load_from_disk(str(folder))
        except (KeyError, TypeError, AttributeError) as error:
            raise RequestError(
                f"data.path={self.path} is damaged: not as Dataset.save_to_disk writes it ({error!r:.200})."
            ) from None
        if isinstance(found, datasets.DatasetDict):
            if self.split not in found:
                raise ValueError(f"Unknown split {self.split!r}; there are {', '.join(found)}.")
            found = found[self.split]
        elif self.split != "train" and self.split != str(found.split):
            raise ValueError(f"Unknown split {self.split!r}; it is one data set without splits.")
        return found.to_iterable_dataset(num_shards=8) if streaming else found

    def text_in(self, value: Any, ignored: Ignored) -> str | None:
        """A row's text; None for a null, which is counted. Raises RequestError for anything else."""
        if value is None:
            ignored[NO_TEXT] += 1
        elif not isinstance(value, str):
            raise RequestError(
                f"{self.name}: {self.text_column!r} should be text, found {type(value).__name__}.\n"
                "Type data.text_column=NAME."
            )
        return value

    def check_column(self, names: list[str]) -> None:
        if self.text_column not in names:
            raise no_column(f"data.path={self.path}", self.text_column, names)


@dataclass(frozen=True)
class HubSource:
    """A downloaded split as a source of documents."""

    data: HubData
    ignored: Ignored = field(default_factory=Ignored, compare=False)

    @property
    def name(self) -> str:
        return self.data.name

    @cached_property
    def rows(self) -> Any:
        rows = self.data.load(streaming=False)
        self.data.check_column(rows.column_names)
        self.ignored.update(
            {f"column {name!r}": len(rows) for name in rows.column_names if name != self.data.text_column}
        )
        return rows.select_columns([self.data.text_column])

    @property
    def n_bytes(self) -> int | None:
        return None

    def texts(self) -> Iterator[str]:
        with plain_words(self.data):
            for batch in self.rows.iter(batch_size=1000):
                for text in batch[self.data.text_column]:
                    if (found := self.data.text_in(text, self.ignored)) is not None:
                        yield found

    def documents(self) -> Iterator[Document]:
        if self.data.join:
            yield cut_at_words(self.texts())
        else:
            yield from ((text,) for text in self.texts())

    def fingerprint(self) -> str:
        """By name where a revision is pinned: then nothing is loaded, and the network is not asked (N11)."""
        content = self.data.revision if self.data.is_pinned else self.rows._fingerprint
        return hashlib.sha256(repr((self.data, content)).encode()).hexdigest()


@dataclass(frozen=True)
class HubStream:
    """A split that is read as it comes, file by file; see `datamodules/batching/stream.py`."""

    data: HubData
    passed_over: Ignored = field(default_factory=Ignored, compare=False)

    @property
    def name(self) -> str:
        return self.data.name

    @cached_property
    def rows(self) -> Any:
        return self.data.load(streaming=True)

    @property
    def n_shards(self) -> int:
        return self.rows.num_shards

    def open(self, shard: int, skip: int, ignored: Ignored | None = None) -> Iterator[str]:
        """The texts of one file from number `skip` on; a lost connection is waited for."""
        ignored = Ignored() if ignored is None else ignored
        part = self.rows.shard(num_shards=self.n_shards, index=shard)
        with plain_words(self.data):
            yield from resuming(lambda at: self._texts(part.skip(at), ignored), skip, f"reading {self.name}")

    def _texts(self, rows: Any, ignored: Ignored) -> Iterator[str]:
        """By `iter`: in a loader's worker, plain iteration would give each worker but a share of this file."""
        for batch in rows.iter(batch_size=AT_ONCE):
            self.data.check_column(list(batch))
            texts = batch[self.data.text_column]
            ignored.update({f"column {name!r}": len(texts) for name in batch if name != self.data.text_column})
            for text in texts:
                yield self.data.text_in(text, ignored) or ""  # a null is an empty document: positions count rows

    def fingerprint(self) -> str:
        return hashlib.sha256(repr((self.data, self.data.is_pinned or self.n_shards)).encode()).hexdigest()


@contextmanager
def plain_words(data: HubData) -> Iterator[None]:
    """Turns what `datasets` raises into a line that says what was given, what is wrong, what to type."""
    try:
        yield
    except (RequestError, RunError):
        raise
    except Exception as error:
        raise explained(error, data) from error


def explained(error: Exception, data: HubData) -> Exception:
    names = {cls.__name__ for cls in type(error).__mro__}
    what, given = first_line(error), f"data.path={data.path}"
    status = getattr(getattr(error, "response", None), "status_code", None)
    if "gated" in what or "GatedRepoError" in names or status in (401, 403):
        return RequestError(
            f"{given} is gated: its owners want to know who takes it.\n"
            f"Accept the terms on https://huggingface.co/datasets/{data.path}, then type: hf auth login"
        )
    if "Revision" in what and "doesn't exist" in what:
        return RequestError(f"{given} has no revision {data.revision}.\nType data.revision=null for the newest.")
    if "DatasetNotFoundError" in names or "RepositoryNotFoundError" in names or status == 404:
        return RequestError(nowhere(data.path))
    if "scripts are no longer supported" in what:
        return RequestError(
            f"{given} is a script, and datasets runs none any more (since version 4).\n"
            "Type data.revision=refs/convert/parquet: the Hub keeps most of them converted there."
        )
    if "ConnectionError" in names or "LocalEntryNotFoundError" in names or "OfflineModeIsEnabled" in names:
        return RunError(
            f"{given} is not in the cache here, and the Hub cannot be reached: {what}\n"
            "Connect, or unset HF_HUB_OFFLINE, or copy a cache here (HF_HOME)."
        )
    if "DatasetGenerationError" in names and error.__cause__ is not None:
        what = first_line(error.__cause__)
    of_a_library = isinstance(error, OSError) and error.errno is None  # pyarrow's, of a damaged file
    if (
        of_a_library
        or {"ValueError", "FileNotFoundError", "DatasetsError", "DatasetGenerationError"} & names
        or "Arrow" in str(names)
    ):
        return RequestError(f"{given} (name={data.config}, split={data.split}) cannot be used: {what}")
    return error


def nowhere(path: str) -> str:
    return (
        f"data.path={path}: there is no such folder here and no such data set on the Hub, or it is private.\n"
        "Type data.path=<owner/name as on https://huggingface.co/datasets>, or hf auth login for a private one."
    )


def first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
