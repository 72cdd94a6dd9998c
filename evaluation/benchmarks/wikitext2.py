"""WikiText-2 (Merity et al. 2016, 1609.07843): rows are lines, and a line " = Title = " opens an article.

Articles are documents here, as in EleutherAI's harness; the words are those of the raw version, spaces around
punctuation and all, which the harness takes out again.
"""

import re
from collections.abc import Iterable, Iterator

from evaluation.benchmarks.texts import Document, Row, Texts

TITLE = re.compile(r" = [^=](?:.*[^=])? = \n?")  # " = = Section = = " is none


class WikiText2(Texts):
    by_line = True

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
