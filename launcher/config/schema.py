"""What may stand in a config: which keys, of which types.

Where that comes from: a section with `_target_` takes the keyword-only parameters of that class or function; the
keys at the top level are those of conf/config.yaml, one section per group, and what the task's own YAML adds.
"""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache, cached_property
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from errors import RequestError
from launcher.config import annotations as types
from launcher.config import elsewhere, standard
from launcher.config.files import load_option
from launcher.config.nodes import has_target, names_in, node_at
from launcher.config.source import Param, Target, class_attribute, module_target, read_target, record_of
from launcher.help.words import ALIKE, closeness, cut, listing, nearest, nearest_key
from launcher.lab import Lab

RESERVED = {"_target_": Param(ast.Name("str"), True), "_partial_": Param(ast.Name("bool"), False)}
TASK_KEYS = {"_target_": RESERVED["_target_"]} | dict.fromkeys(
    ("every_rank", "leaves_folder"), Param(ast.Name("bool"), False)
)
NO_SECTION = ("hardware", "experiment", "debug", "sweeps")  # groups that fill other sections
STANDARD = module_target(standard)


@dataclass
class Schema:
    """What may stand in one composed config. `cfg` is read as it is now, so overrides may be applied meanwhile."""

    cfg: DictConfig
    choices: dict[str, Any]
    lab: Lab

    @cached_property
    def declared(self) -> dict[str, Any]:
        """The tree of keys that conf/config.yaml and the task's file write at the top level, with their values."""
        tree = _load(self.lab.conf / "config.yaml")
        groups = [name for item in tree.pop("defaults", []) if isinstance(item, dict) for name in item]
        tree.pop("hydra", None)
        file = self.lab.groups.get("task", {}).get(str(self.choices.get("task")))
        if file is not None and _is_global(file):
            tree |= {key: value for key, value in _load(file).items() if key not in ("defaults", "hydra")}
        sections = [g for g in groups if "/" not in g and " " not in g and g not in NO_SECTION]
        return tree | {section: {} for section in sections if section not in tree}

    def target(self, node: DictConfig, key: str) -> Target:
        return read_target(node._get_node("_target_")._value(), self.lab, key=f"{key}._target_")  # type: ignore[union-attr]

    def params(self, key: str) -> tuple[dict[str, Param], str | None]:
        """Keys allowed directly under `key`, and the name of the object that takes them."""
        node = node_at(self.cfg, key)
        if key == "task":
            return TASK_KEYS, None
        if has_target(node):
            target = self.target(node, key)
            # what is required and not written in the file is filled in by the program: never a key
            filled_in = class_attribute(target, "filled_in", self.lab) or ()
            own = {name: p for name, p in target.params.items() if not p.required or name in names_in(node)}
            own = {name: p for name, p in own.items() if name not in filled_in}  # type: ignore[operator]
            return RESERVED | own, target.name
        record = self.record(key)
        typed = {} if record is None else record.params
        names = {name: typed.get(name) or self._declared_param(key, name) for name in self._declared_under(key)}
        if isinstance(node, DictConfig) and key:
            names |= {name: Param(None, False) for name in names_in(node) if has_target(node_at(node, name))}
        return names, None

    def aliases(self, key: str) -> types.Aliases:
        node = node_at(self.cfg, key)
        if key != "task" and has_target(node):
            return self.target(node, key).aliases
        record = self.record(key)
        return {} if record is None else record.aliases

    def record(self, key: str) -> Target | None:
        """What types a section without `_target_`: a class in the task's module, or in standard.py."""
        task = self.cfg.get("task")
        beside = [self.target(task, "task")] if has_target(task) else []
        return record_of(key or "Standard", [*beside, STANDARD], self.lab)

    def valid_keys(self, key: str = "", *, in_file: bool = False) -> Iterator[str]:
        """Every key that may be typed, depth first; or that a file may hold, which has to write the required ones."""
        node = node_at(self.cfg, key)
        names = set(self.params(key)[0])
        if in_file and key != "task" and has_target(node):
            names |= set(self.target(node, key).params)
        for name in sorted(names):
            full = f"{key}.{name}" if key else name
            yield full
            if isinstance(node_at(self.cfg, full), DictConfig):
                yield from self.valid_keys(full, in_file=in_file)

    def find(self, key: str, *, value: str = "") -> Param:
        """The parameter that a dotted key stands for; `value` is what was typed for it.

        Raises:
            RequestError: there is none; names the nearest.
        """
        parent = ""
        for name in key.split("."):
            names, _ = self.params(parent)
            if name not in names:
                raise RequestError(self.unknown(key, parent, value=value))
            param, full = names[name], f"{parent}.{name}" if parent else name
            if types.is_free_dict(param.annotation, self.aliases(parent)):
                return Param(None, False)
            parent = full
        return param

    def may_be_left_out(self, key: str, param: Param) -> bool:
        """With ~key: a part with a target of its own, a key of the user's, or one that its target has a default for."""
        parent, _, leaf = key.rpartition(".")
        node = node_at(self.cfg, parent)
        if leaf == "_target_" or leaf not in names_in(node):
            return False
        is_part = bool(parent) and not has_target(node) and has_target(node_at(self.cfg, key))
        return is_part or (not param.required and (has_target(node) or param.annotation is None))

    def unknown(self, key: str, parent: str, *, value: str | None = None) -> str:
        """Says that there is no such key, which ones there are, and the nearest; `value` if the key was typed."""
        names, owner = self.params(parent)
        keys = listing(n for n in names if n not in RESERVED) or "no keys below it"
        takes = f"{owner or parent or 'The top level'} takes: {keys}."
        node = node_at(self.cfg, parent)
        leaf = key.removeprefix(f"{parent}.").split(".")[0]
        if owner is not None and leaf in self.target(node, parent).params:
            return f"{key} is filled in by the program and cannot be set.\n{takes}"
        tasks = [] if parent else self._tasks_with(leaf)
        if tasks:
            value = "..." if value is None else value
            own = next((name for name in self._keys_of_the_task() if name.endswith(f".{leaf}")), None)
            typed = f"task={tasks[0]} {key}={value}" if own is None else f"{own}={value}"
            return f"{cut(key)} is a key of task={' and task='.join(tasks)} only.\nType: {typed}"
        if not parent and self._is_strange(leaf, names) and (of_others := self._like_a_key_of_a_task(leaf)):
            other, task = of_others
            typed = key.replace(leaf, other, 1) + ("" if value is None else f"={value}")
            meant = f"Did you mean {other}, a key of task={task}?\nType: task={task} {typed}"
            return f"there is no key {cut(key)}.\n{takes}\n{meant}"
        return f"there is no key {cut(key)}.\n{takes}{self._meant(key, parent, value)}"

    def _meant(self, key: str, parent: str, value: str | None) -> str:
        """The nearest key of this config, or one that it would have with another option of the group."""
        group, told = key.split(".")[0], "" if value is None else f"={value}"
        others = elsewhere.keys_of_others(group, self.choices, self.lab) if group in self.declared else {}
        valid = [*self.valid_keys(in_file=value is None)]
        wrong, _, below = key.removeprefix(f"{parent}.").partition(".")
        if below:  # names of the user's own
            names, aliases = self.params(parent)[0], self.aliases(parent)
            alike = [name for name in names if closeness(wrong, name) >= ALIKE]
            free = [name for name in alike if types.is_free_dict(names[name].annotation, aliases)]
            valid += [f"{key.removesuffix(f'{wrong}.{below}')}{name}.{below}" for name in free]
        if key in others:
            option = f"{group}={others[key][0]}"
            more = listing(f"{group}={name}" for name in others[key])
            same = [name for name in valid if name.rpartition(".")[2] == key.rpartition(".")[2]]
            also = f"\nOr: {nearest(key, same, cutoff=0.0)}{told}" if same else ""
            return f"\n{key} is a key of {more}.\nType: {option} {key}{told}{also}"
        close = nearest_key(key, valid, list(others))
        if close is None:
            return ""
        owner = "" if close in valid else f"{group}={others[close][0]}"
        typed = f"{owner} {close}{told}".lstrip()
        return f"\nDid you mean {close}{owner and f', a key of {owner}'}?" + (told and f"\nType: {typed}")

    def _is_strange(self, leaf: str, names: dict[str, Param]) -> bool:
        """No key is called so, at any depth, and none of `names` nearly so."""
        if get_close_matches(leaf, names, n=1):
            return False
        return leaf not in {*names, *(name.rpartition(".")[2] for name in self.valid_keys())}

    def _keys_of_the_task(self) -> list[str]:
        """Those of the section that bears the task's name, such as `evaluate.n`."""
        return [key for key in self.valid_keys() if key.split(".")[0] in self.lab.groups.get("task", {}) and "." in key]

    def _tasks_with(self, key: str) -> list[str]:
        options = self.lab.groups.get("task", {}).items()
        return [name for name, file in options if _is_global(file) and key in _load(file)]

    def _like_a_key_of_a_task(self, key: str) -> tuple[str, str] | None:
        """(a key that looks like this one, the task it belongs to)."""
        options = self.lab.groups.get("task", {}).items()
        owners = {name: task for task, file in options if _is_global(file) for name in _load(file)}
        found = get_close_matches(key, owners, n=1, cutoff=0.8)
        return (found[0], owners[found[0]]) if found else None

    def _declared_under(self, key: str) -> dict[str, Any]:
        tree: Any = self.declared
        for name in key.split(".") if key else []:
            tree = tree.get(name, {}) if isinstance(tree, dict) else {}
        return tree if isinstance(tree, dict) else {}

    def _declared_param(self, key: str, name: str) -> Param:
        if not key and name in (typed := self._task_params()):
            return typed[name]
        return Param(_annotation_of(self._declared_under(key)[name]), True)

    def _task_params(self) -> dict[str, Param]:
        """A task's own keys may be typed by keyword-only parameters of its function, which then receives them."""
        task = self.cfg.get("task")
        return self.target(task, "task").params if has_target(task) else {}


def _annotation_of(value: Any) -> ast.expr | None:
    """The type that a value in a YAML file declares; null declares nothing but "no section"."""
    if isinstance(value, dict) or (isinstance(value, str) and (value == "???" or "${" in value)):
        return None
    if value is None:
        return ast.parse("int | float | bool | str | list | None", mode="eval").body
    return ast.Name("Text" if value == "" else type(value).__name__)


def _is_global(file: Path) -> bool:
    return "# @package _global_" in file.read_text(encoding="utf-8")


def _load(file: Path) -> dict[str, Any]:
    return dict(_read(file, file.stat().st_mtime_ns))


@cache
def _read(file: Path, changed: int) -> dict[str, Any]:
    return load_option(file)
