"""Strict checking of a composed config: every key known, every type right, every `_target_` allowed."""

from collections.abc import Iterator
from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from errors import RequestError
from launcher.config import annotations as types
from launcher.config.nodes import has_target, names_in, node_at, targets_inside
from launcher.config.schema import Schema
from launcher.config.source import Param
from launcher.help.comments import read_help
from launcher.help.words import listing, nearest, nearest_key, shown
from launcher.lab import lineage

MAX_PROBLEMS = 5
FOLLOWS = "\0"  # marks a problem of a key that interpolates another


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
    for name in names_in(node):
        full = f"{key}.{name}" if key else name
        if name not in names:
            yield f"{_origin(full, schema)}{schema.unknown(full, key)}"
            continue
        problem = value_problem(schema, full, names[name], before)
        if problem:
            yield problem
            continue
        yield from _nested(schema, full, names[name], before)


def _nested(schema: Schema, key: str, param: Param, before: DictConfig | None) -> Iterator[str]:
    child = node_at(schema.cfg, key)
    parent = key.rpartition(".")[0]
    if isinstance(child, DictConfig) and (
        "_target_" in child or not parent or not types.is_free_dict(param.annotation, schema.aliases(parent))
    ):
        yield from _problems(schema, key, child, before)
    elif not parent and isinstance(schema.declared.get(key), dict) and (schema.declared[key] or not _is_null(child)):
        if key in schema.choices and isinstance(child, ListConfig):
            yield f"{key}={schema.choices[key]}: its file holds a list, where the keys of an option belong."
        else:
            yield f"{key}={child}: is a section. Set its keys one by one."
    elif isinstance(child, DictConfig | ListConfig) and targets_inside(OmegaConf.to_container(child)):
        yield f"{key}: a list or a free dictionary cannot hold a _target_; give the object a key of its own."


def _is_null(node: Any) -> bool:
    return node is None or node._is_none()


def _missing_target(key: str, node: DictConfig) -> Iterator[str]:
    if "_target_" in node:
        return
    children = names_in(node)
    if children and not any(has_target(node_at(node, name)) for name in children):
        yield f"{key} has no _target_, the class or function to build. It holds: {listing(children)}."


def value_problem(schema: Schema, key: str, param: Param, before: DictConfig | None = None) -> str | None:
    """Says what is wrong with the value at `key`, or None."""
    parent, _, leaf = key.rpartition(".")
    node = node_at(schema.cfg, parent)
    if OmegaConf.is_missing(node, leaf):
        return f"{key} must be given{_help_of(key, schema)}.\nType: {key}=..."
    if leaf == "_target_" and OmegaConf.is_interpolation(node, leaf):
        return f"{key}: a _target_ is written out, not interpolated."
    try:
        value = node[leaf]
        if isinstance(value, DictConfig | ListConfig):
            deep = not (isinstance(value, DictConfig) and not types.is_free_dict(param.annotation, {}))
            value = OmegaConf.to_container(value, resolve=deep)
    except OmegaConfBaseException as error:
        return interpolation_problem(schema, key, error)
    aliases = schema.aliases(parent)
    if types.fits(value, param.annotation, aliases):
        return None
    follows = FOLLOWS if OmegaConf.is_interpolation(node, leaf) else ""
    return follows + _wrong_type(key, value, param, aliases, before)


def _help_of(key: str, schema: Schema) -> str:
    """ ": what it is", as the comment behind it in the chosen file says; empty where there is none."""
    section, _, leaf = key.partition(".")
    file = schema.lab.groups.get(section, {}).get(str(schema.choices.get(section)))
    keys = read_help(file).keys if file is not None else {}
    help = next((keys[name].help for name in (leaf, key) if name in keys), "")
    return f": {help}" if help else ""


def interpolation_problem(schema: Schema, key: str, error: Exception) -> str:
    parent, _, leaf = key.rpartition(".")
    node = node_at(schema.cfg, parent)
    raw = OmegaConf.to_container(node).get(leaf) if isinstance(node, DictConfig) else None  # type: ignore[union-attr]
    text = str(raw)
    close = None
    if "${" in text:
        inside = text.split("${", 1)[1].split("}", 1)[0]
        close = nearest_key(inside, list(schema.valid_keys()))
    hint = f"\nDid you mean ${{{close}}}?" if close else ""
    return f"{key}: {text} cannot be resolved: {str(error).splitlines()[0]}{hint}"


def _wrong_type(key: str, value: Any, param: Param, aliases: types.Aliases, before: DictConfig | None) -> str:
    expected = types.describe(param.annotation, aliases)
    if value == "":
        return f"{key}= is empty, as an unset shell variable leaves it: expected {expected}.\nType: {key}=..."
    lines = [f"{key}={shown(value)}: expected {expected}."]
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
        chosen = schema.lab.groups.get(group, {}).get(str(option))
        for file in reversed(lineage(chosen)) if chosen is not None else ():
            lines = file.read_text(encoding="utf-8").splitlines()
            if any(line.strip().startswith(f"{leaf}:") for line in lines):
                return f"{group}/{option if file == chosen else file.stem}.yaml: "
    return ""
