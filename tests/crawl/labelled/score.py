"""Paragraph precision and recall of extracted text on the labelled pages, ours beside trafilatura and a bare spider.

python -m tests.crawl.labelled.score

A labelled paragraph (row of a table, block of code) is found when its text stands in what was extracted, white space
and table bars aside. A line of the extracted text is right when it stands in a labelled paragraph, or in one that may
be there or not, that no line before has used up: text that comes out twice is wrong the second time.
"""

import re
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass

import trafilatura
from lxml import html
from parsel import Selector

from crawl.document import Page
from crawl.extract.page import extract
from crawl.settings import CRAWL
from tests.crawl.labelled import articles, reference

MARK = re.compile(r"<(\w+) ([GM])(?=[ >])")
NO_TEXT = ".//*[@class='headerlink' or @class='mw-editsection' or @class='reference']"
NOISE = re.compile(r"[\s|¶-]+")  # white space, bars of tables, bullets


@dataclass(frozen=True)
class Labelled:
    """A page without its marks, and what they say."""

    kind: str
    body: bytes
    wanted: tuple[str, ...]
    allowed: tuple[str, ...]


def load() -> list[Labelled]:
    """All labelled pages."""
    kinds = {**articles.PAGES, **reference.PAGES}
    return [read(kind, page) for kind, pages in kinds.items() for page in pages]


def read(kind: str, page: str | bytes) -> Labelled:
    """One page with its marks taken out and understood."""
    encoding = "utf-8" if isinstance(page, str) else "latin-1"
    text = page if isinstance(page, str) else page.decode("latin-1")
    tree = html.document_fromstring(MARK.sub(r'<\1 data-mark="\2"', text))
    found = defaultdict(list)
    for element in list(tree.iter("*")):
        if mark := element.get("data-mark"):
            for junk in element.xpath(NO_TEXT):
                junk.drop_tree()
            found[mark].append(key(element.text_content()))
    return Labelled(kind, MARK.sub(r"<\1", text).encode(encoding), tuple(found["G"]), tuple(found["M"]))


def key(text: str) -> str:
    """What is compared: letters, digits and punctuation in order."""
    return NOISE.sub("", text)


def ours(body: bytes) -> str:
    return extract(Page("http://a.org/", body), CRAWL).text


def with_trafilatura(body: bytes) -> str:
    return trafilatura.extract(body) or ""


def bare_spider(body: bytes) -> str:
    return "\n".join(text for text in Selector(body.decode("utf-8", "replace")).css("p::text").getall() if text.strip())


SYSTEMS: dict[str, Callable[[bytes], str]] = {"ours": ours, "trafilatura": with_trafilatura, "p::text": bare_spider}


def judge(page: Labelled, text: str) -> tuple[int, int, int, int]:
    """(right lines, lines, found paragraphs, paragraphs)."""
    lines = [line for line in map(key, text.split("\n")) if line]
    whole = "".join(lines)
    found = sum(paragraph in whole for paragraph in page.wanted)
    left = [*page.wanted, *page.allowed]
    right = 0
    for line in lines:
        at = next((n for n, paragraph in enumerate(left) if line in paragraph or paragraph in line), None)
        if at is not None:
            right += 1
            left[at] = left[at].replace(line, "", 1) if line in left[at] else ""
            left = [paragraph for paragraph in left if paragraph]
    return right, len(lines), found, len(page.wanted)


def table() -> dict[str, dict[str, tuple[float, float]]]:
    """kind -> system -> (precision, recall)."""
    sums: dict[tuple[str, str], list[int]] = defaultdict(lambda: [0, 0, 0, 0])
    for page in load():
        for name, system in SYSTEMS.items():
            counts = judge(page, system(page.body))
            for kind in (page.kind, "all"):
                sums[kind, name] = [a + b for a, b in zip(sums[kind, name], counts, strict=True)]
    scores: dict[str, dict[str, tuple[float, float]]] = defaultdict(dict)
    for (kind, name), (right, lines, found, wanted) in sums.items():
        scores[kind][name] = (right / lines if lines else 0.0, found / wanted)
    return scores


def main() -> None:
    print(f"{'':16}" + "".join(f"{name:>22}" for name in SYSTEMS))
    print(f"{'kind':16}" + f"{'precision':>13}{'recall':>9}" * len(SYSTEMS))
    for kind, systems in table().items():
        print(f"{kind:16}" + "".join(f"{systems[name][0]:13.2f}{systems[name][1]:9.2f}" for name in SYSTEMS))


if __name__ == "__main__":
    main()
