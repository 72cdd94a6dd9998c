"""`data=hf`: the Hugging Face Hub, a folder in the Hub's format, or local .parquet, .jsonl, .csv, .arrow.

Map-style, the text is encoded once into token files, as all other text is. With `streaming` it is read as it comes:
nothing is kept but what validates and a sample for the data card and for training a tokenizer.
"""

from __future__ import annotations

import glob
from collections import deque
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import torch.distributed as dist

from bounds import OpenShare, PositiveInt
from datamodules.batching.stream import Stream, StreamSteps
from datamodules.kinds.prepared import PreparedDataModule
from datamodules.preparing.split import text_hash
from datamodules.preparing.token_folder import TokenFolder
from datamodules.reading.hub import HubData, HubSource, HubStream
from datamodules.reading.ignored import Ignored
from datamodules.reading.readers import Document, reader_for
from datamodules.reading.sources import FileSource, Source, file_source, find_files
from errors import RequestError
from tokenization.base import digest

KEPT_STATES = 64  # steps whose states are remembered; loaders run ahead by a few
OF_STREAMS = {"shuffle_buffer": 2048, "val_documents": 1000, "sample_documents": 10_000}


class HfDataModule(PreparedDataModule):
    provides = ("tokens",)

    def __init__(
        self,
        *,
        path: str,
        name: str | None = None,
        split: str = "train",
        val_split: str | None = None,
        revision: str | None = None,
        text_column: str = "text",
        join_rows: bool = False,
        val_fraction: OpenShare = 0.01,
        streaming: bool = False,
        shuffle_buffer: PositiveInt = OF_STREAMS["shuffle_buffer"],
        val_documents: PositiveInt = OF_STREAMS["val_documents"],
        sample_documents: PositiveInt = OF_STREAMS["sample_documents"],
        sampling: Literal["random", "shuffle", "sequential"] = "shuffle",
        **shared: Any,
    ):
        super().__init__(val_fraction=val_fraction, sampling=sampling, **shared)
        self.path, self.config, self.revision = path, name, revision
        self.split, self.val_split, self.text_column, self.join_rows = split, val_split, text_column, join_rows
        self.streaming, self.shuffle_buffer = streaming, shuffle_buffer
        self.val_documents, self.sample_documents = val_documents, sample_documents
        self._states: dict[int, dict[str, int]] = {}  # of this rank, by worker, at `start_step`
        self._history: deque[tuple[int, int, dict[str, int]]] = deque(maxlen=KEPT_STATES)
        self._refuse_same_rows()
        if streaming:
            self._refuse_with_streaming()

    def _refuse_with_streaming(self) -> None:
        wrong = {
            "data.packing=bestfit must know all lengths": self.packing == "bestfit",
            "data.join_rows=true makes one document of all rows": self.join_rows,
            f"data.stride={self.stride} needs windows that overlap": self.stride != self.seq_len,
            f"tokenizer={self.tokenizer.kind} must have seen every character": self.tokenizer.needs_whole_corpus
            and not self.tokenizer.trained,
        }
        for what, is_so in wrong.items():
            if is_so:
                raise RequestError(f"{what}: not with data.streaming=true.\nChange one of them.")

    # Where the text is --------------------------------------------------------------------------------------------

    def _is_files(self) -> bool:
        """Whether `path` names files that are read without `datasets`."""
        path = Path(self.path).expanduser()
        return path.is_file() or glob.has_magic(self.path) or (reader_for(path) is not None and not path.is_dir())

    def _hub(self, split: str) -> HubData:
        return HubData(self.path, self.config, split, self.revision, self.text_column, self.join_rows)

    def _refuse_same_rows(self) -> None:
        if self.val_split == self.split:
            raise RequestError(
                f"data.val_split={self.val_split} is data.split too: it validates on what it trains on.\n"
                "Type data.val_split=<another split>, or data.val_split=null for a share of this one."
            )

    def _refuse_keys_for_files(self) -> None:
        if self.join_rows:
            raise RequestError(
                f"data.join_rows=true is for the Hub or a folder in its format; data.path={self.path} names files, "
                "each of whose rows is a document.\nType data.join_rows=false."
            )
        given = {"name": self.config, "val_split": self.val_split, "revision": self.revision}
        given = {key: value for key, value in given.items() if value is not None}
        if given:
            told = ", ".join(f"data.{key}={value}" for key, value in given.items())
            raise RequestError(
                f"{told} {'is' if len(given) == 1 else 'are'} for the Hub or a folder in its format; "
                f"data.path={self.path} names files.\nType {' '.join(f'data.{key}=null' for key in given)}"
            )

    def _source(self, split: str) -> Source:
        if not self._is_files():
            return HubSource(self._hub(split))
        self._refuse_keys_for_files()
        return file_source("data.path", self.path, self.text_column)

    @cached_property
    def stream(self) -> Stream:
        return self._stream(self.split)

    def _stream(self, split: str) -> Stream:
        if not self._is_files():
            return HubStream(self._hub(split))
        self._refuse_keys_for_files()
        ignored = Ignored()
        return FileStream(f"data.path={self.path}", find_files(self.path, ignored=ignored), self.text_column, ignored)

    # Preparing ----------------------------------------------------------------------------------------------------

    def _sides(self) -> tuple[Source, Source | None]:
        if not self.streaming:
            return self._source(self.split), None if self.val_split is None else self._source(self.val_split)
        n = self.val_documents
        if self.val_split is not None:
            return Head(self.stream, 0, self.sample_documents), Head(self._stream(self.val_split), 0, n)
        # training reads past the rows of validation, and counts for both
        return Head(self.stream, n, n + self.sample_documents), Head(self.stream, 0, n, counts=False)

    def _check_lengths(self, folder: TokenFolder) -> None:
        if not self.streaming or len(folder.val) < 2:
            super()._check_lengths(folder)

    @property
    def fingerprint(self) -> str:
        if not self.streaming:
            return super().fingerprint
        return digest({"folder": self.folder.fingerprint, "stream": self.stream.fingerprint()})

    def _means_nothing(self) -> Iterator[str]:
        yield from super()._means_nothing()
        if self.val_split is not None and self.val_fraction != 0.01:
            yield f"data.val_fraction={self.val_fraction:g}, as data.val_split is given"
        if not self.streaming:
            for key, usual in OF_STREAMS.items():
                if (value := getattr(self, key)) != usual:
                    yield f"data.{key}={value}, without data.streaming=true"
        if self._is_files() and self.split != "train":
            yield f"data.split={self.split}, as data.path names files"
        elif self.revision is not None and Path(self.path).expanduser().exists():
            yield f"data.revision={self.revision}, as data.path is no id on the Hub"

    def describe(self) -> dict[str, Any]:
        return super().describe() | ({"stream": self.stream.name} if self.streaming else {})

    # Streaming ----------------------------------------------------------------------------------------------------

    def train_dataloader(self) -> Any:
        """As the base class's; a stream is wrapped so that the state after each step is known."""
        if not self.streaming:
            return super().train_dataloader()
        steps = StreamSteps(
            self.stream,
            self.tokenizer,
            seq_len=self.seq_len,
            batch_size=self.batch_size,
            accumulate=self.accumulate,
            rank=self.rank,
            world_size=self.world_size,
            seed=self.seed,
            shuffle_buffer=self.shuffle_buffer,
            shuffled=self.sampling != "sequential",
            held_out=self._held_out(),
            eot=self._mask_eot(),
            start_step=self.first_step,
            states=self._states,
        )
        return Remembering(self._loader(steps, None), self._history, self.first_step)

    def _held_out(self) -> frozenset[int]:
        if self.val_split is not None:
            return frozenset()
        return frozenset(text_hash(document) for document in Head(self.stream, 0, self.val_documents).documents())

    def state_dict(self) -> dict[str, Any]:
        """States of all parts of the stream after the trainer's last step. All ranks call it together."""
        if not self.streaming:
            return {}
        step = 0 if self.trainer is None else self.trainer.global_step
        states = dict(self._states)
        states |= {worker: state for made, worker, state in self._history if made <= step}
        ranks: list[Any] = [states]
        if self.world_size > 1 and dist.is_initialized():
            ranks = [None] * self.world_size
            dist.all_gather_object(ranks, states)
        return {"ranks": ranks, "workers": self.workers}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        ranks, workers = state_dict["ranks"], state_dict["workers"]
        if len(ranks) != self.world_size or max(1, workers) != max(1, self.workers):
            raise RequestError(
                f"this stream was divided among {len(ranks)} rank(s) with data.workers={workers}; it cannot go on"
                f" exactly with {self.world_size} and data.workers={self.workers}.\nTake the same numbers, or start"
                " from its weights: init_from=<the run>."
            )
        self._states = ranks[self.rank]


class Remembering:
    """A loader of stream steps that keeps, for each step handed out, the state behind it."""

    def __init__(self, loader: Any, history: deque[tuple[int, int, dict[str, int]]], start_step: int):
        self.loader, self.history, self.start_step = loader, history, start_step

    def __iter__(self) -> Iterator[Any]:
        for made, (batch, worker, state) in enumerate(self.loader, start=self.start_step + 1):
            self.history.append((made, worker, state))
            yield batch


@dataclass(frozen=True)
class FileStream:
    """Local files as a stream."""

    name: str
    files: tuple[Path, ...]
    text_column: str
    passed_over: Ignored = field(default_factory=Ignored, compare=False)

    @property
    def n_shards(self) -> int:
        return len(self.files)

    def open(self, shard: int, skip: int, ignored: Ignored | None = None) -> Iterator[str]:
        read = reader_for(self.files[shard])
        assert read is not None  # find_files let no other through
        ignored = Ignored() if ignored is None else ignored
        documents = read(self.files[shard], text_column=self.text_column, separator=None, ignored=ignored)
        return texts_of(documents, skip)

    def fingerprint(self) -> str:
        return FileSource(self.name, self.files, self.text_column, None).fingerprint()


def texts_of(documents: Iterator[Document], skip: int) -> Iterator[str]:
    """From number `skip` on; closed with what reads them."""
    try:
        for document in islice(documents, skip, None):
            yield "".join(document)
    finally:
        documents.close()  # type: ignore[attr-defined]


@dataclass(frozen=True)
class Head:
    """Documents `start` to `stop` of a stream, file by file, as a source.

    `counts`: whether it says what of all documents up to `stop` is not used.
    """

    stream: Stream
    start: int
    stop: int
    counts: bool = True
    rows_ignored: Ignored = field(default_factory=Ignored, compare=False)

    @property
    def name(self) -> str:
        return f"{self.stream.name}, documents {self.start:,} to {self.stop:,}"

    @property
    def n_bytes(self) -> int | None:
        return None

    @property
    def ignored(self) -> Ignored:
        return self.passed_over + self.rows_ignored if self.counts else Ignored()

    @property
    def passed_over(self) -> Ignored:
        return self.stream.passed_over if self.counts else Ignored()

    def documents(self) -> Iterator[Document]:
        return self.rows_ignored.walk(self._documents)

    def _documents(self, ignored: Ignored) -> Iterator[Document]:
        left = self.stop
        for shard in range(self.stream.n_shards):
            with closing(self.stream.open(shard, 0, ignored)) as texts:  # type: ignore[type-var]  # counts when it ends
                for text in islice(texts, left):
                    left -= 1
                    if left < self.stop - self.start:
                        yield (text,)
            if left == 0:
                return

    def fingerprint(self) -> str:
        return digest({"stream": self.stream.fingerprint(), "start": self.start, "stop": self.stop})
