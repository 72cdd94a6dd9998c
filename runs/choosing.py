"""Which runs of a list are shown, and in which order: `model=moe status=finished val/loss<1.5`, `-value`."""

import re
import shlex
from collections.abc import Callable, Iterable
from datetime import datetime
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from errors import RequestError
from runs.files import read_yaml, typed_words
from runs.listing import Listed

COLUMNS = tuple(name for name in Listed.__dataclass_fields__ if name not in ("metrics", "overrides"))
OTHER_NAMES = {"size": "bytes", "name": "path", "folder": "path", "run": "path"}
UNITS = {"k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12}
_CONDITION = re.compile(r"([\w./@-]+?)(!=|<=|>=|=|<|>)(.*)", re.S)
_SIZE = re.compile(r"([\d.]+)\s*([kMGT])(?:B)?")
_ORDER: dict[str, Callable[[float, float], bool]] = {
    "<": lambda a, b: a < b,
    ">": lambda a, b: a > b,
    "<=": lambda a, b: a <= b,
    ">=": lambda a, b: a >= b,
}


def chosen(runs: Iterable[Listed], where: str | None) -> list[Listed]:
    """The runs for which every word of `where` is true; a word is a name, one of = != < > <= >=, and a value.

    Names are columns, metrics, and keys of the config. A value may hold `*`; several, with commas between them, stand
    for any of them. A run that does not know a name fits no word about it but !=.

    Raises:
        RequestError: a word is no condition, or no run knows its name.
    """
    runs = list(runs)
    conditions = [_condition(word) for word in _words(where)]
    for name, sign, value in sorted(conditions, key=lambda c: _reads_config(c[0], runs)):  # the slow ones last
        known = [(run, value_of(run, name)) for run in runs]
        if runs and all(found is None for _, found in known) and name not in COLUMNS:
            raise _unknown(name, runs, f"runs.where={where}")
        runs = [run for run, found in known if _holds(name, found, sign, value)]
    return runs


def ordered(runs: Iterable[Listed], by: str) -> list[Listed]:
    """Sorted by a column, a metric or a key, the largest first with `-` before it; those without it come last.

    Raises:
        RequestError: no run knows the name.
    """
    runs, name = list(runs), by.removeprefix("-")
    found = [(value_of(run, name), run) for run in runs]
    known = [pair for pair in found if pair[0] is not None]
    if runs and not known and OTHER_NAMES.get(name, name) not in COLUMNS:
        raise _unknown(name, runs, f"runs.sort={by}")
    known.sort(key=lambda pair: _sortable(pair[0]), reverse=by.startswith("-"))
    return [run for _, run in known] + [run for value, run in found if value is None]


def value_of(run: Listed, name: str) -> Any:
    """A column, a metric, or what a key of its config is set to; None where it has none."""
    name = OTHER_NAMES.get(name, name)
    if name in COLUMNS:
        return getattr(run, name)
    if name in run.metrics:
        return run.metrics[name]
    words = run.overrides or typed_words(Path(run.path))
    typed = dict(word.lstrip("+~").split("=", 1) for word in words if "=" in word)
    return typed[name] if name in typed else _in_config(run, name)


def _in_config(run: Listed, name: str) -> Any:
    """Of .hydra/config.yaml, which takes a while to read."""
    try:
        value: Any = read_yaml(Path(run.path) / ".hydra/config.yaml") if "/" not in name else None
    except (OSError, ValueError):
        return None
    for part in name.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return None if isinstance(value, dict) else value


def _reads_config(name: str, runs: Iterable[Listed]) -> bool:
    return OTHER_NAMES.get(name, name) not in COLUMNS and not any(name in run.metrics for run in runs)


def _words(where: str | None) -> list[str]:
    try:
        return shlex.split(where or "")
    except ValueError as error:
        raise RequestError(f"runs.where={where}: {str(error).lower()}.") from None


def _condition(word: str) -> tuple[str, str, str]:
    found = _CONDITION.fullmatch(word)
    if found is None or not found[3]:
        raise RequestError(
            f"runs.where: {word!r} is no condition. Expected name=value, or one of != < > <= >= between them.\n"
            "Type runs.where='model=moe status=finished', or runs.where='val/loss<1.5 time>2026-01-31'."
        )
    return found[1], found[2], found[3]


def _holds(name: str, found: Any, sign: str, value: str) -> bool:
    if sign in _ORDER:
        bound = _number(name, value)
        number = found if isinstance(found, int | float) else _as_number(found)
        return number is not None and _ORDER[sign](number, bound)
    same = any(_equal(name, found, part) for part in value.split(","))
    return same == (sign == "=")


def _equal(name: str, found: Any, value: str) -> bool:
    if found is None:
        return value == "null"
    if name == "time":
        return datetime.fromtimestamp(found).isoformat(" ", "minutes").startswith(value)
    if isinstance(found, bool):
        return value == str(found).lower()
    if isinstance(found, int | float) and (number := _as_number(value)) is not None:
        return found == number
    return fnmatchcase(str(found), value) or ((number := _as_number(value)) is not None and number == _as_number(found))


def _number(name: str, value: str) -> float:
    """The bound of < and >: a number, a size such as 100MB, for `time` a date. Raises RequestError."""
    if name == "time":
        try:
            return datetime.fromisoformat(value).timestamp()
        except ValueError:
            raise RequestError(
                f"runs.where: time is compared with a date, 2026-01-31 or 2026-01-31T18:00, not {value}."
            ) from None
    size = _SIZE.fullmatch(value)
    number = _as_number(value) if size is None else _as_number(size[1])
    if number is None:
        raise RequestError(f"runs.where: {name} is compared with a number, not {value!r}.")
    return number * (UNITS[size[2]] if size else 1.0)


def _as_number(text: Any) -> float | None:
    try:
        return float(text)
    except (TypeError, ValueError):
        return None


def _sortable(value: Any) -> tuple[int, float, str]:
    number = _as_number(value)
    return (1, 0.0, str(value)) if number is None else (0, number, "")


def _unknown(name: str, runs: list[Listed], asked: str) -> RequestError:
    metrics = sorted({metric for run in runs for metric in run.metrics})
    return RequestError(
        f"{asked}: no run has {name}.\nThere are the columns {', '.join(COLUMNS)};\n"
        f"the metrics {', '.join(metrics) or '(none)'}; and every key of a run's config, such as optimizer.lr."
    )
