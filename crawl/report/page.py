"""report.html: one page to look at, with everything in it (no script, no network).

Where the pages went, how long the documents are, which sites. Below: kept and dropped texts side by side, because
whether a filter is right can only be seen in what it drops.
"""

from itertools import pairwise, zip_longest
from typing import Any

from markupsafe import Markup

from crawl.report.words import EDGES, meaning
from inspection.charts import bars
from inspection.page import Page, fragment, table

LEAD = """<p>from {{ starts|join(", ") }}<br>{{ m.started_at }} to {{ m.ended_at }}, {{ m.status }}
{%- if m.stopped_by %} ({{ m.stopped_by }}){% endif %};
{{ "{:,.1f}".format(m.bytes / 1e6) }} MB received; {{ "{:,}".format(m.queued) }} addresses left in the queue</p>"""
FUNNEL = """{% for kind, name, n, words in rows %}<div class="row">
<span>{% if kind == name %}<b>{{ name }}</b>{% else %}<small>{{ kind }}</small> {{ name }}{% endif %}</span>
<span class="n">{{ "{:,}".format(n) }}</span>
<span><div class="bar {{ kind }}" style="width:{{ "%.2f"|format(100 * n / most) }}%"></div>
<small>{{ words }}</small></span></div>
{% endfor %}"""
PAIRS = """<div class="pair heads"><h3>Kept, at random</h3><h3>Dropped, at random</h3></div>
{% for pair in pairs %}<div class="pair">{% for reason, sample in pair %}
{% if sample %}<article{% if reason %} class="out"{% endif %}><h3>{{ sample.title or "(no title)" }}</h3>
<small>{% if reason %}<b>{{ reason }}</b> {% endif %}
<a href="{{ sample.url }}" rel="noreferrer">{{ sample.url }}</a></small><pre>{{ sample.text }}</pre></article>
{% else %}<div></div>{% endif %}{% endfor %}</div>
{% else %}<p class="note">Nothing to show.</p>{% endfor %}"""


def text(manifest: dict[str, Any], samples: dict[str, list[dict[str, str]]]) -> str:
    """The whole page."""
    settings = manifest["settings"]
    starts = settings["start_urls"] or settings["warc_files"] or [settings["urls_file"]]
    title = f"Crawl: {manifest['kept']:,} documents, {manifest['words']:,} words"
    page = Page(title, lead=fragment(LEAD, m=manifest, starts=starts))
    page.add("Where the pages went", _funnel(manifest))
    page.add("Lengths of kept documents", _histogram(manifest["lengths"]))
    names = ["site", "fetched", "kept", "dropped", "failed", "words"]
    page.add("Sites", table(names, [[row[name] for name in names] for row in manifest["sites"][:100]]))
    beside = [
        (group, reason, n, meaning(reason))
        for group in ("refused", "skipped", "listings")
        for reason, n in manifest[group].items()
    ]
    if beside:
        page.add("Never asked for, and lists", table([], beside))
    page.add("Kept (green) and dropped, at random", _pairs(samples))
    return page.html()


def _funnel(manifest: dict[str, Any]) -> Markup:
    rows = [("fetched", "fetched", manifest["fetched"], "every address that was asked for")]
    rows += [(kind, why, n, meaning(why)) for kind in ("dropped", "failed") for why, n in manifest[kind].items()]
    rows += [("kept", "kept", manifest["kept"], "in the corpus")]
    return fragment(FUNNEL, rows=rows, most=max(manifest["fetched"], 1))


def _histogram(lengths: list[int]) -> Markup:
    names = [f"below {EDGES[0]}", *(f"{low:,} to {high - 1:,}" for low, high in pairwise(EDGES)), f"{EDGES[-1]:,} on"]
    return bars(names, {"documents": lengths}, unit="words in a document: number of documents")


def _pairs(samples: dict[str, list[dict[str, str]]]) -> Markup:
    kept = [("", sample) for sample in samples.get("kept", [])]
    dropped = [(reason, sample) for reason in sorted(samples.keys() - {"kept"}) for sample in samples[reason]]
    return fragment(PAIRS, pairs=list(zip_longest(kept, dropped, fillvalue=("", None))))
