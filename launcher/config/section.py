"""One section of a task by itself, checked as run.py checks it: how a package that also stands alone reads its keys."""

from collections.abc import Mapping, Sequence
from copy import deepcopy
from typing import Any

from omegaconf import OmegaConf

from errors import RequestError
from launcher.config.checking import check
from launcher.config.compose import apply
from launcher.config.files import load_yaml
from launcher.config.overrides import parse
from launcher.config.schema import Schema
from launcher.lab import Lab


def checked_section(
    section: str, lab: Lab, *, task: str, words: Sequence[str] = (), given: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """A section of a task's file, with keys changed.

    Args:
        words: as they would be typed, without the section's name: `max_pages=10`.
        given: values, nested as in the file.

    Raises:
        RequestError: an unknown key, a value of the wrong type or out of its range.
    """
    cfg = load_yaml(lab.groups["task"][task])
    schema, before = Schema(cfg, {"task": task}, lab), deepcopy(cfg)
    for override in parse([f"{section}.{word}" for word in words], lab, multirun=False):
        apply(override, schema)
    if given:
        cfg[section] = _merged(OmegaConf.to_container(cfg[section], resolve=False), given, section)
    check(schema, before=before)
    found: Any = OmegaConf.to_container(cfg[section], resolve=True)
    return found


def _merged(defaults: Any, given: Mapping[str, Any], key: str) -> dict[str, Any]:
    """`given` over `defaults`, section by section. Raises RequestError for a value where a section stands."""
    merged = dict(defaults)
    for name, value in given.items():
        if isinstance(defaults.get(name), dict):
            if not isinstance(value, Mapping):
                raise RequestError(f"{key}.{name}={value}: is a section. Set its keys one by one.")
            merged[name] = _merged(defaults[name], value, f"{key}.{name}")
        else:
            merged[name] = _literal(value)
    return merged


def _literal(value: Any) -> Any:
    """A value that is one already: ${ in a regular expression names no other key."""
    if isinstance(value, list):
        return [_literal(item) for item in value]
    return value.replace("${", "\\${") if isinstance(value, str) else value
