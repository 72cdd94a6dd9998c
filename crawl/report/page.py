"""report.html: one page to look at, with everything in it (no script, no network).

Left: where the pages went, how long the documents are, which sites. Below: kept and dropped texts side by side,
because whether a filter is right can only be seen in what it drops.
"""

from html import escape
from itertools import zip_longest
from typing import Any

from crawl.report.words import EDGES, meaning

STYLE = """
:root { --ink: #1c2430; --soft: #66707d; --line: #dfe3e8; --ground: #fbfbf9;
  --kept: #2f7d5b; --dropped: #c8862b; --failed: #b3453c }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e4e7eb; --soft: #9aa4b0; --line: #333b45; --ground: #15191e;
    --kept: #56b389; --dropped: #dfa650; --failed: #e07b72 } }
body { margin: 0 auto; max-width: 72rem; padding: 2rem 1.25rem 5rem; color: var(--ink); background: var(--ground);
  font: 15px/1.5 system-ui, sans-serif }
h1 { font-size: 1.7rem; margin: 0 0 .25rem }
h2 { font-size: 1.15rem; margin: 2.5rem 0 .75rem }
a { color: inherit }
p.sub { color: var(--soft); margin: 0 0 1rem }
table { border-collapse: collapse; width: 100% }
td, th { padding: .25rem .5rem; text-align: left; border-bottom: 1px solid var(--line) }
th { color: var(--soft); font-weight: 500 }
td.n, th.n, .row span.n { text-align: right; font-variant-numeric: tabular-nums }
.row { display: grid; grid-template-columns: 13rem 5rem 1fr; gap: .75rem; align-items: center; padding: .15rem 0 }
.row small { color: var(--soft) }
.bar { height: 1.1rem; border-radius: 2px; min-width: 1px }
.kept { background: var(--kept) }
.dropped { background: var(--dropped) }
.failed { background: var(--failed) }
.fetched { background: var(--soft) }
.columns { display: flex; align-items: flex-end; gap: .4rem; height: 11rem; border-bottom: 1px solid var(--line) }
.columns div { flex: 1; height: 100%; text-align: center; font-size: .8rem;
  display: flex; flex-direction: column; justify-content: flex-end }
.labels { display: flex; gap: .4rem; color: var(--soft); font-size: .8rem }
.labels span { flex: 1; text-align: center }
.pair { display: grid; grid-template-columns: 1fr 1fr; gap: 1rem }
.pair > * { min-width: 0 }
.scroll { overflow-x: auto }
.narrow { display: none }
article { border: 1px solid var(--line); border-top: 3px solid var(--kept); padding: .6rem .8rem;
  margin-bottom: 1rem; overflow-wrap: anywhere }
article.out { border-top-color: var(--dropped) }
article h3 { margin: 0; font-size: .95rem }
article small { color: var(--soft) }
article pre { white-space: pre-wrap; max-height: 16rem; overflow: auto; margin: .5rem 0 0;
  font: .82rem/1.45 ui-monospace, monospace }
@media (max-width: 48rem) {
  .heads { display: none }
  .narrow { display: block }
  .pair { grid-template-columns: 1fr }
  .row { grid-template-columns: 9rem 3.5rem 1fr }
  .columns, .labels { gap: .15rem }
  .labels { font-size: .55rem } }
"""


def text(manifest: dict[str, Any], samples: dict[str, list[dict[str, str]]]) -> str:
    """The whole page."""
    body = "\n".join([_head(manifest), _funnel(manifest), _histogram(manifest["lengths"]), _sites(manifest["sites"]), _beside(manifest), _pairs(samples)])  # fmt: skip  # noqa: E501
    title = f"Crawl: {manifest['kept']:,} documents"
    meta = '<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'
    head = f"<head>{meta}<title>{title}</title><style>{STYLE}</style></head>"
    return f"<!doctype html>\n<html lang=en>{head}\n<body>\n{body}\n</body></html>\n"


def _head(manifest: dict[str, Any]) -> str:
    starts = (
        manifest["settings"]["start_urls"] or manifest["settings"]["warc_files"] or [manifest["settings"]["urls_file"]]
    )
    status = manifest["status"] + (f" ({manifest['stopped_by']})" if manifest["stopped_by"] else "")
    return f"""<h1>{manifest["kept"]:,} documents, {manifest["words"]:,} words</h1>
<p class=sub>from {escape(", ".join(starts))}<br>{escape(manifest["started_at"])} to {escape(manifest["ended_at"])},
{escape(status)}; {manifest["bytes"] / 1e6:,.1f} MB received; {manifest["queued"]:,} addresses left in the queue</p>"""


def _funnel(manifest: dict[str, Any]) -> str:
    rows = [("fetched", "fetched", manifest["fetched"], "every address that was asked for")]
    rows += [("dropped", reason, n, meaning(reason)) for reason, n in manifest["dropped"].items()]
    rows += [("failed", reason, n, meaning(reason)) for reason, n in manifest["failed"].items()]
    rows += [("kept", "kept", manifest["kept"], "in the corpus")]
    most = max(manifest["fetched"], 1)
    lines = [_row(kind, name, n, words, 100 * n / most) for kind, name, n, words in rows]
    return f"<h2>Where the pages went</h2>\n{''.join(lines)}"


def _row(kind: str, name: str, n: int, words: str, share: float) -> str:
    label = f"<small>{kind}</small> {escape(name)}" if kind != name else f"<b>{escape(name)}</b>"
    bar = f'<div class="bar {kind}" style="width:{share:.2f}%"></div><small>{escape(words)}</small>'
    return f"<div class=row><span>{label}</span><span class=n>{n:,}</span><span>{bar}</span></div>\n"


def _histogram(lengths: list[int]) -> str:
    most = max([*lengths, 1])
    columns = "".join(
        f'<div>{n:,}<span class="bar kept" style="height:{85 * n / most:.1f}%"></span></div>' for n in lengths
    )
    names = [f"<{EDGES[0]}", *(f"{low:,}+" for low in EDGES)]
    labels = "".join(f"<span>{escape(name)}</span>" for name in names)
    bars = f"<div class=columns>{columns}</div><div class=labels>{labels}</div>"
    return f"<h2>Lengths of kept documents, in words</h2>\n{bars}"


def _sites(sites: list[dict[str, Any]]) -> str:
    names = ("fetched", "kept", "dropped", "failed", "words")
    head = "<tr><th>site</th>" + "".join(f"<th class=n>{name}</th>" for name in names) + "</tr>"
    rows = "".join("<tr><td>" + escape(row["site"]) + "</td>" + "".join(f"<td class=n>{row[name]:,}</td>" for name in names) + "</tr>" for row in sites[:100])  # fmt: skip  # noqa: E501
    return f"<h2>Sites</h2>\n<div class=scroll><table>{head}{rows}</table></div>"


def _beside(manifest: dict[str, Any]) -> str:
    rows = [(group, reason, n) for group in ("refused", "skipped", "listings") for reason, n in manifest[group].items()]
    if not rows:
        return ""
    lines = "".join(f"<tr><td>{group}</td><td>{escape(reason)}</td><td class=n>{n:,}</td><td>{escape(meaning(reason))}</td></tr>" for group, reason, n in rows)  # fmt: skip  # noqa: E501
    return f"<h2>Never asked for, and lists</h2>\n<div class=scroll><table>{lines}</table></div>"


def _pairs(samples: dict[str, list[dict[str, str]]]) -> str:
    kept = [_sample(sample, "kept") for sample in samples.get("kept", [])]
    dropped = [
        _sample(sample, reason) for reason, chosen in sorted(samples.items()) if reason != "kept" for sample in chosen
    ]
    pairs = "".join(
        f"<div class=pair>{left}{right}</div>\n" for left, right in zip_longest(kept, dropped, fillvalue="<div></div>")
    )
    head = "<div class='pair heads'><h2>Kept, at random</h2><h2>Dropped, at random</h2></div>"
    head += "<h2 class=narrow>Kept (green) and dropped, at random</h2>"
    return head + (pairs or "<p class=sub>Nothing to show.</p>")


def _sample(sample: dict[str, str], reason: str) -> str:
    out = "" if reason == "kept" else " class=out"
    label = "" if reason == "kept" else f"<b>{escape(reason)}</b> "
    url = escape(sample["url"], quote=True)
    return f"""<article{out}><h3>{escape(sample["title"] or "(no title)")}</h3>
<small>{label}<a href="{url}" rel="noreferrer">{url}</a></small><pre>{escape(sample["text"])}</pre></article>"""
