"""`data=text`: any text on this machine: a file, a glob or a folder of .txt, .jsonl, .jsonl.gz, .parquet."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from datamodules.base import TokenDataModule
from datamodules.prepare import prepare_tokens
from datamodules.sources import FileSource, find_files
from datamodules.token_folder import TokenFolder, open_folder
from errors import RequestError
from tokenization.base import Tokenizer


class TextDataModule(TokenDataModule):
    provides = ("tokens",)

    def __init__(
        self,
        *,
        tokenizer: Tokenizer,
        path: str,
        val_path: str | None = None,
        text_column: str = "text",
        separator: str | None = None,
        url: str | None = None,
        val_fraction: float = 0.1,
        cache_dir: str = "outputs/cache",
        seq_len: int,
        batch_size: int,
        val_batch_size: int | None = None,
        stride: int | None = None,
        sampling: Literal["random", "shuffle", "sequential"] = "random",
        doc_mask: bool = False,
        workers: int = 0,
        seed: int = 0,
    ):
        super().__init__(
            tokenizer=tokenizer,
            seq_len=seq_len,
            batch_size=batch_size,
            val_batch_size=val_batch_size,
            stride=stride,
            sampling=sampling,
            doc_mask=doc_mask,
            workers=workers,
            seed=seed,
        )
        if separator == "":
            raise RequestError("data.separator is empty: expected the text between documents, or null for none.")
        self.path, self.val_path, self.url = path, val_path, url
        self.text_column, self.separator = text_column, separator
        self.val_fraction, self.cache_dir = val_fraction, Path(cache_dir)

    def _token_folder(self) -> TokenFolder:
        folder, tokenizer = prepare_tokens(
            source=self._source("data.path", self.path),
            val_source=None if self.val_path is None else self._source("data.val_path", self.val_path),
            tokenizer=self.tokenizer,
            val_fraction=self.val_fraction,
            cache_dir=self.cache_dir,
        )
        return open_folder(folder, tokenizer, self.cache_dir)

    def _source(self, key: str, path: str) -> FileSource:
        return FileSource(f"{key}={path}", find_files(path, key, self.url), self.text_column, self.separator)
