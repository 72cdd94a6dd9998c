"""The corpus card, README.md: what is in the corpus, where it came from, what was left out, and whose it is."""

import json
from typing import Any

from crawl.report.words import EDGES, meaning

SAMPLES = 3  # documents shown
SAMPLE_TEXT = 400  # characters of each


def text(manifest: dict[str, Any], samples: dict[str, list[dict[str, str]]]) -> str:
    """The whole card, in Markdown."""
    parts = [
        _head(manifest),
        _counts(manifest),
        _lengths(manifest),
        _samples(samples),
        _use(),
        _rights(manifest),
        _made(manifest),
    ]
    return "\n".join(part for part in parts if part)


def _head(manifest: dict[str, Any]) -> str:
    starts = (
        ", ".join(manifest["settings"]["start_urls"])
        or ", ".join(manifest["settings"]["warc_files"])
        or manifest["settings"]["urls_file"]
    )
    return f"""# Crawled corpus

{manifest["kept"]:,} documents, {manifest["words"]:,} words, {manifest["characters"]:,} characters from
{len(manifest["sites"])} site(s), crawled from {starts} between {manifest["started_at"]} and {manifest["ended_at"]}
(status: {manifest["status"]}{_left(manifest)}).
"""


def _left(manifest: dict[str, Any]) -> str:
    return f", {manifest['queued']:,} addresses left in the queue" if manifest["queued"] else ""


def _counts(manifest: dict[str, Any]) -> str:
    rows = [("fetched", "", manifest["fetched"], "= kept + dropped + failed"), ("kept", "", manifest["kept"], "")]
    for group in ("dropped", "failed", "refused", "skipped", "listings"):
        rows += [(group, f"`{reason}`", n, meaning(reason)) for reason, n in manifest[group].items()]
    table = "\n".join(f"| {group} | {reason} | {n:,} | {words} |" for group, reason, n, words in rows)
    return f"""## Every page accounted for

| | reason | pages | |
|---|---|---:|---|
{table}

`refused` addresses were never asked for, `skipped` links never queued; neither is part of `fetched`.

## Sites

| site | fetched | kept | dropped | failed | words |
|---|---:|---:|---:|---:|---:|
{_sites(manifest)}

## Languages

{", ".join(f"{name}: {n:,}" for name, n in manifest["languages"].items()) or "none"}
"""


def _sites(manifest: dict[str, Any]) -> str:
    rows = manifest["sites"][:50]
    return "\n".join("| " + " | ".join([row["site"], *(f"{row[k]:,}" for k in ("fetched", "kept", "dropped", "failed", "words"))]) + " |" for row in rows)  # fmt: skip  # noqa: E501


def _lengths(manifest: dict[str, Any]) -> str:
    edges = [0, *EDGES]
    rows = [f"| {low:,}{f' to {high - 1:,}' if high else ' and more'} | {n:,} |" for low, high, n in zip(edges, [*EDGES, None], manifest["lengths"], strict=True)]  # fmt: skip  # noqa: E501
    return "## Lengths\n\n| words | documents |\n|---|---:|\n" + "\n".join(rows) + "\n"


def _samples(samples: dict[str, list[dict[str, str]]]) -> str:
    shown = []
    for sample in samples.get("kept", [])[:SAMPLES]:
        quote = "\n".join(f"> {line}" for line in sample["text"][:SAMPLE_TEXT].splitlines())
        shown.append(f"<{sample['url']}>\n\n{quote} ...\n")
    return "## Samples\n\n" + "\n".join(shown) if shown else ""


def _use() -> str:
    return """## Use

```
python run.py data=crawl data.path=FOLDER                       # split by site and document
python run.py data=text data.path='FOLDER/documents-*.jsonl'    # any JSONL reader will do: the column is `text`
```
"""


def _rights(manifest: dict[str, Any]) -> str:
    return """## Whose text this is

Being reachable is no licence. The texts belong to their authors; robots.txt was obeyed, which says what may be
fetched and nothing about what may be done with it. Before you share the corpus or a model trained on it, look at the
terms of the sites above, and at the law where you are. Personal data may remain even where masking was on. Remove
what somebody asks you to remove: `url` names the source of each document.
""" if manifest["settings"]["obey_robots"] else """## Whose text this is

Being reachable is no licence, and **robots.txt was not obeyed in this crawl** (crawl.obey_robots=false). The texts
belong to their authors. Look at the terms of the sites above, and at the law where you are, before you use or share
any of this.
"""  # fmt: skip


def _made(manifest: dict[str, Any]) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in manifest["versions"].items())
    settings = json.dumps(manifest["settings"], indent=1, ensure_ascii=False)
    details = f"<details><summary>settings</summary>\n\n```json\n{settings}\n```\n\n</details>"
    return f"## How it was made\n\n{versions}\n\n{details}\n"
