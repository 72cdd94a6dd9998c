"""inspect.view=data: batches as the model gets them, and what the corpus is made of."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterable, Iterator
from itertools import islice

import numpy as np
from markupsafe import Markup
from omegaconf import DictConfig

from batch import IGNORE
from datamodules.kinds.steps import StepDataModule
from datamodules.kinds.tokens import TokenDataModule
from datamodules.preparing.card import data_card, token_counts
from datamodules.reading.ignored import in_words
from inspection.charts import bars, log_log, spans
from inspection.page import Page, Tokens, facts, table
from inspection.terminal import coloured, plain
from launcher.jobs.run_folder import RunFolder
from tasks import parts
from tasks.views._rows import batch_rows, has_windows, supervised_share
from tokenization.base import Tokenizer

READS = ("steps", "documents", "document_tokens", "terminal_rows")  # of the keys of `inspect`

MAX_WINDOWS = 64  # in the chart of where they lie
TERMINAL_LINES = 10  # of one row, about


def show(cfg: DictConfig, run: RunFolder) -> None:
    """Prints the first rows and writes inspect.html."""
    data = parts.build_data(cfg)
    steps = list(islice(iter(data.train_dataloader()), cfg.inspect.steps))
    rows = list(batch_rows(data, steps))
    terminal(data, rows[: cfg.inspect.terminal_rows])
    page = make_page(cfg, data, rows)
    target = run.path / "inspect.html"
    page.write(target)
    supervised = supervised_share(rows)
    run.results |= {
        "data_fingerprint": data.fingerprint,
        "ignored": data.ignored,
        "inspect": {"rows": len(rows), "supervised_share": supervised},
    }
    print(*filter(None, [in_words(data.ignored)]), sep="\n", end="")
    print(f"\n{len(rows):,} rows; {supervised:.1%} of their places have a target\npage: {target}")


def terminal(data: StepDataModule, rows: list[Tokens]) -> None:
    width, text = shutil.get_terminal_size().columns, data.tokenizer.texts_of_ids()
    for row in rows:
        texts = [text(i) for i in row.ids]
        print(f"\n{row.title}")
        draw = coloured if sys.stdout.isatty() else plain
        n = TERMINAL_LINES * width // 2  # places are one to a few letters wide
        print(draw(texts[:n], row.targets and row.targets[:n], row.documents and row.documents[:n]))
        if n < len(texts):
            print(f"... and {len(texts) - n:,} more")


def make_page(cfg: DictConfig, data: StepDataModule, rows: list[Tokens]) -> Page:
    page = Page(title="What the model sees", about="Point at a token for its id, its target and its weight.")
    documents = list(document_runs(cfg, data))
    add_facts(page, data, rows)
    add_windows(page, data)
    page.add_tokens(
        "Batches",
        rows,
        note="Each colour is a token; faint: no loss on what follows it; a rule: the border of two documents; dotted:"
        " also in the window before.",
    )
    if isinstance(data, TokenDataModule) and not data.streaming:
        add_statistics(page, data)
    if documents:
        page.add_tokens("Documents", documents, note="Click on one to open it.", folded=True)
    name_tokens(page, data.tokenizer, [*rows, *documents])
    return page


def add_facts(page: Page, data: StepDataModule, rows: list[Tokens]) -> None:
    tokenizer = data.tokenizer
    pairs = {
        **data.facts(),
        "tokenizer": f"{tokenizer.kind}, {tokenizer.vocab_size:,} ids",
        "rows": f"{len(rows):,} of at most {max(len(row.ids) for row in rows):,} tokens" if rows else "none",
        "with a target": f"{supervised_share(rows):.2%} of the places in these rows, padding left out",
    }
    page.add("At a glance", facts(dict(pairs)))


def add_windows(page: Page, data: StepDataModule) -> None:
    """Where the first windows of training lie in the sequence of tokens."""
    if not has_windows(data):
        return
    order, n = data.order(), data.accumulate * data.world_size * data.batch_size
    steps = range(-(-MAX_WINDOWS // n))
    starts = [start for step in steps for start in order.starts(step, n).tolist()][:MAX_WINDOWS]
    rows = [(start, start + data.seq_len) for start in starts]
    page.add(
        f"The first {len(rows)} windows",
        spans(rows, len(data.folder.train), unit="place in the training data (tokens)"),
        f"From top to bottom in the order of training, each of {data.seq_len:,} tokens; sampling={data.sampling}"
        + ("." if data.sampling == "random" else f", starts at multiples of {data.stride:,} tokens."),
    )


def add_statistics(page: Page, data: TokenDataModule) -> None:
    card = data_card(data.folder, data.ignored)
    counts = np.sort(token_counts(data.folder))[::-1]
    counts = counts[counts > 0]
    ranks = np.unique(np.geomspace(1, len(counts), 200).astype(int))
    zipf = log_log(
        {"tokens": [(int(r), int(counts[r - 1])) for r in ranks]}, x="rank of the token", y="occurrences of the token"
    )
    classes = sorted({c["from"] for side in ("train", "val") for c in card[side]["length_histogram"]})
    lengths = {side: {c["from"]: c["documents"] for c in card[side]["length_histogram"]} for side in ("train", "val")}
    shown = bars(
        [f"{c:,} to {2 * c - 1:,}" for c in classes],
        {side: [lengths[side].get(c, 0) for c in classes] for side in ("train", "val")},
        unit="tokens in a document: number of documents",
    )
    page.add("How often tokens occur", zipf, "On both axes powers of ten; Zipf's law is a straight line downwards.")
    page.add("How long documents are", shown, "Bars of each side are scaled to its own longest.")
    if sources := data.describe().get("sources"):
        shares = bars(
            list(sources), {"share": [source["share"] for source in sources.values()]}, unit="share of windows"
        )
        page.add("Sources", shares)
    tokens = card["tokens"]
    lists = [
        Markup("<div><h3>{}</h3>{}</div>").format(
            name, table(["id", "text", "count"], [(str(t["id"]), repr(t["text"]), t["count"]) for t in tokens[key]])
        )
        for name, key in (("most frequent", "most_frequent"), ("least frequent", "least_frequent"))
    ]
    page.add(
        "Tokens",
        Markup('<div class="columns">{}</div>').format(Markup().join(lists)),
        f"{tokens['used']:,} ids occur, {tokens['unused']:,} never do.",
    )


def document_runs(cfg: DictConfig, data: StepDataModule) -> Iterator[Tokens]:
    """The first documents of each side, validation's share of the room the same as training's."""
    if not isinstance(data, TokenDataModule) or data.streaming:
        return
    for side in ("train", "val"):
        tokens, ends = getattr(data.folder, side), data._ends(side)
        for number, (start, end) in enumerate(zip([0, *ends[:-1]], ends, strict=True)):
            if number >= -(-cfg.inspect.documents // 2):
                break
            n = min(int(end - start), cfg.inspect.document_tokens)
            ids = tokens.read(np.array([start]), n)[0].tolist()
            more = f", the first {n:,}" if n < end - start else ""
            yield Tokens(title=f"{side} {number + 1}: {int(end - start):,} tokens{more}", ids=ids)


def name_tokens(page: Page, tokenizer: Tokenizer, runs: Iterable[Tokens]) -> None:
    """The texts of all tokens on the page; parts of characters by their number."""
    used = {i for run in runs for i in [*run.ids, *(run.targets or [])] if i != IGNORE}
    text_of = tokenizer.texts_of_ids()
    for i in sorted(used):
        text = text_of(i)
        page.texts[i] = f"\u2039{i}\u203a" if "\ufffd" in text else text
    page.specials = sorted(used & set(tokenizer.specials.values()))
