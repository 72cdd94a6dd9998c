"""What every data module of tokens does: prepare token files once, then serve windows of them.

How to add one: subclass `PreparedDataModule` (datamodules/kinds/prepared.py), say `provides`, list the keys of your
own in `__init__` (with those of the bases they are the schema of `conf/data/<name>.yaml`), and return documents from
`_sides`.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Literal

import torch
from torch.utils.data import DataLoader

from batch import Batch
from bounds import PositiveInt
from datamodules.batching.packed import PackedSteps, Rows, pack_documents
from datamodules.batching.windows import ORDERS, Order, TrainSteps, ValidationBatches
from datamodules.kinds.steps import StepDataModule
from datamodules.preparing.token_files import FirstTokens, document_ends
from datamodules.preparing.token_folder import TokenFolder
from datamodules.reading.ignored import in_words
from errors import RequestError


class TokenDataModule(StepDataModule):
    """Windows of `seq_len` tokens out of a folder of token files."""

    streaming: bool = False  # text comes as it is read, no token files

    def __init__(
        self,
        *,
        stride: PositiveInt | None = None,
        sampling: Literal["random", "shuffle", "sequential"] = "random",
        doc_mask: bool = False,
        packing: Literal["concat", "bestfit"] = "concat",
        **shared: Any,
    ):
        """Raises RequestError for what does not go together."""
        super().__init__(**shared)
        stride = self.seq_len if stride is None else stride
        if packing == "bestfit" and not doc_mask:
            raise RequestError(
                "data.packing=bestfit puts several documents into a row: without data.doc_mask=true a document would"
                " see its neighbours.\nType data.doc_mask=true, or data.packing=concat."
            )
        if packing == "bestfit" and stride != self.seq_len:
            raise RequestError(f"data.stride={stride} means nothing with data.packing=bestfit: leave it out.")
        self.stride, self.sampling, self.doc_mask, self.packing = stride, sampling, doc_mask, packing
        self._folder: TokenFolder | None = None
        self._rows: Rows | None = None

    @abstractmethod
    def _token_folder(self) -> TokenFolder:
        """The opened folder of token files, written first where that is needed, its tokenizer trained."""

    # Preparing ----------------------------------------------------------------------------------------------------

    def prepare(self) -> None:
        """Make or find the token files and check that windows fit; a second call does nothing.

        Raises RequestError where the data cannot serve this tokenizer and window, RunError where the disk is full.
        """
        if self._folder is None:
            folder = self._token_folder()
            self._check_lengths(folder)
            self.tokenizer, self._folder = folder.tokenizer, folder
            if self.packing == "bestfit":
                self._rows = pack_documents(self._ends("train"), self.seq_len)

    def _check_lengths(self, folder: TokenFolder) -> None:
        n_train, n_val, window = len(folder.train), len(folder.val), self.seq_len + 1
        if n_train < window:
            raise RequestError(
                f"The training text is shorter than one window: {n_train:,} tokens, and model.seq_len={self.seq_len}"
                f" needs {window:,} (its targets are shifted by one).\n"
                f"Type model.seq_len={max(1, n_train - 1)} or less, or data.path=<more text>."
            )
        if n_val < 2:
            raise RequestError(
                f"The validation text is too short: {n_val} token(s), at least 2 are needed (one to predict).\n"
                "Type data.val_path=<a file>, or data.path=<more text>."
            )

    @property
    def ignored(self) -> dict[str, int]:
        """As `meta.json` says; files are those of this start."""
        return dict(self.folder.meta.get("ignored", {})) | dict.fromkeys(self._means_nothing(), 1)

    def _means_nothing(self) -> Iterator[str]:
        """What was typed and has no effect beside the rest, in words."""
        if self.sampling == "random" and self.stride != self.seq_len:
            yield f"data.stride={self.stride}, as data.sampling=random draws where windows start"

    @property
    def folder(self) -> TokenFolder:
        """The token files. Raises RuntimeError before `prepare()`."""
        if self._folder is None:
            raise RuntimeError(f"{type(self).__name__}: call prepare() first")
        return self._folder

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the ids themselves and of the tokenizer: equal, if training would see the same."""
        return self.folder.fingerprint

    def shorten(self, fraction: float) -> None:
        """Trains on the first `fraction` of the text alone. Raises RequestError where that is less than two windows."""
        n = int(len(self.folder.train) * fraction)
        if n < 2 * (self.seq_len + 1):
            raise RequestError(f"{fraction} of the training text is {n} tokens: less than two windows.")
        self._folder = replace(self.folder, train=FirstTokens(self.folder.train, n))  # type: ignore[arg-type]

    def describe(self) -> dict[str, Any]:
        """What there is: source, folder, documents, bytes and tokens of both sides, split, overlap. JSON types."""
        packing = {} if self._rows is None else {"packing": self._rows.describe()}
        return self.folder.describe() | packing

    def facts(self) -> dict[str, str]:
        """What there is and how far validation repeats training, in words."""
        facts = self.describe()
        words = {
            part: f"{facts[part]['tokens']:,} tokens of {facts[part]['documents']:,} document(s)"
            for part in ("train", "val")
        }
        if stream := facts.get("stream"):
            words["train"] = f"{stream}, as it comes; {words['train']} were looked at first"
        if overlap := facts.get("overlap"):
            same, nearly = overlap["duplicate_documents"], overlap["near_duplicate_documents"]
            words["overlap"] = (
                f"{same:,} documents in both, {nearly:,} nearly; "
                f"{overlap['val_share']:.2%} of validation's text occurs in training"
            )
        if sources := facts.get("sources"):
            words["sources"] = ", ".join(
                f"{name} {s['share']:.1%} ({s['tokens']:,} tokens)" for name, s in sources.items()
            )
        if packing := facts.get("packing"):
            words["packing"] = (
                f"{packing['rows']:,} rows, {packing['padding_share']:.2%} of them padding; "
                f"{packing['lost_share']:.2%} of tokens lost, {packing['cut_documents_share']:.2%} of documents cut"
            )
        if self.ignored:
            words["ignored"] = in_words(self.ignored)
        return words

    # Loading ------------------------------------------------------------------------------------------------------

    def train_dataloader(self) -> DataLoader[list[Batch]]:
        """Endless; item k holds the micro-batches of optimizer step `start_step` + k on this rank."""
        share = {
            "batch_size": self.batch_size,
            "accumulate": self.accumulate,
            "rank": self.rank,
            "world_size": self.world_size,
        }
        steps: torch.utils.data.Dataset[list[Batch]]
        if self._rows is None:
            steps = TrainSteps(self.folder.train, self.order(), **share, eot=self._mask_eot())
        else:
            steps = PackedSteps(self.folder.train, self._rows, self.order(), **share, pad=self.tokenizer.eot)
        return self._step_loader(steps)

    def val_dataloader(self) -> DataLoader[Batch]:
        """The validation side once, in order; this rank's windows of it."""
        dataset = self._validation(self.rank, self.world_size)
        return self._loader(dataset, range(len(dataset)))

    def val_dataset(self) -> ValidationBatches:
        """All of the validation side, on one rank, with "document_index" (B, T): for intervals by document."""
        return self._validation(0, 1, self._ends("val"))

    def _ends(self, side: Literal["train", "val"]) -> Any:
        """(documents,) int64: where the documents of a side end, in tokens."""
        return document_ends(self.folder.path, side, getattr(self.folder, side), self.tokenizer.eot)

    def _source_ends(self) -> Any:
        """(sources,) int64: where sources end on the validation side of a mixture, in tokens; None: there is one."""
        return None

    def order(self) -> Order:
        """Where training windows start, step by step; with packed rows, which rows."""
        if self._rows is not None:
            return ORDERS[self.sampling](self._rows.packing.n_rows, 0, 1, self.seed)
        return ORDERS[self.sampling](len(self.folder.train), self.seq_len, self.stride, self.seed)

    def _validation(self, rank: int, world_size: int, ends: Any = None) -> ValidationBatches:
        return ValidationBatches(
            self.folder.val,
            seq_len=self.seq_len,
            batch_size=self.val_batch_size,
            rank=rank,
            world_size=world_size,
            eot=self._mask_eot(),
            document_ends=ends,
            source_ends=self._source_ends(),
        )

    def _mask_eot(self) -> int | None:
        return self.tokenizer.eot if self.doc_mask else None
