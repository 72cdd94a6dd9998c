"""The runs under a folder, newest first, each with what there is to know about it at a glance.

A list of a thousand is to take well under a second: of each run one small JSON file is read, and no YAML is parsed.
"""

import math
import os
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from runs.files import is_run, plain_text, read_json

OUTPUTS = "outputs"
DEPTH = 5  # outputs/sweeps/<date>/<sweep>/<job>
NAMES = ("task", "model", "objective", "data", "tokenizer")
# where a run has several: by which it is judged, the first that it has
MAIN_METRICS = ("val/bpb", "val/exact_match", "val/mean_reward", "val/accuracy", "val/loss")
_CHOICES = re.compile(r"^( +)choices:\n((?:\1 +.*\n)*)", re.M)


@dataclass(frozen=True)
class Listed:
    """One run. What is not known is None: a run that was killed, or still goes, has no summary.json.

    `time` is when it was started or last resumed, in seconds since 1970; `seconds` how long it took; `bytes` what it
    takes on disk (None where that was not asked); `metric` names the one it is judged by, and `value` is its last.
    """

    path: str
    status: str  # finished, failed, interrupted; unfinished: still going, or killed; damaged: cannot be read
    time: float
    task: str | None = None
    model: str | None = None
    objective: str | None = None
    data: str | None = None
    tokenizer: str | None = None
    seed: int | None = None
    step: int | None = None
    tokens: int | None = None
    seconds: float | None = None
    metric: str | None = None
    value: float | None = None
    metrics: dict[str, float] = field(default_factory=dict)
    parameters: int | None = None
    overrides: list[str] = field(default_factory=list)
    error: str | None = None
    bytes: int | None = None

    def as_dict(self) -> dict[str, Any]:
        """Plain Python data, as JSON takes it."""
        return asdict(self)


def list_runs(root: str | Path = OUTPUTS, *, sizes: bool = True) -> list[Listed]:
    """The runs below a folder, newest first; empty where there is none. `sizes`: also count what they take on disk."""
    return sorted((read(folder, sizes=sizes) for folder in folders_of_runs(root)), key=_newest_first)


def folders_of_runs(root: str | Path = OUTPUTS) -> list[Path]:
    """`root` itself where it is a run, else the run folders at most DEPTH levels below it."""
    root = Path(root).expanduser()
    if not root.is_dir():
        return []
    return [root] if is_run(root) else list(_below(root, DEPTH))


def _below(folder: Path, depth: int) -> Iterator[Path]:
    try:
        inner = [entry for entry in os.scandir(folder) if entry.is_dir() and not entry.name.startswith(".")]
    except OSError:
        return  # not for us, or gone meanwhile
    for entry in sorted(inner, key=lambda entry: entry.name):
        path = Path(entry.path)
        if is_run(path):
            yield path
        elif depth > 1 and not entry.is_symlink():
            yield from _below(path, depth - 1)


def read(folder: str | Path, *, sizes: bool = True) -> Listed:
    """What is known of one run. Never raises: what cannot be read is listed as damaged, with the reason."""
    folder = Path(folder)
    known: dict[str, Any] = {"path": str(folder), "time": started(folder)}
    if sizes:
        known["bytes"] = bytes_of(folder)
    try:
        summary = read_json(folder / "summary.json")
        names = summary or _choices(folder)
    except (OSError, ValueError) as error:
        return Listed(**known, status="damaged", error=(str(error) or type(error).__name__).splitlines()[0][:200])
    known |= {name: _text(names, name) for name in NAMES}
    metrics = {k: v for k, v in _dict(summary, "metrics").items() if _is_number(v)}
    metric = main_metric(metrics)
    return Listed(
        **known,
        status=_text(summary, "status") or "unfinished",
        seed=_number(summary, "seed"),
        step=_number(summary, "step"),
        tokens=_number(summary, "tokens_seen"),
        seconds=_number(summary, "wall_seconds"),
        metric=metric,
        value=None if metric is None else metrics[metric],
        metrics=metrics,
        parameters=_number(_dict(summary, "parameters"), "total"),
        overrides=[str(word) for word in words] if isinstance(words := summary.get("overrides"), list) else [],
        error=_text(summary, "error"),
    )


def main_metric(metrics: dict[str, float]) -> str | None:
    """By which a run is judged: bits per byte, else what it has; what it measured on held-out data before the rest."""
    held_out = [name for name in metrics if name.startswith(("val/", "test/"))]
    return next((name for name in (*MAIN_METRICS, *held_out, *metrics) if name in metrics), None)


def started(folder: Path) -> float:
    """When its config was written, by its start or by the last resume."""
    for name in (".hydra/config.yaml", "summary.json", "."):
        try:
            return (folder / name).stat().st_mtime
        except OSError:
            continue
    return 0.0


def bytes_of(folder: str | Path) -> int:
    """What its files take on disk; a link counts for itself, not for where it leads."""
    total, waiting = 0, [str(folder)]
    while waiting:
        try:
            with os.scandir(waiting.pop()) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(entry.path)
                    else:
                        total += entry.stat(follow_symlinks=False).st_size
        except OSError:
            continue  # removed meanwhile
    return total


def _newest_first(run: Listed) -> tuple[float, str]:
    return -run.time, run.path


def _choices(folder: Path) -> dict[str, str]:
    """The options of a run without a summary, out of .hydra/hydra.yaml, which we wrote: a mapping of plain lines."""
    found = _CHOICES.search(plain_text(folder / ".hydra/hydra.yaml", 1 << 22) or "")
    pairs = (line.strip().partition(": ") for line in found[2].splitlines()) if found else ()
    return {key: value.strip("'\"") for key, _, value in pairs if value not in ("", "null")}


def _dict(summary: dict[str, Any], key: str) -> dict[str, Any]:
    found = summary.get(key)
    return found if isinstance(found, dict) else {}


def _text(summary: dict[str, Any], key: str) -> str | None:
    found = summary.get(key)
    return found if isinstance(found, str) else None


def _number(summary: dict[str, Any], key: str) -> Any:
    found = summary.get(key)
    return found if _is_number(found) else None


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
