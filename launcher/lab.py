"""Where things are: the root of the repository, its config groups, and the code that a config may name."""

import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

# A `_target_` must be a class or function defined at the top level of a module in one of these packages, ...
FIRST_PARTY = (
    "callbacks",
    "datamodules",
    "evaluation",
    "lightning_modules",
    "loggers",
    "models",
    "optimization",
    "rewards",
    "tasks",
    "tokenization",
)
# what types the sections of a task may be read there too, though no config may build from it; ...
READABLE = (*FIRST_PARTY, "crawl")
# ... or one of these names; the tuple holds keys that it takes through **kwargs.
THIRD_PARTY: dict[str, tuple[str, ...]] = {
    "lightning.pytorch.callbacks.EarlyStopping": (),
    "lightning.pytorch.callbacks.LearningRateMonitor": (),
    "lightning.pytorch.callbacks.DeviceStatsMonitor": (),
    "lightning.pytorch.loggers.WandbLogger": ("entity", "group", "tags", "notes", "job_type"),
}
# the defaults of a file, in one line or one to a line, and in them its siblings: `name`, or `name@package`
DEFAULTS = re.compile(r"^defaults:(.*(?:\n  *- .*)*)", re.M)
SIBLING = re.compile(r"(?:- |[\[,] *)(?!_self_)(\w+)(?:@\w+)?(?= *(?:[,\]#]|$))", re.M)
SWEEP_RECORD = "sweep.json"  # in a sweep's folder: what was typed


@dataclass(frozen=True)
class Lab:
    """`root` holds run.py, conf/, sweeps/ and the packages; `extra` are further config folders (--config-dir)."""

    root: Path
    extra: tuple[Path, ...] = ()

    @property
    def conf(self) -> Path:
        return self.root / "conf"

    @cached_property
    def groups(self) -> dict[str, dict[str, Path]]:
        """{group: {option: file}}; an option in a subfolder is called folder/name, as Hydra calls it."""
        found: dict[str, dict[str, Path]] = {}
        folders = [group for conf in (self.conf, *self.extra) for group in sorted(conf.glob("*/"))]
        for folder in [*folders, self.root / "sweeps"]:
            options = {file.relative_to(folder).with_suffix("").as_posix(): file for file in folder.rglob("*.yaml")}
            if options:
                found.setdefault(folder.name, {}).update(sorted(options.items()))
        return found


def lineage(file: Path) -> list[Path]:
    """The files that one option is made of: those of its group that it inherits from, oldest first, then itself."""
    written = DEFAULTS.search(file.read_text(encoding="utf-8"))
    siblings = [file.with_name(f"{name}.yaml") for name in SIBLING.findall(written[1])] if written else []
    return [*(older for sibling in siblings if sibling.is_file() for older in lineage(sibling)), file]
