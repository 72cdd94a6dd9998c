"""What `python run.py --help WORD` says about a group, an option or a key, with the bounds that the code sets."""

from collections.abc import Iterator
from pathlib import Path

from commands import run_py
from errors import RequestError
from launcher.config.annotations import limits
from launcher.config.source import Target, read_target, record_of
from launcher.help.comments import FileHelp, read_help, section_of
from launcher.help.screens import default_options, table
from launcher.help.words import did_you_mean, listing
from launcher.lab import Lab


def about(word: str, lab: Lab) -> Iterator[str]:
    """Lines. Raises RequestError for what is no group, option or key."""
    group, _, option = word.partition("=")
    if group in lab.groups and option:
        yield from _option(group, option, lab)
    elif group in lab.groups:
        yield from _group(group, lab)
    else:
        yield _key(group, lab)


def _group(group: str, lab: Lab) -> Iterator[str]:
    options = lab.groups[group]
    yield from table(f"{group}=...", {option: read_help(file).about for option, file in options.items()})
    if len(options) == 1:
        yield from _option(group, next(iter(options)), lab)
    else:
        yield f"\nThe keys of an option: {run_py('--help', f'{group}={next(iter(options))}')}"


def _option(group: str, option: str, lab: Lab) -> Iterator[str]:
    if option not in lab.groups[group]:
        names = list(lab.groups[group])
        hint = did_you_mean(option, names, form=f"--help {group}={{}}")
        raise RequestError(f"{group}={option}: there is no such option.\nOptions: {listing(names)}.{hint}")
    written = read_help(lab.groups[group][option])
    yield f"{group}={option}   {written.about}"
    yield from table("Keys", dict(_keys(lab.groups[group][option], group, written, lab)))
    yield from _optional(group, written, lab)


def _keys(file: Path, group: str, written: FileHelp, lab: Lab) -> Iterator[tuple[str, str]]:
    """Keys as they are typed, with their comments and bounds; a file lands in the section of its group, unless its
    first line says otherwise.
    """
    prefix = section_of(file, group)
    targets = {key: read_target(k.value, lab, key=key) for key, k in written.keys.items() if key.endswith("_target_")}
    owners = {f"{prefix}{key}".removesuffix("_target_").rstrip("."): target for key, target in targets.items()}
    for key, known in written.keys.items():
        if not known.is_section and not key.rpartition(".")[2].startswith("_"):
            within = _limits(f"{prefix}{key}", owners, lab)
            yield f"{prefix}{key}={known.value}", known.help + (f" ({within})" if within else "")


def _limits(key: str, owners: dict[str, Target], lab: Lab) -> str:
    """ "1 or more": what the number under a key may be, from the signature of what takes it; empty for other keys."""
    section, _, leaf = key.rpartition(".")
    owner = owners.get(section) or (owners.get("task") if not section else None)
    if owner is None and "task" in owners:
        owner = record_of(section, [owners["task"]], lab)
    elif owner is None and section in lab.groups:  # hardware fills the keys of trainer
        usual = lab.groups[section][default_options(lab).get(section) or next(iter(lab.groups[section]))]
        written = read_help(usual).keys.get("_target_")
        owner = None if written is None else read_target(written.value, lab, key=section)
    param = owner.params.get(leaf) if owner is not None else None
    return "" if owner is None or param is None else limits(param.annotation, owner.aliases)


def _optional(group: str, written: FileHelp, lab: Lab) -> Iterator[str]:
    """Keys that the code takes beside those in the file."""
    if "_target_" not in written.keys:
        return
    target = read_target(written.keys["_target_"].value, lab, key=f"{group}._target_")
    more = [name for name, param in target.params.items() if not param.required and name not in written.keys]
    if more:
        yield f"\nAlso, with defaults in the code: {listing(f'{group}.{name}' for name in more)}"


def _key(key: str, lab: Lab) -> str:
    """One line about a key, from the options chosen by default."""
    files = [(group, lab.groups.get(group, {}).get(option or "")) for group, option in default_options(lab).items()]
    known = {k: v.help for k, v in read_help(lab.conf / "config.yaml").keys.items()}
    for group, file in files:
        if file is not None:
            known |= {typed.split("=", 1)[0]: text for typed, text in _keys(file, group, read_help(file), lab)}
    if key not in known:
        raise RequestError(f"--help {key}: no such group or key.{did_you_mean(key, [*lab.groups, *known])}")
    return f"{key}   {known[key]}"
