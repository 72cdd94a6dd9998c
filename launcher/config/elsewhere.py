"""Keys that a config lacks and would have with another option of the group: model.moe.n_experts with model=moe."""

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from launcher.help.comments import parents, read_help, section_of
from launcher.lab import Lab


def keys_of_others(group: str, choices: Mapping[str, Any], lab: Lab) -> dict[str, list[str]]:
    """{dotted key: the options whose files write it}, of all options of a group but the chosen one, plain ones first.

    Those of --config-dir are left out: a file there that nobody chose may be anything.
    """
    found: dict[str, list[str]] = {}
    options = [each for each in lab.groups.get(group, {}).items() if each[1].is_relative_to(lab.conf)]
    for option, file in sorted(options, key=lambda each: len(parents(each[1]))):
        if option != choices.get(group):
            for key in _keys(group, file, file.stat().st_mtime_ns):
                found.setdefault(key, []).append(option)
    return found


@cache
def _keys(group: str, file: Path, changed: int) -> list[str]:
    section = section_of(file, group)
    keys = (f"{section}{key}" for key in read_help(file).keys)
    return [key for key in keys if key.startswith(f"{group}.") and "_target_" not in key]
