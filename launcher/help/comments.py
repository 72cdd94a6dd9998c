"""Help is written once, in the YAML: the first comment of a file describes the option, the one behind a key the key."""

import re
from dataclasses import dataclass
from pathlib import Path

from launcher.lab import lineage

KEY = re.compile(r"(?P<indent> *)(?P<key>[A-Za-z_][\w.-]*):(?P<rest>(?: .*)?)$")
QUOTED = re.compile(r"\"(?:\\.|[^\"])*\"|'(?:''|[^'])*'")
NOT_KEYS = ("defaults", "hydra")


@dataclass(frozen=True)
class KeyHelp:
    value: str  # as written; empty for a section
    help: str

    @property
    def is_section(self) -> bool:
        return not self.value


@dataclass(frozen=True)
class FileHelp:
    about: str
    keys: dict[str, KeyHelp]  # by dotted key


def read_option(group: str, file: Path) -> FileHelp:
    """An option as it is typed, with what it inherits; a value that differs keeps the comment of its key."""
    keys: dict[str, KeyHelp] = {}
    for older in lineage(file):
        prefix = f"{package}." if (package := package_of(group, older)) else ""
        for key, own in read_help(older).keys.items():
            known = keys.get(prefix + key)
            keys[prefix + key] = KeyHelp(own.value, own.help or (known.help if known else ""))
    return FileHelp(read_help(file).about, keys)


def package_of(group: str, file: Path) -> str:
    """The section in which a file lands: that of its group, unless its first line says otherwise; "" is the top."""
    first = next((s.split()[-1] for s in file.read_text(encoding="utf-8").splitlines() if "@package" in s), group)
    return "" if first == "_global_" else first


def read_help(file: Path) -> FileHelp:
    """The comments of one config file, its keys as they stand in it."""
    lines = file.read_text(encoding="utf-8").splitlines()
    comments = [line.lstrip("# ") for line in lines if line.startswith("#") and "@package" not in line]
    keys: dict[str, KeyHelp] = {}
    stack: list[tuple[int, str]] = []
    for line in lines:
        match = KEY.fullmatch(line.rstrip())
        if match is None:
            continue
        indent = len(match["indent"])
        stack = [(depth, name) for depth, name in stack if depth < indent] + [(indent, match["key"])]
        value, comment = split_comment(match["rest"])
        path = [name for _, name in stack]
        if path[0] not in NOT_KEYS:
            keys[".".join(path)] = KeyHelp(value, comment)
    return FileHelp(comments[0] if comments else "", keys)


def split_comment(text: str) -> tuple[str, str]:
    """ "8  # heads" -> ("8", "heads"); a # inside quotes or inside a word is no comment."""
    blank = QUOTED.sub(lambda m: "_" * len(m.group()), text)
    at = re.search(r"(^|\s)#", blank)
    if at is None:
        return text.strip(), ""
    return text[: at.start()].strip(), text[at.end() :].strip()
