"""Square maps as small multiples: numbers in the page, drawn by maps.js; one of them large, with the text beside it.

A map's numbers come as bytes, row by row, of T x T places: 255 sqrt(w) for weights from 0 to 1, or 127.5 (1 + c) for
values from -1 to 1 (`signed`).
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Maps:
    """`labels`: one a place, the text of its token. `verb`: what a row does with a column, which `rows` and `columns`
    name on the axes."""

    labels: Sequence[str]
    verb: str
    rows: str = "position"
    columns: str = "position"
    signed: bool = False
    maps: list[dict[str, str]] = field(default_factory=list)

    def add(self, group: str, title: str, data: bytes) -> None:
        """Maps of one group stand in one row. Raises ValueError where there are not T x T numbers."""
        if len(data) != len(self.labels) ** 2:
            raise ValueError(f"{title}: {len(data)} numbers for {len(self.labels)} places")
        self.maps.append({"g": group, "t": title, "d": base64.b64encode(data).decode()})

    def packed(self) -> dict[str, Any]:
        axes = {"verb": self.verb, "rows": self.rows, "columns": self.columns}
        return {"labels": list(self.labels), "signed": self.signed, "maps": self.maps} | axes
