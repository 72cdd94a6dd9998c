"""Help is written once, in the YAML: the first comment of a file describes the option, the one behind a key the key."""

import re
from dataclasses import dataclass
from pathlib import Path

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
    keys: dict[str, KeyHelp]  # by dotted key, as it stands in the file


def read_help(file: Path, inside: tuple[Path, ...] = ()) -> FileHelp:
    """The comments of one config file; what it inherits from options beside it (`defaults: [hf, _self_]`, or
    `[short@gbft, _self_]`) is told too, a key's value by the file that is nearer, its help by the nearest that has one.
    `inside`: files that inherit this one; one that inherits itself, which composing refuses, is read once.
    """
    lines = file.read_text(encoding="utf-8").splitlines()
    comments = [line.lstrip("# ") for line in lines if line.startswith("#") and "@package" not in line]
    keys: dict[str, KeyHelp] = {}
    for parent, section in [*((parent, "") for parent in parents(file)), *placed_parents(file)]:
        if parent not in (*inside, file):
            keys |= {section + key: known for key, known in read_help(parent, (*inside, file)).keys.items()}
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
            inherited = keys.get(".".join(path))
            keys[".".join(path)] = KeyHelp(value, comment or (inherited.help if inherited else ""))
    return FileHelp(comments[0] if comments else "", keys)


def parents(file: Path) -> list[Path]:
    """Options beside this one that its defaults list names without a group: `- hf`."""
    names = re.findall(r"^  - ([\w.-]+)\s*(?:#.*)?$", _defaults(file), re.MULTILINE)
    beside = [file.with_name(f"{name}.yaml") for name in names if name != "_self_"]
    return [parent for parent in beside if parent.is_file()]


def placed_parents(file: Path) -> list[tuple[Path, str]]:
    """Those that it names with the section where their keys go, and that: `- short@gbft` -> (short, "gbft.")."""
    names = re.findall(r"^  - ([\w.-]+)@([\w.]+)\s*(?:#.*)?$", _defaults(file), re.MULTILINE)
    beside = [(file.with_name(f"{name}.yaml"), f"{section}.") for name, section in names]
    return [(parent, section) for parent, section in beside if parent.is_file()]


def _defaults(file: Path) -> str:
    block = re.search(r"^defaults:\n((?:  - .*\n)+)", file.read_text(encoding="utf-8"), re.MULTILINE)
    return block[1] if block else ""


def section_of(file: Path, group: str) -> str:
    """Where the keys of an option's file land, as "model.": in the section of its group, unless `# @package` says
    otherwise; "" for the whole config."""
    lines = file.read_text(encoding="utf-8").splitlines()
    package = next((line.split()[-1] for line in lines if "@package" in line), group)
    return "" if package == "_global_" else f"{package}."


def split_comment(text: str) -> tuple[str, str]:
    """ "8  # heads" -> ("8", "heads"); a # inside quotes or inside a word is no comment."""
    blank = QUOTED.sub(lambda m: "_" * len(m.group()), text)
    at = re.search(r"(^|\s)#", blank)
    if at is None:
        return text.strip(), ""
    return text[: at.start()].strip(), text[at.end() :].strip()
