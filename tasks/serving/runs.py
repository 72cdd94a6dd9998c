"""What the server knows of runs: which there are, which of them can be asked, their curves, configs and pages."""

import re
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from runs.curves import curves
from runs.differences import compare
from runs.listing import Listed, list_runs
from runs.naming import nth_last
from tasks.serving.shelf import Loaded, UnknownRunError

FRESH_S = 2.0  # that a list of runs is good for
LATEST = re.compile(r"last(?:-(\d{1,6}))?")
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
        """As JSON can say it: ? for bytes of a file name that are no character (one such run spoilt every list)."""
        try:
            name = folder.resolve().relative_to(self.root.resolve()).as_posix().removeprefix(".") or folder.name
        except (OSError, ValueError):
            name = folder.name
        return name.encode("utf-8", "replace").decode()

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
        """`last`, `last-1`, ... as where RUN is typed: the run trained last, the one before it; others as they are.

        Raises:
            RequestError: not so many were trained.
        """
        match = LATEST.fullmatch(name)
        return self.name_of(nth_last(match[1] or 0, self.root, asked=name)) if match else name

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
        """[{"key", "values": one for each run}]: what is not the same in all of their configs, versions, data.

        Raises:
            RequestError: a run cannot be read.
        """
        found = compare([Path(self.run(name).path) for name in names])
        return [
            {"key": key, "values": ["-" if value is None else str(value)[:500] for value in values]}
            for key, values in (found.config | found.surroundings).items()
        ]

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
