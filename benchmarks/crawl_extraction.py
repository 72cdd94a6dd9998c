"""Main text of labelled pages: our extraction beside trafilatura alone and every text of the page.

    python -m benchmarks.crawl_extraction [--path FOLDER] [--engine auto] [--worst 10]

FOLDER holds `ground-truth.json` (id -> {"articleBody": text that people marked, "url": ...}) and `html/<id>.html.gz`
(or .html), as scrapinghub/article-extraction-benchmark has them, so that any such set can be scored. Per page, the runs
of four words of both texts are compared as multisets; precision and recall are averaged over pages, and F1 is that of
the two averages. The pages are scored in two halves as well, by a hash of their ids: what was tuned on one is
judged by the other. Without --path, the labelled pages of tests/crawl are scored, by paragraphs.

Documentation, where --docs FOLDER has pages made by Sphinx (default: Debian's python3-doc): runs of words against all
text of `role=main`, and the share of code blocks that come out line for line.
"""

import argparse
import gzip
import hashlib
import json
import re
import statistics
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import trafilatura
from lxml import html

from crawl.document import Page
from crawl.extract.page import extract
from crawl.settings import CRAWL
from crawl.web.decode import decode
from tests.crawl.labelled.score import main as print_labelled

WORD = re.compile(r"\w+")
RUN = 4  # words
DOCS = Path("/usr/share/doc/python3.11/html")
MOST_DOCS = 150  # pages
Score = tuple[float | None, float | None]  # precision (None: nothing was extracted), recall (None: nothing is wanted)
System = Callable[[bytes], str]


def ours(body: bytes, engine: str = "auto") -> str:
    return extract(Page("http://a.org/", body), CRAWL | {"extract": {"engine": engine}}).text


def everything(body: bytes) -> str:
    tree = html.document_fromstring(decode(body), parser=html.HTMLParser(remove_comments=True, remove_pis=True))
    return " ".join(tree.xpath("//body//text()[not(ancestor::script or ancestor::style)]"))


def runs(text: str) -> Counter[tuple[str, ...]]:
    """All runs of four words, or all words where there are fewer."""
    found = WORD.findall(text)
    return Counter(tuple(found[at : at + RUN]) for at in range(max(1, len(found) - RUN + 1)) if found)


def score(wanted: str, found: str) -> Score:
    a, b = runs(wanted), runs(found)
    if a == b:
        return 1.0, 1.0
    both = (a & b).total()
    return both / b.total() if b else None, both / a.total() if a else None


def f1(scores: Iterable[Score]) -> tuple[float, float, float]:
    """F1, precision and recall of several pages."""
    columns = list(zip(*scores, strict=True))
    precision, recall = (statistics.mean(value for value in column if value is not None) for column in columns)
    return 2 * precision * recall / (precision + recall), precision, recall


def pages(folder: Path) -> Iterator[tuple[str, bytes, str]]:
    """(id, page, wanted text) of a folder."""
    for name, row in sorted(json.loads((folder / "ground-truth.json").read_text("utf-8")).items()):
        packed = folder / "html" / f"{name}.html.gz"
        body = gzip.decompress(packed.read_bytes()) if packed.is_file() else packed.with_suffix("").read_bytes()
        yield name, body, row["articleBody"]


def half(name: str) -> str:
    return "AB"[hashlib.md5(f"s{name}".encode()).digest()[-1] % 2]


def report(folder: Path, systems: dict[str, System], worst: int) -> None:
    """One line a system, all pages and each half; then the pages that the first system is worst at."""
    labelled = list(pages(folder))
    for at, (system, extracted) in enumerate(systems.items()):
        begun = time.perf_counter()
        scores = {name: score(wanted, extracted(body)) for name, body, wanted in labelled}
        each = (time.perf_counter() - begun) / len(labelled)
        line = "F1 {:.3f}  precision {:.3f}  recall {:.3f}".format(*f1(scores.values()))
        halves = "  ".join(f"{h} {f1(s for n, s in scores.items() if half(n) == h)[0]:.3f}" for h in "AB")
        print(f"{system:14}{len(labelled)} pages  {line}  {each * 1e3:.0f} ms a page  halves {halves}", flush=True)
        if at == 0:
            ranked = sorted(scores, key=lambda name: sum(value or 0.0 for value in scores[name]))
            lines = [f"  {name[:12]}  {scores[name]}" for name in ranked[:worst]]
    print("\n".join(lines))


def report_docs(folder: Path, systems: dict[str, System]) -> None:
    """Documentation by Sphinx, whose pages declare their text; pages that are mostly links (indexes) left out."""
    names = sorted(folder.rglob("*.html"), key=lambda path: hashlib.md5(path.name.encode()).hexdigest())
    found = [(body, main) for body in map(Path.read_bytes, names) for main in [documented(body)] if main is not None]
    for system, extracted in systems.items():
        scores, kept, blocks = [], 0, 0
        for body, main in found[:MOST_DOCS]:
            text = extracted(body)
            scores.append(score(" ".join(main.itertext()), text))
            listings = [lines(pre.text_content()) for pre in main.iter("pre")]
            blocks += len(listings)
            kept += sum(listing in lines(text) for listing in listings)
        line = "F1 {:.3f}  precision {:.3f}  recall {:.3f}".format(*f1(scores))
        print(f"{system:14}{len(scores)} pages of documentation  {line}  code {kept} of {blocks} blocks", flush=True)


def documented(body: bytes) -> html.HtmlElement | None:
    """What a page by Sphinx declares to be its text, or None."""
    found = html.document_fromstring(decode(body)).xpath("//*[@role='main']")
    if not found:
        return None
    for junk in found[0].xpath(".//*[@class='headerlink' or self::script or self::style]"):
        junk.drop_tree()
    linked = sum(len(link.text_content()) for link in found[0].iter("a"))
    return found[0] if linked < len(found[0].text_content()) / 2 else None


def lines(text: str) -> str:
    """Without white space at line ends and around the whole."""
    return "\n".join(line.rstrip() for line in text.expandtabs(8).split("\n")).strip("\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--path", type=Path)
    parser.add_argument("--docs", type=Path, default=DOCS)
    parser.add_argument("--engine", default="auto")
    parser.add_argument("--worst", type=int, default=0)
    arguments = parser.parse_args()
    systems: dict[str, System] = {
        "ours": lambda body: ours(body, arguments.engine),
        "trafilatura": lambda body: trafilatura.extract(body, include_comments=False) or "",
        "everything": everything,
    }
    if arguments.path is not None:
        report(arguments.path, systems, arguments.worst)
    else:
        print_labelled()
    if arguments.docs.is_dir():
        report_docs(arguments.docs, systems)


if __name__ == "__main__":
    main()
