"""WikiText-2 (Merity et al. 2016, 1609.07843): rows are lines, and a line " = Title = " opens an article.

Articles are documents here, as in EleutherAI's harness; the words are those of the raw version, spaces around
punctuation and all, which the harness takes out again.
"""

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from evaluation.benchmarks.texts import Document, Row, Texts

TITLE = re.compile(r" = [^=](?:.*[^=])? = \n?")  # " = = Section = = " is none


class WikiText2(Texts):
    def plain_rows(self, file: Path) -> list[tuple[Row, str]]:
        """The lines of the file as it was published."""
        ((row, _),) = super().plain_rows(file)
        lines = row[self.needs[0]].splitlines(keepends=True)
        return [({self.needs[0]: line}, f"{file}, line {number:,}") for number, line in enumerate(lines, start=1)]

    def documents(self, rows: Iterable[tuple[Row, str]]) -> Iterator[Document]:
        article, begun = "", ""
        for text, where in self.texts(rows):
            if TITLE.fullmatch(text):
                if article.strip():
                    yield Document(article, begun)
                article, begun = "", where
            article, begun = article + text, begun or where
        if article.strip():
            yield Document(article, begun)
