"""The one reader of YAML: small files, shallow, in UTF-8, whose aliases do not multiply."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from errors import RequestError
from launcher.help.comments import parents
from launcher.help.words import cut
from launcher.lab import Lab

MOST_BYTES = 10_000_000
DEEPEST = 64  # mappings and lists within each other
MOST_NODES = 200_000  # when every alias is written out
CHOICE = re.compile(r"^  - (?:override )?(?:/?(\w+)(?:@[\w.]+)?: *)?([\w./-]+)", re.MULTILINE)  # in a defaults list


def load_yaml(file: Path) -> DictConfig:
    """The keys of a config file.

    Raises:
        RequestError: it is missing, no YAML, no mapping, or larger than any config; says which.
    """
    check_yaml(file)
    try:
        node = OmegaConf.load(file)
    except (yaml.YAMLError, OmegaConfBaseException, ValueError) as error:
        raise RequestError(f"{file} cannot be read: {cut(str(error).splitlines()[0])}") from None
    if not isinstance(node, DictConfig):
        raise RequestError(f"{file} is damaged: it holds no keys.")
    return node


def load_option(file: Path) -> dict[str, Any]:
    """An option's file as plain data, over what it inherits from options beside it; nothing is resolved."""
    tree: dict[str, Any] = {}
    for parent in parents(file):
        tree |= load_option(parent)
    own: Any = OmegaConf.to_container(load_yaml(file))
    return tree | own


def check_yaml(file: Path) -> None:
    """Walks through a file's events, which takes no memory, before anything is built from it. Raises RequestError."""
    try:
        if not file.is_file():
            what = "is no file" if file.exists() else "is missing"
            raise RequestError(f"{file} {what}.")
        if file.stat().st_size > MOST_BYTES:
            raise RequestError(f"{file} is larger than a config file may be ({MOST_BYTES:,} bytes).")
        text = file.read_text(encoding="utf-8")
        _walk(text, file)
    except UnicodeDecodeError as error:
        raise RequestError(f"{file} is not UTF-8 (byte {error.start:,}).") from None
    except (OSError, yaml.YAMLError) as error:
        raise RequestError(f"{file} cannot be read: {cut(str(error).splitlines()[0])}") from None


def check_chosen(group: str, option: str, lab: Lab, seen: set[Path] | None = None) -> None:
    """What Hydra would read for an option: its file, and those that it chooses. Raises RequestError as check_yaml."""
    file, seen = lab.groups.get(group, {}).get(option), set() if seen is None else seen
    if file is None or file in seen:
        return
    seen.add(file)
    check_yaml(file)
    for other, chosen in CHOICE.findall(file.read_text(encoding="utf-8")):
        check_chosen(other or group, chosen, lab, seen)


def _walk(text: str, file: Path) -> None:
    """Counts nodes and depth. An alias counts as much as what it stands for."""
    sizes: dict[str, int] = {}  # of anchors
    open_nodes: list[tuple[str | None, int]] = []  # their anchor, and the count when they began
    count = 0
    for event in _events(text):
        if isinstance(event, yaml.AliasEvent):
            if event.anchor not in sizes:
                raise RequestError(f"{file}: *{event.anchor} stands for nothing, or for what it is part of.")
            count += sizes[event.anchor]
        elif isinstance(event, yaml.CollectionStartEvent | yaml.ScalarEvent):
            count += 1
            if isinstance(event, yaml.CollectionStartEvent):
                open_nodes.append((event.anchor, count - 1))
            elif event.anchor:
                sizes[event.anchor] = 1
        elif isinstance(event, yaml.CollectionEndEvent):
            anchor, before = open_nodes.pop()
            if anchor:
                sizes[anchor] = count - before
        if len(open_nodes) > DEEPEST:
            raise RequestError(f"{file} is nested more than {DEEPEST} deep.")
        if count > MOST_NODES:
            raise RequestError(f"{file} has aliases that multiply: written out it has more than {MOST_NODES:,} values.")


def _events(text: str) -> Iterator[Any]:
    yield from yaml.parse(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
