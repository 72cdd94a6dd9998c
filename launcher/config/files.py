"""YAML of options and run folders (strict_yaml.py): what is wrong with it is a wrong request."""

import re
from pathlib import Path
from typing import Any

import yaml
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from errors import RequestError
from launcher.help.comments import parents
from launcher.help.words import cut
from launcher.lab import Lab
from strict_yaml import text_of

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


def load_option(file: Path, inside: tuple[Path, ...] = ()) -> dict[str, Any]:
    """An option's file as plain data, over what it inherits from options beside it; nothing is resolved. `inside`:
    files that inherit this one.

    Raises:
        RequestError: as load_yaml, or it inherits itself.
    """
    tree: dict[str, Any] = {}
    for parent in parents(file):
        if parent in (*inside, file):
            raise RequestError(f"{file} inherits {parent.stem}, and so itself: take it out of its defaults.")
        tree |= load_option(parent, (*inside, file))
    own: Any = OmegaConf.to_container(load_yaml(file))
    return tree | own


def check_yaml(file: Path) -> str:
    """Its text; nothing is built from it. Raises RequestError."""
    try:
        return text_of(file)
    except FileNotFoundError:
        raise RequestError(f"{file} is missing.") from None
    except OSError as error:
        raise RequestError(f"{file} cannot be read: {cut(str(error).splitlines()[0])}") from None
    except ValueError as error:
        raise RequestError(f"{file} {error}.") from None


def check_chosen(group: str, option: str, lab: Lab, seen: set[Path] | None = None) -> None:
    """What Hydra would read for an option: its file, and those that it chooses. Raises RequestError as check_yaml."""
    file, seen = lab.groups.get(group, {}).get(option), set() if seen is None else seen
    if file is None or file in seen:
        return
    seen.add(file)
    for other, chosen in CHOICE.findall(check_yaml(file)):
        check_chosen(other or group, chosen, lab, seen)
