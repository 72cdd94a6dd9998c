"""Is a run inside the curves to expect? docs/curves/NAME.yaml: of some seeds, by `python -m reports.expected`.

A run is compared with what was recorded under its own settings: every key of SECTIONS and of the trainer that decides a
curve. The seed is not one of them.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from runs.curves import curves
from runs.differences import flat
from runs.files import read_json, read_yaml

FOLDER = Path(__file__).parents[1] / "docs" / "curves"
SECTIONS = ("init_from", "model", "tokenizer", "data", "objective", "optimizer", "schedule", "adapter", "reward")
TRAINER = ("max_steps", "max_time", "val_every", "grad_clip", "accumulate", "tokens_per_step", "ema", "patience")
NOT_COMPARED = ("data.workers", "data.cache_dir", "objective.rows")  # where and how it is computed
SHOWN = 4


class Outside(NamedTuple):
    """A point of a run's curve that lies below or above its band."""

    metric: str
    step: int
    value: float
    low: float
    high: float


def compared(run: str | Path, *, summary: dict[str, Any] | None = None, folder: Path | None = None) -> str | None:
    """Whether a finished run is inside the curves that were recorded with its settings, in words; None: there are none.

    Bands are such that 19 of 20 runs with other seeds are inside at every point.

    Args:
        summary: what summary.json will hold, of a run that has not written it yet. folder: of the curves; None: FOLDER.
    """
    run = Path(run)
    known = _recorded_like(run, folder or FOLDER)
    if known is None:
        return None
    seen = points(run, list(known["curves"]), summary=summary)
    found = [*outside(seen, known["curves"])]
    n = sum(len(curve.keys() & seen.get(name, {}).keys()) for name, curve in known["curves"].items())
    if not n:
        return None
    of = f"the curves of {known['page']} ({known['runs']} seeds of {known['command']})"
    if not found:
        return f"curves  inside {of}, at all {n} points"
    told = [f"{o.metric} at step {o.step}: {o.value:.3f}, expected {o.low:.3f} to {o.high:.3f}" for o in found]
    more = [f"and {len(told) - SHOWN} more"] if len(told) > SHOWN else []
    return "\n  ".join([f"curves  outside {of}, at {len(found)} of {n} points:", *told[:SHOWN], *more])


def outside(seen: dict[str, dict[int, float]], bands: dict[str, dict[int, list[float]]]) -> Iterator[Outside]:
    """Points beyond their band. Args: seen: {metric: {step: value}}. bands: {metric: {step: [low, mean, high]}}."""
    for metric, curve in bands.items():
        for step, (low, _, high) in curve.items():
            value = seen.get(metric, {}).get(int(step))
            if value is not None and not low <= value <= high:
                yield Outside(metric, int(step), value, low, high)


def points(run: Path, metrics: list[str], *, summary: dict[str, Any] | None = None) -> dict[str, dict[int, float]]:
    """{metric: {step: value}} of a run, with held-out answers before the first update at step 0."""
    known = curves(run)
    found = {
        name: {int(step): value for step, value in zip(known[name]["step"], known[name]["value"], strict=True)}
        for name in metrics
        if name in known
    }
    before = _first_answers(run, summary)
    return {name: ({0: before[name]} if name in before else {}) | found[name] for name in found}


def settings(run: Path) -> dict[str, Any]:
    """What decides a run's curve but for chance, flat, out of its config."""
    config = read_yaml(run / ".hydra/config.yaml")
    kept = {name: config.get(name) for name in SECTIONS} | {"trainer": {k: config["trainer"].get(k) for k in TRAINER}}
    return {key: value for key, value in flat(kept).items() if key not in NOT_COMPARED}


def _recorded_like(run: Path, folder: Path) -> dict[str, Any] | None:
    try:
        own = settings(run)
    except (OSError, ValueError, KeyError, AttributeError, RecursionError, yaml.YAMLError):
        return None
    for file in sorted(folder.glob("*.yaml")):
        known = read_yaml(file)
        if all(own.get(key) == value for key, value in known["settings"].items()):
            return known
    return None


def _first_answers(run: Path, summary: dict[str, Any] | None) -> dict[str, float]:
    """Answers before the first update: drawn ones out of summary.json, the likeliest ones out of answers.json."""
    try:
        summary = read_json(run / "summary.json") if summary is None else summary
        before = (summary.get("held_out") or {}).get("before") or {}
        drawn = {f"val/{name}": float(value) for name, value in before.items()}
        greedy = (read_json(run / "answers.json").get("before") or {}).get("exact_match")
    except (OSError, ValueError, AttributeError, TypeError, RecursionError):
        return {}
    return drawn | ({"val/exact_match": float(greedy)} if greedy is not None else {})
