"""What a task reads of the config; what was typed beside that is named, or refused, and what reads it is told.

Every config has all sections, also those of other tasks: `task=generate optimizer.lr=5` is well written, and changes
nothing. So a task's module says in `READS` which of the keys and sections that all configs have (those of
conf/config.yaml) it looks at: "data" is all of that section, "trainer.accelerator" one key of it. Keys of its own need
no saying. Only what was typed is told: experiments and saved runs bring sections for other tasks, too.

A key that no part of the task knows is named, since words are typed for several tasks alike (trainer.accelerator=cpu
logger=none). A key that another choice of the same line switches off is refused.
"""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import yaml
from omegaconf import DictConfig, OmegaConf

from commands import word
from errors import RequestError
from launcher.config.files import load_option, load_yaml
from launcher.config.nodes import has_target, node_at
from launcher.config.overrides import Override, parse
from launcher.config.source import class_attribute, module_constant, read_target
from launcher.help.words import cut, listing
from launcher.lab import Lab

# what the launcher reads for any task, and what chooses and fills other sections
LAUNCHER = ("task", "experiment", "debug", "sweeps", "resume", "rerun", "fail_fast", "hydra")
# what several tasks look at, under one name
BUNDLES = {
    "weights": (  # to load a model: data.seq_len is held against its context, trainer.precision against T5's
        *("model", "tokenizer", "gbft", "learner", "init_from", "init", "allow_mismatch", "hardware"),
        *("data.seq_len", "trainer.precision"),
    ),
    "a run": (
        *("data", "tokenizer", "model", "objective", "optimizer", "schedule", "trainer", "hardware", "callbacks"),
        *("logger", "adapter", "gbft", "learner", "reward", "init_from", "init", "allow_mismatch"),
    ),
}
CONDITION = re.compile(r"(\w+)(!?)=(.*)")
# where a task writes, and what its random numbers derive from: not where it writes nothing
FOLDER = ("run_dir", "seed")


def check_typed(typed: Iterable[Override], cfg: DictConfig, lab: Lab) -> list[str]:
    """A line for each typed word that the task does not read. Raises RequestError for one that is switched off."""
    found = []
    for o in typed:
        if why := switched_off(o, cfg, lab):
            raise RequestError(f"{cut(o.typed)}: {why}")
        if why := unknown(o, cfg, lab):
            found.append(f"{cut(o.typed)} changes nothing: {why}")
    return found


def unread_words(words: Iterable[str], cfg: DictConfig, lab: Lab) -> list[str]:
    """Those of the words that a job of this config does not read."""
    typed = parse(words, lab, multirun=False)
    return [o.typed for o in typed if unknown(o, cfg, lab) or switched_off(o, cfg, lab)]


def unknown(o: Override, cfg: DictConfig, lab: Lab) -> str:
    """Why the task never reads a typed word; empty where it does, and where it does not say what it reads."""
    task, reads = _task(cfg, lab)
    if reads is None or o.value is None or _section(o) not in standard(lab) or is_read(o.key, reads):
        return ""
    return "" if constant_of(task, "UNREAD", lab) else _not_of_this_task(o.key, task, reads, lab)


def switched_off(o: Override, cfg: DictConfig, lab: Lab) -> str:
    """Why a typed word that the task might read is of no use beside what else was chosen."""
    task, reads = _task(cfg, lab)
    if reads is None or o.value is None:
        return ""
    if _section(o) not in standard(lab):
        return _not_of_this_part(o.key, task, cfg, lab)
    if is_read(o.key, reads):
        return _idle(o.key, _section(o), cfg, lab)
    return str(constant_of(task, "UNREAD", lab) or "").format(word=word(o.typed))  # in a task's own words


def _task(cfg: DictConfig, lab: Lab) -> tuple[str, tuple[str, ...] | None]:
    """The task's function, and what it reads."""
    task = str(cfg.task._target_)
    reads = reads_of(task, lab)
    if reads is None:
        return task, None
    return task, (*reads, *LAUNCHER, *(FOLDER if cfg.task.get("leaves_folder", True) else ()))


def _section(o: Override) -> str:
    return o.key.split(".")[0].split("/")[0]


def is_read(key: str, reads: Iterable[object]) -> bool:
    return any(key == read or key.startswith((f"{read}.", f"{read}/")) for read in reads)


def standard(lab: Lab) -> set[str]:
    """Groups and keys that every config has."""
    tree = load_yaml(lab.conf / "config.yaml")
    groups = {str(name) for item in tree.get("defaults", ()) if isinstance(item, DictConfig) for name in item}
    return groups | {str(key) for key in tree if key != "defaults"}


def constant_of(task: str, name: str, lab: Lab) -> Any:
    """A literal of the module of a task's function, read without importing it; None where it has none."""
    return module_constant(task.rpartition(".")[0], name, lab)


def reads_of(task: str, lab: Lab) -> tuple[str, ...] | None:
    """What the module of a task's function says that it reads, bundles unfolded."""
    said = constant_of(task, "READS", lab)
    return None if said is None else tuple(key for name in said for key in BUNDLES.get(name, (name,)))


def _not_of_this_task(key: str, task: str, reads: Sequence[str], lab: Lab) -> str:
    name, section = task.rpartition(".")[2], key.split(".")[0]
    readers = [option for option, other in _tasks(lab).items() if is_read(key, reads_of(other, lab) or ())]
    of_it = sorted(read for read in reads if read.startswith(f"{section}."))
    only = f" Of {section} it reads {listing(of_it)}." if of_it else ""
    who = f" {key} is read by {listing(f'task={reader}' for reader in readers)}." if readers else ""
    return f"task={name} does not read {key}.{only}{who}"


def _not_of_this_part(key: str, task: str, cfg: DictConfig, lab: Lab) -> str:
    """Of a task that does one of several things, each a module of its own (`PARTS`), a key that is for another one."""
    parts: Any = constant_of(task, "PARTS", lab)
    if parts is None:
        return ""
    chosen, package = map(str, parts)
    section, _, name = key.partition(".")
    if key == chosen or section != chosen.partition(".")[0]:
        return ""
    folder = lab.root.joinpath(*package.split("."))
    names = [file.stem for file in folder.glob("[!_]*.py")]
    reads: dict[str, Any] = {part: module_constant(f"{package}.{part}", "READS", lab) for part in names}
    part = str(OmegaConf.select(cfg, chosen))
    own = reads.get(part)
    if own is None or name in own:
        return ""
    readers = listing(f"{chosen}={other}" for other in sorted(reads) if name in (reads[other] or ()))
    return f"{chosen}={part} does not read it.\n{key} is read by {readers}.\nLeave it out."


def _idle(key: str, section: str, cfg: DictConfig, lab: Lab) -> str:
    """Why a section that the task reads changes nothing beside what else was chosen."""
    if section == "init" and not (cfg.get("init_from") or cfg.get("resume")):
        return "init says how the weights that init_from names are taken.\nType init_from=... too, or leave it out."
    if section == "learner" and cfg.get("gbft") is None:
        return "a learner is what each stage of boosting trains.\nType objective=gbft, or leave it out."
    if section == "reward" and not takes_reward(str(cfg.objective._target_), lab):
        would_do = [name for name, target in _options("objective", lab).items() if takes_reward(target, lab)]
        return f"this objective has no use for rewards.\nThose that have: {listing(would_do)}. Or leave {key} out."
    if beside := idle_beside(key, cfg, lab):
        other = beside.partition("=")[0]
        return f"it changes nothing beside {beside}.\nLeave it out, or give {other} another value."
    return ""


def idle_beside(key: str, cfg: DictConfig, lab: Lab) -> str:
    """The other key of the section, with its value, beside which `key` is not read; empty where it is.

    The section's class says so: `idle_beside = {"tol": ["dev_fraction=0"], "every": ["layers!=null"]}`.
    """
    parent, _, name = key.rpartition(".")
    node: Any = node_at(cfg, parent) if parent else None
    if not has_target(node):
        return ""
    said: Any = class_attribute(read_target(node._target_, lab, key=parent), "idle_beside", lab) or {}
    for condition in said.get(name, ()):
        other, differs, value = CONDITION.fullmatch(condition).groups()  # type: ignore[union-attr]
        now = node.get(other)
        if (now == yaml.safe_load(value)) != bool(differs):
            return f"{parent}.{other}={'null' if now is None else now}"
    return ""


def takes_reward(objective: str, lab: Lab) -> bool:
    return "reward" in read_target(objective, lab, key="objective._target_").params


def _tasks(lab: Lab) -> dict[str, str]:
    return _options("task", lab)


def _options(group: str, lab: Lab) -> dict[str, str]:
    """{option: its target} of a group whose options name one."""

    def target(file: Path) -> object:
        tree = load_option(file)
        return (tree.get(group) or tree).get("_target_")

    found = {option: target(file) for option, file in lab.groups.get(group, {}).items()}
    return {option: str(name) for option, name in found.items() if name}
