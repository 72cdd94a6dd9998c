"""Cases to read: groups of them, each case closed to one line and opened by a click."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from markupsafe import Markup

from inspection.page import fragment

CASES = """{% for case in cases %}
<details class="run case"{% if loop.index <= opened %} open{% endif %}><summary>{{ case.head }}</summary>
<div class="columns">{% for name, text in case.parts %}<div><h3>{{ name }}</h3><pre>{{ text }}</pre></div>
{% endfor %}</div></details>
{% endfor %}"""


class Case(NamedTuple):
    """`head`: its one line. `parts`: (name, text) below each other, as written."""

    head: str
    parts: Sequence[tuple[str, str]]


def cases(found: Iterable[Case], *, opened: int = 1) -> Markup:
    """The first `opened` of them stand open."""
    return fragment(CASES, cases=found, opened=opened)
