"""Benchmarks without questions: how well a model foresees given texts. A row of the data set is a document.

How to add one: a subclass with `documents(rows)` in a file of its own where rows are not documents, and
`conf/benchmark/<name>.yaml`.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from errors import RequestError

Row = dict[str, Any]


class Document(NamedTuple):
    text: str
    where: str  # the place where it stands


class Texts:
    """Args:
    path: a file, a folder, or a Hub id. name: configuration on the Hub. revision: commit of the Hub's repository.
    split: what is measured. text_column: where the text is.
    """

    def __init__(
        self,
        *,
        path: str,
        name: str | None = None,
        split: str = "test",
        revision: str | None = None,
        text_column: str = "text",
    ):
        self.path, self.name, self.split, self.revision = path, name, split, revision
        self.columns, self.needs = None, (text_column,)

    def plain_rows(self, file: Path) -> list[tuple[Row, str]]:
        """A .txt file as rows: here it is one document. Raises RequestError if it is not UTF-8."""
        try:
            text = file.read_text(encoding="utf-8")
        except UnicodeDecodeError as error:
            raise RequestError(f"{file} is not UTF-8: byte 0x{error.object[error.start]:02x} in it.") from None
        return [({self.needs[0]: text}, str(file))]

    def documents(self, rows: Iterable[tuple[Row, str]]) -> Iterator[Document]:
        """Raises RequestError naming the first row without text."""
        return (Document(text, where) for text, where in self.texts(rows) if text.strip())

    def texts(self, rows: Iterable[tuple[Row, str]]) -> Iterator[tuple[str, str]]:
        (column,) = self.needs
        for row, where in rows:
            if not isinstance(row.get(column), str):
                raise RequestError(
                    f"{where}: no text in {column!r}; columns: {', '.join(map(repr, row))}.\n"
                    "Type benchmark.text_column=<the one with the text>."
                )
            yield row[column], where
