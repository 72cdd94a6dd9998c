"""task=runs: what is under outputs/, newest first; two runs side by side; old ones removed. Writes nothing."""

import math
import shlex
from collections.abc import Iterable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, TypedDict

from omegaconf import DictConfig, OmegaConf

from bounds import PositiveInt
from errors import RequestError
from launcher.jobs.run_folder import RunFolder
from runs import removing
from runs.choosing import chosen, ordered, value_of
from runs.differences import Compared, Value, compare
from runs.listing import Listed, list_runs
from runs.naming import run_named

# of the keys and sections that every config has (launcher/config/reads.py)
READS = ()

LISTED = "listed"
OF_THE_LIST = {"sort": "-time", "most": 40}  # as conf/task/runs.yaml has them


class Runs(TypedDict):
    """The section `runs`."""

    of: str
    where: str | None
    sort: str
    most: PositiveInt | None
    compare: list[str] | str | None
    delete: list[str] | str | None
    confirm: bool


def runs(cfg: DictConfig, run: RunFolder) -> None:
    """Prints a list, a comparison, or what is removed."""
    asked = cfg.runs
    if not Path(asked.of).expanduser().is_dir():
        raise RequestError(f"runs.of={asked.of}: there is no such folder. The first run makes outputs/.")
    if asked.compare and asked.delete:
        raise RequestError("runs.compare and runs.delete are two requests: give one of them.")
    if asked.confirm and not asked.delete:
        raise RequestError("runs.confirm=true confirms a removal, and runs.delete says of which runs: it is missing.")
    check_of_the_list(asked)
    if asked.compare:
        if asked.where:
            raise RequestError("runs.where chooses runs to list; runs.compare names them: leave one of them out.")
        print(comparison(named(asked.compare, asked.of), among=asked.of))
    elif asked.delete:
        delete(to_delete(asked), confirmed=asked.confirm)
    else:
        print(listing(asked))


def check_of_the_list(asked: DictConfig) -> None:
    """Raises RequestError for a key that is for the list, where none is shown: all named runs are compared or go."""
    instead = next((name for name in ("compare", "delete") if asked[name]), None)
    given = next((name for name, usual in OF_THE_LIST.items() if asked[name] != usual), None)
    if instead and given:
        raise RequestError(
            f"runs.{given}={asked[given]} is for the list, and changes nothing of runs.{instead}.\n"
            f"Leave it out, or leave runs.{instead} out."
        )


# ---- the list --------------------------------------------------------------------------------------------------------


def listing(asked: DictConfig) -> str:
    """The table, and how many runs it leaves out."""
    every = list_runs(asked.of)
    found = ordered(chosen(every, asked.where), asked.sort)
    shown = found[: asked.most]
    if not shown:
        return f"No run is under {asked.of}." if not every else f"None of {len(every):,} runs fits {asked.where}."
    trained = [run.path for run in every if run.task == "fit"]
    numbers = {path: f"last-{i}".removesuffix("-0") for i, path in enumerate(trained)}
    by = asked.sort.removeprefix("-")
    lines = [columns([row(r, name=numbers.get(r.path, ""), by=by) for r in shown])]
    left = f", {len(found) - len(shown):,} not shown: runs.most=null" if len(found) > len(shown) else ""
    total = sum(r.bytes or 0 for r in found)
    lines.append(f"\n{len(found):,} of {len(every):,} runs under {asked.of}, {size(total)}{left}")
    return "\n".join(lines)


def row(run: Listed, *, name: str, by: str) -> dict[str, str]:
    cells = {
        "run": name,
        "started": f"{datetime.fromtimestamp(run.time):%Y-%m-%d %H:%M}",
        **{column: getattr(run, column) or "" for column in ("task", "model", "objective", "data")},
        "step": "" if run.step is None else f"{run.step:,}",
        "metric": "" if run.value is None else f"{run.metric} {run.value:.4f}",
        "time": "" if run.seconds is None else duration(run.seconds),
        "status": run.status,
        "size": size(run.bytes or 0),
    }
    if by not in cells and by not in ("bytes", "seconds", "value", "path", "name", "folder"):
        cells[by] = shown(value_of(run, by))
    return cells | {"folder": run.path}


# ---- side by side ----------------------------------------------------------------------------------------------------


def comparison(folders: Sequence[Path], *, among: str) -> str:
    """What differs and the metrics, a column for each run. Raises RequestError for fewer than two runs."""
    if len(folders) < 2:
        raise RequestError("runs.compare takes two runs or more: runs.compare='last last-1'.")
    found = compare(list(folders), among=among)
    heads = [f"[{i + 1}]" for i in range(len(folders))]
    parts = [f"{head} {folder}" for head, folder in zip(heads, folders, strict=True)]
    for title, rows in (("config", found.config), ("versions, data, course", found.surroundings)):
        cells = [{title: name, **dict(zip(heads, map(shown, values), strict=True))} for name, values in rows.items()]
        parts.append("\n" + (columns(cells) if cells else f"{title}: nothing differs"))
    parts.append("\n" + metrics_table(found, heads))
    return "\n".join(parts)


def metrics_table(found: Compared, heads: list[str]) -> str:
    if not found.metrics:
        return "metrics: none of them has any"
    cells = [
        {"metric": name, **{head: estimate(value) for head, value in zip(heads, values, strict=True)}}
        for name, values in found.metrics.items()
    ]
    lines = [columns(cells)]
    if not any(value and value.low is not None for values in found.metrics.values() for value in values):
        lines.append(
            "\nNo intervals: for those over documents or questions type task=evaluate init_from=RUN for each run,"
            "\nfor those over seeds task=report runs=SWEEP."
        )
    return "\n".join(lines)


def estimate(value: Value | None) -> str:
    if value is None:
        return ""
    if value.low is None or value.high is None or math.isnan(value.low):
        return f"{value.value:.4g}" if abs(value.value) >= 1e4 else f"{value.value:.4f}"
    return f"{value.value:.4f} ({value.low:.4f} to {value.high:.4f})"


# ---- removing --------------------------------------------------------------------------------------------------------


def to_delete(asked: DictConfig) -> list[Path]:
    if asked.delete != LISTED:
        if asked.where:
            raise RequestError(f"runs.where goes with runs.delete={LISTED}; else runs.delete names the runs.")
        return named(asked.delete, asked.of)
    if not asked.where:
        raise RequestError(
            f"runs.delete={LISTED} removes what runs.where finds, and it is missing.\n"
            f"Type runs.where='status=failed' runs.delete={LISTED}."
        )
    return [Path(run.path) for run in chosen(list_runs(asked.of, sizes=False), asked.where)]


def delete(folders: list[Path], *, confirmed: bool) -> None:
    """Shows what goes and what stays; removes it where that is confirmed.

    Raises:
        RequestError: a run still goes; nothing was removed.
    """
    plans = [removing.plan(folder) for folder in folders]
    if going := [str(plan.folder) for plan in plans if plan.in_use]:
        raise RequestError(f"{', '.join(going)}: still going. Stop it first, or leave it out. Nothing was removed.")
    if not plans:
        print("No run fits: nothing to remove.")
        return
    cells = [
        {
            "folder": str(plan.folder),
            "files": f"{plan.files:,}",
            "size": size(plan.bytes),
            "stays, not ours": ", ".join(plan.foreign[:3]) + (", ..." if len(plan.foreign) > 3 else ""),
        }
        for plan in plans
    ]
    print(columns(cells))
    if confirmed:
        for plan in plans:
            removing.remove(plan.folder)
    total = f"{len(plans):,} runs, {sum(plan.files for plan in plans):,} files, {size(sum(p.bytes for p in plans))}"
    if confirmed:
        print(f"\nRemoved: {total}.")
        return
    print(f"\nNothing is removed yet; these would go: {total}.\nTo remove them, type the same and runs.confirm=true")


def named(wanted: Any, root: str) -> list[Path]:
    """Folders of runs that were named, in a list or with spaces between them; each once. One folder is taken as it is.

    Raises:
        RequestError: one of them is none.
    """
    try:
        as_it_is = not OmegaConf.is_list(wanted) and Path(wanted).expanduser().is_dir()
        texts = list(wanted) if OmegaConf.is_list(wanted) else [wanted] if as_it_is else shlex.split(wanted)
    except ValueError as error:
        raise RequestError(f"{wanted}: {str(error).lower()}. Type several runs as a list, [RUN,RUN].") from None
    return list(dict.fromkeys(run_named(str(text), root) for text in texts))


# ---- how it looks ----------------------------------------------------------------------------------------------------


def columns(rows: Sequence[dict[str, str]]) -> str:
    """A table for a terminal: columns side by side; those in which nothing stands are left out."""
    names = [name for name in rows[0] if any(row[name] for row in rows)]
    widths = {name: max(len(name), *(len(row[name]) for row in rows)) for name in names}

    def line(cells: Iterable[str]) -> str:
        return "  ".join(f"{cell:<{widths[name]}}" for name, cell in zip(names, cells, strict=True)).rstrip()

    return "\n".join([line(names), *(line(row[name] for name in names) for row in rows)])


def shown(value: Any) -> str:
    """A cell, on one line, cut where it is long."""
    text = "" if value is None else f"{value:g}" if isinstance(value, float) else str(value)
    text = " ".join(text.split())
    return text if len(text) <= 48 else text[:47] + "…"


def duration(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60:02} min"


def size(count: int) -> str:
    for unit, scale in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= scale:
            return f"{count / scale:.3g} {unit}"
    return f"{count} B"
