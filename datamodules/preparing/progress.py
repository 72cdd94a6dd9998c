"""How far the writing of token files got, on disk twice a second: what a killed process leaves to the next one."""

from __future__ import annotations

import json
import logging
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from datamodules.preparing import encoding
from datamodules.preparing.encoding import EncodedPart
from strict_json import object_in

log = logging.getLogger(__name__)
PROGRESS = "progress.json"


@dataclass(frozen=True)
class Progress:
    """`parts` are written; `positions` of the two writers. True for this `split` and parts of `part_bytes` only."""

    split: str
    parts: int = 0
    positions: dict[str, dict[str, int]] = field(default_factory=dict)
    checked_bytes: int = 0
    lost_bytes: int = 0
    part_bytes: int = field(default_factory=lambda: encoding.PART_BYTES)

    @classmethod
    def load(cls, folder: Path, split: str) -> Progress:
        """What `folder` tells, or the beginning."""
        try:
            found = cls(**object_in(folder / PROGRESS))
        except (OSError, ValueError, TypeError):
            return cls(split)
        if (found.split, found.part_bytes) != (split, encoding.PART_BYTES):
            return cls(split)
        log.info("going on in %s after %d parts", folder, found.parts)
        return found

    def add(self, part: EncodedPart, positions: dict[str, dict[str, int]]) -> Progress:
        return replace(
            self,
            parts=self.parts + 1,
            positions=positions,
            checked_bytes=self.checked_bytes + part.checked_bytes,
            lost_bytes=self.lost_bytes + part.lost_bytes,
        )

    def save(self, folder: Path) -> None:
        fresh = folder / f"{PROGRESS}.new"
        fresh.write_text(json.dumps(asdict(self)))
        fresh.replace(folder / PROGRESS)
