"""Cases to read: groups of them, each case closed to one line and opened by a click."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence
from typing import NamedTuple


class Case(NamedTuple):
    """`head`: its one line. `parts`: (name, text) below each other, as written."""

    head: str
    parts: Sequence[tuple[str, str]]


def cases(found: Iterable[Case], *, opened: int = 1) -> str:
    """The first `opened` of them stand open."""
    return "".join(_case(case, is_open=i < opened) for i, case in enumerate(found))


def _case(case: Case, *, is_open: bool) -> str:
    parts = "".join(
        f"<div><h3>{html.escape(name)}</h3><pre>{html.escape(text)}</pre></div>" for name, text in case.parts
    )
    flag = " open" if is_open else ""
    return (
        f'<details class="run case"{flag}><summary>{html.escape(case.head)}</summary>'
        f'<div class="columns">{parts}</div></details>'
    )
