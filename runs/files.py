"""The files of a run folder, read as what they are: perhaps half written, damaged, or somebody else's."""

import csv
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

import strict_yaml
from strict_json import value_of

LARGEST = 1 << 26  # bytes; ours are far smaller


def is_run(folder: Path) -> bool:
    """A folder that a task has worked in; that of a sweep holds runs, and is none."""
    return (folder / ".hydra/config.yaml").is_file() or (
        (folder / "summary.json").is_file() and not (folder / "sweep.json").is_file()
    )


def plain_text(file: Path, most: int = LARGEST) -> str | None:
    """The text of a file of ours, None where there is none. Raises ValueError for no plain file, or too much."""
    if not os.path.lexists(file):
        return None
    if not file.is_file() or file.stat().st_size > most:
        raise ValueError(f"{file.name} is no plain file, or too large for one of ours")
    return file.read_text(encoding="utf-8")


def read_json(file: Path) -> dict[str, Any]:
    """{} where there is none. Raises OSError, or ValueError for what is no JSON object."""
    found = value_of(plain_text(file) or "{}")
    if not isinstance(found, dict):
        raise ValueError(f"{file.name} holds no keys")
    return found


def read_yaml(file: Path) -> dict[str, Any]:
    """{} where there is none. Raises OSError, or ValueError for what is no mapping."""
    found = _yaml(file) or {}
    if not isinstance(found, dict):
        raise ValueError(f"{file.name} holds no keys")
    return found


def typed_words(folder: Path) -> list[str]:
    """What was typed for a run, of .hydra/overrides.yaml; a record only, so a damaged one is as good as none."""
    try:
        found = _yaml(folder / ".hydra/overrides.yaml")
    except (OSError, ValueError):
        return []
    return [str(word) for word in found] if isinstance(found, list) else []


def _yaml(file: Path) -> Any:
    if not os.path.lexists(file):
        return None
    try:
        return strict_yaml.value_in(file)
    except ValueError as error:
        raise ValueError(f"{file.name} {error}") from None


def read_rows(file: Path) -> list[dict[str, float]]:
    """Rows of a CSV of numbers, without empty cells; a last row that was torn by a kill is left out."""
    if not file.is_file():
        return []
    rows: list[dict[str, float | None]] = []
    with file.open(newline="", encoding="utf-8", errors="replace") as lines, suppress(csv.Error):
        for row in csv.DictReader(lines):
            rows.append({key: _number(cell) for key, cell in row.items() if key and not isinstance(cell, list)})
    kept = [{key: value for key, value in row.items() if value is not None} for row in rows]
    return [row for row in kept if "step" in row]


def _number(cell: str | None) -> float | None:
    try:
        return float(cell) if cell else None
    except ValueError:
        return None
