"""Strict checking of a composed config: every key known, every type right, every `_target_` allowed.

Where the schema comes from: a section with `_target_` takes the keyword-only parameters of that class or function; the
keys at the top level are those of conf/config.yaml, one section per group, and what the task's own YAML adds.
"""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from errors import RequestError
from launcher import annotations as types
from launcher.lab import Lab
from launcher.source import Param, Target, read_target
from launcher.words import listing, nearest, nearest_key, shown

RESERVED = {"_target_": Param(ast.Name("str"), True), "_partial_": Param(ast.Name("bool"), False)}
TASK_KEYS = {"_target_": RESERVED["_target_"], "every_rank": Param(ast.Name("bool"), False)}
NO_SECTION = ("hardware", "experiment", "debug", "sweeps")  # groups that fill other sections
OPTIONAL_TEXT = ast.parse("str | None", mode="eval").body
STANDARD = {"seed": ast.Name("int"), "run_dir": OPTIONAL_TEXT, "init_from": OPTIONAL_TEXT, "resume": OPTIONAL_TEXT}
MAX_PROBLEMS = 5
FOLLOWS = "\0"  # marks a problem of a key that interpolates another


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
        node = _node(self.cfg, key)
        if key == "task":
            return TASK_KEYS, None
        if isinstance(node, DictConfig) and "_target_" in node:
            target = self.target(node, key)
            # what is required and not written in the file is filled in by the program: never a key
            own = {name: p for name, p in target.params.items() if not p.required or name in list(node)}
            return RESERVED | own, target.name
        names = {name: self._declared_param(key, name) for name in self._declared_under(key)}
        if isinstance(node, DictConfig) and key:
            names |= {name: Param(None, False) for name in node if _has_target(node, str(name))}
        return names, None

    def aliases(self, key: str) -> types.Aliases:
        node = _node(self.cfg, key)
        if key != "task" and isinstance(node, DictConfig) and "_target_" in node:
            return self.target(node, key).aliases
        return {}

    def valid_keys(self, key: str = "", *, in_file: bool = False) -> Iterator[str]:
        """Every key that may be typed, depth first; or that a file may hold, which has to write the required ones."""
        node = _node(self.cfg, key)
        names = set(self.params(key)[0])
        if in_file and key != "task" and isinstance(node, DictConfig) and "_target_" in node:
            names |= set(self.target(node, key).params)
        for name in sorted(names):
            full = f"{key}.{name}" if key else name
            yield full
            if isinstance(_node(self.cfg, full), DictConfig):
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

    def unknown(self, key: str, parent: str, *, value: str | None = None) -> str:
        """Says that there is no such key, which ones there are, and the nearest; `value` if the key was typed."""
        names, owner = self.params(parent)
        keys = listing(n for n in names if n not in RESERVED) or "no keys below it"
        takes = f"{owner or parent or 'The top level'} takes: {keys}."
        node = _node(self.cfg, parent)
        leaf = key.removeprefix(f"{parent}.").split(".")[0]
        if owner is not None and leaf in self.target(node, parent).params:
            return f"{key} is filled in by the program and cannot be set.\n{takes}"
        tasks = [] if parent else self._tasks_with(leaf)
        if tasks:
            value = "..." if value is None else value
            return f"{key} is a key of task={' and task='.join(tasks)} only.\nType: task={tasks[0]} {key}={value}"
        close = nearest_key(key, list(self.valid_keys(in_file=value is None)))
        meant = "" if close is None else f"\nDid you mean {close}?"
        meant += f"\nType: {close}={value}" if close is not None and value is not None else ""
        return f"there is no key {key}.\n{takes}{meant}"

    def _tasks_with(self, key: str) -> list[str]:
        options = self.lab.groups.get("task", {}).items()
        return [name for name, file in options if _is_global(file) and key in _load(file)]

    def _declared_under(self, key: str) -> dict[str, Any]:
        tree: Any = self.declared
        for name in key.split(".") if key else []:
            tree = tree.get(name, {}) if isinstance(tree, dict) else {}
        return tree if isinstance(tree, dict) else {}

    def _declared_param(self, key: str, name: str) -> Param:
        if not key and name in STANDARD:
            return Param(STANDARD[name], True)
        if not key and name in (typed := self._task_params()):
            return typed[name]
        return Param(_annotation_of(self._declared_under(key)[name]), True)

    def _task_params(self) -> dict[str, Param]:
        """A task's own keys may be typed by keyword-only parameters of its function, which then receives them."""
        task = self.cfg.get("task")
        return self.target(task, "task").params if isinstance(task, DictConfig) and "_target_" in task else {}


def check(schema: Schema, *, before: DictConfig | None = None) -> None:
    """Checks keys, types, targets, interpolations and required values of the whole config.

    Args:
        before: the config before the user's own keys were applied, for examples of right values.

    Raises:
        RequestError: with all problems found, at most a handful.
    """
    found = list(_problems(schema, "", schema.cfg, before))
    # what is wrong only because it points at another key is said once, there
    problems = [p for p in found if not p.startswith(FOLLOWS)] or [p.removeprefix(FOLLOWS) for p in found]
    if problems:
        more = [f"... and {len(problems) - MAX_PROBLEMS} more"] if len(problems) > MAX_PROBLEMS else []
        raise RequestError("\n\n".join([*problems[:MAX_PROBLEMS], *more]))


def _problems(schema: Schema, key: str, node: DictConfig, before: DictConfig | None) -> Iterator[str]:
    try:
        names, _ = schema.params(key)
    except RequestError as error:
        yield str(error)
        return
    if key.count(".") == 0 and key in schema.declared and key != "task" and schema.declared[key] == {}:
        yield from _missing_target(key, node)
    for name in node:
        full = f"{key}.{name}" if key else str(name)
        if name not in names:
            yield f"{_origin(full, schema)}{schema.unknown(full, key)}"
            continue
        problem = value_problem(schema, full, names[name], before)
        if problem:
            yield problem
            continue
        yield from _nested(schema, full, names[name], before)


def _nested(schema: Schema, key: str, param: Param, before: DictConfig | None) -> Iterator[str]:
    child = _node(schema.cfg, key)
    parent = key.rpartition(".")[0]
    if isinstance(child, DictConfig) and (
        "_target_" in child or not parent or not types.is_free_dict(param.annotation, schema.aliases(parent))
    ):
        yield from _problems(schema, key, child, before)
    elif isinstance(child, DictConfig | ListConfig) and _targets_inside(OmegaConf.to_container(child)):
        yield f"{key}: a list or a free dictionary cannot hold a _target_; give the object a key of its own."


def _missing_target(key: str, node: DictConfig) -> Iterator[str]:
    if "_target_" in node:
        return
    children = [str(name) for name in node]
    if children and not any(_has_target(node, name) for name in children):
        yield f"{key} has no _target_, the class or function to build. It holds: {listing(children)}."


def value_problem(schema: Schema, key: str, param: Param, before: DictConfig | None = None) -> str | None:
    """Says what is wrong with the value at `key`, or None."""
    parent, _, leaf = key.rpartition(".")
    node = _node(schema.cfg, parent)
    if OmegaConf.is_missing(node, leaf):
        return f"{key} must be given.\nType: {key}=..."
    if leaf == "_target_" and OmegaConf.is_interpolation(node, leaf):
        return f"{key}: a _target_ is written out, not interpolated."
    try:
        value = node[leaf]  # type: ignore[index]
        if isinstance(value, DictConfig | ListConfig):
            deep = not (isinstance(value, DictConfig) and not types.is_free_dict(param.annotation, {}))
            value = OmegaConf.to_container(value, resolve=deep)
    except OmegaConfBaseException as error:
        return interpolation_problem(schema, key, error)
    aliases = schema.aliases(parent)
    if isinstance(value, dict) and "_target_" in value and not types.fits(0, param.annotation, aliases):
        return None
    if types.fits(value, param.annotation, aliases):
        return None
    follows = FOLLOWS if OmegaConf.is_interpolation(node, leaf) else ""
    return follows + _wrong_type(key, value, param, aliases, before)


def interpolation_problem(schema: Schema, key: str, error: Exception) -> str:
    parent, _, leaf = key.rpartition(".")
    node = _node(schema.cfg, parent)
    raw = OmegaConf.to_container(node).get(leaf) if isinstance(node, DictConfig) else None  # type: ignore[union-attr]
    text = str(raw)
    close = None
    if "${" in text:
        inside = text.split("${", 1)[1].split("}", 1)[0]
        close = nearest_key(inside, list(schema.valid_keys()))
    hint = f"\nDid you mean ${{{close}}}?" if close else ""
    return f"{key}: {text} cannot be resolved: {str(error).splitlines()[0]}{hint}"


def _wrong_type(key: str, value: Any, param: Param, aliases: types.Aliases, before: DictConfig | None) -> str:
    lines = [f"{key}={shown(value)}: expected {types.describe(param.annotation, aliases)}."]
    allowed = [str(choice) for choice in types.choices(param.annotation, aliases)]
    example = _example(key, value, allowed, param, aliases, before)
    if isinstance(value, str) and "," in value:
        lines.append("To run once for each of several values, add -m (multirun).")
    if example is not None:
        lines.append(f"Type: {key}={shown(example)}")
    return "\n".join(lines)


def _example(
    key: str, value: Any, allowed: list[str], param: Param, aliases: types.Aliases, before: DictConfig | None
) -> object:
    """A right value near the one given: the nearest choice, the whole number, or the value of the file."""
    if isinstance(value, float) and value.is_integer() and types.fits(int(value), param.annotation, aliases):
        return int(value)
    if allowed:
        return nearest(str(value), allowed, cutoff=0.0)
    try:
        usual = OmegaConf.select(before, key) if before is not None else None
    except OmegaConfBaseException:
        return None
    return usual if usual is not None and types.fits(usual, param.annotation, aliases) else None


def _origin(key: str, schema: Schema) -> str:
    """The chosen file that writes this key, as a prefix of the message; empty where it was typed."""
    leaf = key.rpartition(".")[2]
    for group, option in reversed(list(schema.choices.items())):
        file = schema.lab.groups.get(group, {}).get(str(option))
        lines = file.read_text(encoding="utf-8").splitlines() if file is not None else []
        if any(line.strip().startswith(f"{leaf}:") for line in lines):
            return f"{group}/{option}.yaml: "
    return ""


def _annotation_of(value: Any) -> ast.expr | None:
    """The type that a value in a YAML file declares; null declares nothing but "no section"."""
    if isinstance(value, dict) or (isinstance(value, str) and (value == "???" or "${" in value)):
        return None
    if value is None:
        return ast.parse("int | float | bool | str | list | None", mode="eval").body
    return ast.Name(type(value).__name__)


def _is_global(file: Path) -> bool:
    return "# @package _global_" in file.read_text(encoding="utf-8")


def _load(file: Path) -> dict[str, Any]:
    tree = OmegaConf.to_container(OmegaConf.load(file))
    return tree if isinstance(tree, dict) else {}  # type: ignore[return-value]


def _node(cfg: DictConfig, key: str) -> Any:
    """The raw node at a dotted key, interpolations left alone; None if there is none."""
    node: Any = cfg
    for name in key.split(".") if key else []:
        if not isinstance(node, DictConfig) or node._is_none() or node._is_missing() or node._is_interpolation():
            return None
        node = node._get_node(name, validate_access=False)
    return node


def _has_target(node: DictConfig, name: str) -> bool:
    child = _node(node, name)
    return isinstance(child, DictConfig) and "_target_" in child


def _targets_inside(tree: Any) -> bool:
    if isinstance(tree, dict):
        return "_target_" in tree or any(_targets_inside(value) for value in tree.values())
    return isinstance(tree, list) and any(_targets_inside(value) for value in tree)
