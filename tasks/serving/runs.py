"""What the server knows of runs: which there are, which of them can be asked, their curves, configs and pages."""

import re
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import yaml

from runs.curves import curves
from runs.files import read_yaml
from runs.listing import Listed, list_runs
from tasks.serving.shelf import Loaded, UnknownRunError

FRESH_S = 2.0  # that a list of runs is good for
LATEST = re.compile(r"last(?:-(\d{1,6}))?")
NOT_COMPARED = ("run_dir", "hydra")
JUDGES = ("reward",)  # objectives whose models write nothing


class Runs:
    """Args:
    root: the folder whose runs these are. first: name and place of the one that the command line names.
    loads: makes a `Loaded` from a name and a place; without a place, of what the command line names.
    """

    def __init__(self, root: Path, *, first: tuple[str, Path] | None, loads: Callable[[str, Path | None], Loaded]):
        self.root, self.first, self.loads = root, first, loads
        self._listed: tuple[float, dict[str, Listed]] = (-FRESH_S, {})

    def listed(self) -> dict[str, Listed]:
        """Runs by name, newest first; the name is the place below the root."""
        at, found = self._listed
        if time.monotonic() - at >= FRESH_S:
            found = {self.name_of(Path(run.path)): run for run in list_runs(self.root, sizes=False)}
            self._listed = (time.monotonic(), found)
        return found

    def name_of(self, folder: Path) -> str:
        try:
            return folder.resolve().relative_to(self.root.resolve()).as_posix().removeprefix(".") or folder.name
        except (OSError, ValueError):
            return folder.name

    def servable(self) -> dict[str, Path | None]:
        """Those that can be asked; None stands for the one that the command line names."""
        found: dict[str, Path | None] = {}
        if self.first is not None:
            found[self.first_name] = None
        for name, run in self.listed().items():
            if name not in found and run.objective not in JUDGES and has_weights(Path(run.path)):
                found[name] = Path(run.path)
        return found

    @property
    def first_name(self) -> str:
        assert self.first is not None
        name, place = self.first
        return self.name_of(place) if place.is_dir() and self.name_of(place) in self.listed() else name

    def resolve(self, name: str) -> str:
        """`last`, `last-2`, ... as the newest, the second newest, ... that can be asked; other names as they are."""
        if match := LATEST.fullmatch(name):
            names = [known for known in self.listed() if known in self.servable()]
            number = int(match[1] or 1)
            if 1 <= number <= len(names):
                return names[number - 1]
        return name

    def run(self, name: str) -> Listed:
        """Raises UnknownRunError."""
        if (run := self.listed().get(name)) is None:
            raise UnknownRunError(f"there is no run {name[:200]!r} under {self.root}")
        return run

    def rows(self) -> list[dict[str, Any]]:
        """The list as the page shows it."""
        servable = self.servable()
        rows = [
            run.as_dict() | {"name": name, "servable": name in servable, "pages": pages_of(Path(run.path))}
            for name, run in self.listed().items()
        ]
        known = {row["name"] for row in rows}
        others = [{"name": name, "servable": True, "status": "", "pages": []} for name in servable if name not in known]
        return [*others, *rows]

    def curves(self, names: Iterable[str]) -> dict[str, Any]:
        """{run: {metric: curve}}; a metrics.csv that cannot be read has an error in its place."""
        found: dict[str, Any] = {}
        for name in names:
            try:
                found[name] = curves(self.run(name).path)
            except (OSError, ValueError, KeyError, TypeError) as error:
                found[name] = {"error": str(error)[:200]}
        return found

    def differences(self, names: Iterable[str]) -> list[dict[str, Any]]:
        """[{"key", "values": one for each run}]: keys of the saved configs that are not the same in all of them."""
        configs = [_flat(_config(Path(self.run(name).path))) for name in names]
        keys = sorted({key for config in configs for key in config})
        rows = [{"key": key, "values": [config.get(key, "-") for config in configs]} for key in keys]
        return [row for row in rows if len(set(row["values"])) > 1]

    def page(self, name: str, file: str) -> Path:
        """A page that a task wrote into a run. Raises UnknownRunError."""
        folder = Path(self.run(name).path)
        if file not in pages_of(folder):
            raise UnknownRunError(f"{name[:200]!r} has no page {file[:80]!r}")
        return folder / file


def has_weights(folder: Path) -> bool:
    return any((folder / "checkpoints" / name).is_file() for name in ("last.ckpt", "best.ckpt"))


def pages_of(folder: Path) -> list[str]:
    try:
        return sorted(file.name for file in folder.glob("*.html") if file.is_file() and not file.is_symlink())
    except OSError:
        return []


def _config(folder: Path) -> dict[str, Any]:
    try:
        return read_yaml(folder / ".hydra/config.yaml")
    except (OSError, ValueError, RecursionError, yaml.YAMLError):
        return {}


def _flat(node: Any, prefix: str = "") -> dict[str, str]:
    """{"optimizer.lr": "0.001", ...}"""
    if not isinstance(node, dict) or not node:
        return {prefix: str(node)[:500]}
    found: dict[str, str] = {}
    for key, value in node.items():
        if prefix or key not in NOT_COMPARED:
            found |= _flat(value, f"{prefix}.{key}" if prefix else str(key))
    return found
