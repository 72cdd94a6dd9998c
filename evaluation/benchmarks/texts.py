"""Benchmarks without questions: how well a model predicts given texts. A row of the data set is a document.

How to add one: a subclass with `documents(rows)` in a file of its own where rows are not documents, and
`conf/benchmark/<name>.yaml`.
"""

from collections.abc import Iterable, Iterator
from typing import Any, ClassVar, NamedTuple

from errors import RequestError

Row = dict[str, Any]


class Document(NamedTuple):
    text: str
    where: str  # the place where it stands


class Texts:
    """Args:
    path: a file, a folder, or a Hub id. name: configuration on the Hub. revision: commit of the Hub's repository.
    split: what is measured. text_column: where the text is.
    columns: names of the columns of a .tsv or .csv file without a header.
    """

    by_line: ClassVar[bool] = False  # what the rows of a .txt file are: its lines, or all of it

    def __init__(
        self,
        *,
        path: str,
        name: str | None = None,
        split: str = "test",
        revision: str | None = None,
        text_column: str = "text",
        columns: list[str] | None = None,
    ):
        self.path, self.name, self.split, self.revision = path, name, split, revision
        self.columns, self.needs = columns, (text_column,)

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
