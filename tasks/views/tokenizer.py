"""inspect.view=tokenizer: what a BPE learned, its merges in order, how often each is made and the words it builds."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from omegaconf import DictConfig

from errors import RequestError
from inspection import page as pages
from inspection.page import Cell, Page
from launcher.jobs.run_folder import RunFolder
from tasks import parts
from tokenization.merges import Merge, table

READS = ()  # of the keys of `inspect`

COLUMNS = ("merge", "id", "token", "times", "first words")
ON_SCREEN, ON_PAGE = 32, 4000


def show(cfg: DictConfig, run: RunFolder) -> None:
    """Prints the first and the last merges and writes merges.html. Raises RequestError where there are no merges."""
    tokenizer = parts.saved_tokenizer(cfg) if cfg.init_from else parts.build_data(cfg).tokenizer
    merges: Sequence[Merge] = getattr(tokenizer, "merges", ())
    if not merges:
        raise RequestError(
            f"tokenizer={tokenizer.kind} has no merges to show; it has {tokenizer.vocab_size:,} ids.\n"
            "Type tokenizer=bpe, or init_from=<a run with it>."
        )
    print("\n".join(as_text([COLUMNS, *table(merges, ON_SCREEN)])))
    title = f"{len(merges):,} merges of tokenizer={tokenizer.kind}"
    page = run.path / "merges.html"
    page.write_text(as_html(title, [COLUMNS, *table(merges, ON_PAGE)]), encoding="utf-8")
    run.results |= {"tokenizer_fingerprint": tokenizer.fingerprint}
    print(f"\n{title}\npage: {page}")


def as_text(rows: Iterable[Sequence[str]]) -> list[str]:
    """Columns under each other."""
    rows = list(rows)
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def as_html(title: str, rows: Iterable[Sequence[str]]) -> str:
    head, *body = rows
    made = Page(title)
    made.add(
        "",
        pages.table(
            head, [[Cell(x, "n" * (i in (0, 1, 3))) for i, x in enumerate(row)] for row in body], kind="merges"
        ),
    )
    return made.html()
