"""Two or more runs side by side: what differs in config, versions and data, and their metrics with intervals."""

from pathlib import Path
from typing import Any, NamedTuple

from errors import RequestError
from runs.files import read_json, read_yaml
from runs.listing import list_runs

# where a run lies, which says nothing about what it is
NOT_COMPARED = ("run_dir", "resume", "rerun")
RECORDED = (
    *("git_commit", "code_fingerprint", "data_fingerprint", "tokenizer_fingerprint"),
    *("status", "step", "tokens_seen", "wall_seconds", "tokens_per_second", "peak_memory_bytes"),
)


class Value(NamedTuple):
    """A number of one run; bounds of its 95 % interval where somebody has measured one."""

    value: float
    low: float | None = None
    high: float | None = None


class Compared(NamedTuple):
    """Rows with one cell for each run, in their order; a cell is None where a run has nothing under that name."""

    config: dict[str, list[Any]]
    surroundings: dict[str, list[Any]]  # versions, code, data, tokenizer, steps, time
    metrics: dict[str, list[Value | None]]


def compare(folders: list[Path], *, among: str | Path | None = None) -> Compared:
    """What is the same in all is left out, but for metrics.

    Args:
        among: a folder of runs, in which evaluations of these are looked for: they hold intervals.

    Raises:
        RequestError: a run cannot be read.
    """
    summaries = [_read(folder) for folder in folders]
    configs = [flat(config) for _, config in summaries]
    kept = [{k: v for k, v in config.items() if k.split(".")[0] not in NOT_COMPARED} for config in configs]
    around = [
        {key: summary.get(key) for key in RECORDED if summary.get(key) is not None}
        | flat({"versions": summary.get("versions") or {}})
        for summary, _ in summaries
    ]
    measured = [_metrics(folder, summary) for folder, (summary, _) in zip(folders, summaries, strict=True)]
    if among is not None:
        for of_run, found in zip(measured, intervals_of(folders, among), strict=True):
            of_run |= found
    names = dict.fromkeys(name for of_run in measured for name in of_run)
    return Compared(
        _differing(kept), _differing(around), {name: [of_run.get(name) for of_run in measured] for name in names}
    )


def flat(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """{"model.n_layer": 4, ...}"""
    found: dict[str, Any] = {}
    for key, value in tree.items():
        inner = isinstance(value, dict) and value
        found |= flat(value, f"{prefix}{key}.") if inner else {f"{prefix}{key}": value}
    return found


def intervals_of(folders: list[Path], among: str | Path) -> list[dict[str, Value]]:
    """Of each run, what the newest evaluation of one of its checkpoints on its own data has found."""
    found: list[dict[str, Value]] = [{} for _ in folders]
    places = [folder.resolve() for folder in folders]
    for run in reversed(list_runs(among, sizes=False)):  # the newest overwrites
        if run.task != "evaluate":
            continue
        try:
            evaluation = read_json(Path(run.path) / "evaluation.json")
        except (OSError, ValueError):
            continue
        checkpoint = evaluation.get("checkpoint")
        for place, of_run in zip(places, found, strict=True):
            if isinstance(checkpoint, str) and place in (inside := Path(checkpoint).resolve(), *inside.parents):
                of_run |= {f"{name} (evaluated)": value for name, value in _estimates(evaluation).items()}
    return found


def _metrics(folder: Path, summary: dict[str, Any]) -> dict[str, Value]:
    """The run's last metrics, with the intervals of evaluation.json where it is an evaluation."""
    metrics = summary.get("metrics")
    numbers = {k: v for k, v in metrics.items() if isinstance(v, int | float)} if isinstance(metrics, dict) else {}
    try:
        estimates = _estimates(read_json(folder / "evaluation.json"))
    except (OSError, ValueError):
        estimates = {}
    leaves = {name: estimates.get(name.split("/", 1)[-1]) or estimates.get(name.rsplit("/", 1)[-1]) for name in numbers}
    return {name: leaves[name] or Value(number) for name, number in numbers.items()}


def _estimates(evaluation: dict[str, Any]) -> dict[str, Value]:
    rows = {name: row for name, row in evaluation.items() if isinstance(row, dict) and "value" in row}
    return {name: Value(row["value"], row.get("low"), row.get("high")) for name, row in rows.items()}


def _differing(rows: list[dict[str, Any]]) -> dict[str, list[Any]]:
    names = dict.fromkeys(name for row in rows for name in row)
    table = {name: [row.get(name) for row in rows] for name in names}
    return {name: cells for name, cells in table.items() if any(cell != cells[0] for cell in cells)}


def _read(folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    try:
        return read_json(folder / "summary.json"), read_yaml(folder / ".hydra/config.yaml")
    except (OSError, ValueError) as error:
        why = (str(error) or type(error).__name__).splitlines()[0]
        raise RequestError(f"{folder} is damaged, and cannot be compared: {why[:200]}") from None
