"""`data=text`: any text on this machine: a file, a glob or a folder of text, pages, JSON, tables, Parquet, Arrow."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from datamodules.kinds.prepared import PreparedDataModule
from datamodules.reading.download import fetched
from datamodules.reading.sources import FileSource, file_source
from errors import RequestError


class TextDataModule(PreparedDataModule):
    provides = ("tokens",)

    def __init__(
        self,
        *,
        path: str | None,
        val_path: str | None = None,
        text_column: str = "text",
        separator: str | None = None,
        url: str | None = None,
        sha256: str | None = None,
        **shared: Any,
    ):
        super().__init__(**shared)
        if separator == "":
            raise RequestError("data.separator is empty: expected the text between documents, or null for none.")
        self.path, self.val_path, self.url, self.sha256 = path, val_path, url, sha256
        self.text_column, self.separator = text_column, separator

    def _sides(self) -> tuple[FileSource, FileSource | None]:
        val = None if self.val_path is None else self._source("data.val_path", self.val_path)
        return self._source("data.path", self._path()), val

    def _means_nothing(self) -> Iterator[str]:
        yield from super()._means_nothing()
        if self.val_path is not None and self.val_fraction != 0.1:
            yield f"data.val_fraction={self.val_fraction:g}, as data.val_path is given"
        if self.path is not None and self.sha256 is not None:  # a url is still told where the path is missing
            yield f"data.sha256={self.sha256[:12]}, as data.path is given and nothing is fetched"

    def _path(self) -> str:
        """`path`; where there is none, the file behind `url`, fetched once."""
        if self.path is not None:
            return self.path
        if self.url is None or self.sha256 is None:
            raise RequestError("data.path is missing: type data.path=<a file, a folder or a 'glob*.txt'>.")
        return str(fetched(self.url, self.sha256, self.cache_dir))

    def _source(self, key: str, path: str) -> FileSource:
        return file_source(key, path, self.text_column, self.separator, self.url)
