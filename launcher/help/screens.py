"""What `python run.py --help` prints; put together from the comments in conf/, so that it cannot fall behind."""

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path

from commands import run_py
from errors import RequestError
from launcher.config.annotations import limits
from launcher.config.source import Target, read_target, record_of
from launcher.help.comments import FileHelp, read_help
from launcher.help.words import did_you_mean, listing
from launcher.lab import Lab

COMMANDS = {
    "python run.py": "train a small GPT on the text that ships inside Python",
    "python run.py task=check model=gpt2": "what a run would cost, without starting it",
    'python run.py task=generate init_from=RUN_DIR prompt="The "': "let a trained model write",
    "python run.py resume=RUN_DIR trainer.max_steps=4000": "go on where a run stopped, further than planned",
    "python run.py -m optimizer.lr=1e-3,3e-3 seed=1,2": "four runs, one for each combination",
}
EVERY_TASK = ("trainer.max_steps", "trainer.max_time", "trainer.val_every", "trainer.checkpoint_every")
COMMON = {
    "data.path=...": "a file, glob or folder, for every data option that reads something",
    "data.batch_size=...": "sequences per micro-batch and device",
    "model.seq_len=...": "context length in tokens",
}
MORE = {
    "python run.py --help model": "the options of a group",
    "python run.py --help model=gpt2": "the keys of an option",
    "python run.py --cfg job": "the whole config, as it would be run",
}
WIDTH = 30


def help_text(words: Sequence[str], lab: Lab, flags: argparse.ArgumentParser) -> str:
    """The overview, or what there is to say about each of `words`: a group, group=option, or a key.

    Raises:
        RequestError: one of the words is none of these.
    """
    if words:
        return "\n\n".join("\n".join(_about(word, lab)) for word in words)
    return "\n".join(_overview(lab, flags))


def default_options(lab: Lab) -> dict[str, str | None]:
    """{group: option} of conf/config.yaml, in its order, read without Hydra."""
    lines = (lab.conf / "config.yaml").read_text(encoding="utf-8").split("defaults:", 1)[1].splitlines()[1:]
    found: dict[str, str | None] = {}
    for line in lines:
        if not line.startswith("  - "):
            break
        group, _, option = line[4:].split("#")[0].partition(":")
        if option and " " not in group.strip():
            found[group.strip()] = None if option.strip() == "null" else option.strip()
    return found


def _overview(lab: Lab, flags: argparse.ArgumentParser) -> Iterator[str]:
    yield "Experiments with language models: python run.py [group=option ...] [key=value ...]"
    yield from _table("Five commands to start with", COMMANDS, width=62)
    yield "\nGroups (* is the default)"
    for group, default in default_options(lab).items():
        for i, (option, file) in enumerate(lab.groups.get(group, {}).items()):
            name = f"{option} *" if option == default else option
            yield f"  {column(group if i == 0 else '', 12)}{column(name, WIDTH)}{read_help(file).about}"
    yield from _table("Keys that every task knows", _every_task(lab) | COMMON)
    shown = {", ".join(a.option_strings): a.help or "" for a in flags._actions if a.option_strings}
    yield from _table("Flags", shown)
    yield from _table("More", MORE, width=34)
    yield "\nExit status: 0 finished, 1 failed, 2 wrong request, 130 or 143 stopped by Ctrl-C or SIGTERM, after saving."


def _every_task(lab: Lab) -> dict[str, str]:
    keys = {f"{key}={k.value}": k.help for key, k in read_help(lab.conf / "config.yaml").keys.items()}
    trainer = lab.groups.get("trainer", {}).get(default_options(lab).get("trainer") or "")
    if trainer is None:
        return keys
    written = read_help(trainer).keys
    picked = [key for key in EVERY_TASK if key.partition(".")[2] in written]
    return keys | {f"{k}={written[k.partition('.')[2]].value}": written[k.partition(".")[2]].help for k in picked}


def _about(word: str, lab: Lab) -> Iterator[str]:
    group, _, option = word.partition("=")
    if group in lab.groups and option:
        yield from _option(group, option, lab)
    elif group in lab.groups:
        yield from _group(group, lab)
    else:
        yield _key(group, lab)


def _group(group: str, lab: Lab) -> Iterator[str]:
    options = lab.groups[group]
    yield from _table(f"{group}=...", {option: read_help(file).about for option, file in options.items()})
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
    yield from _table("Keys", dict(_keys(lab.groups[group][option], group, written, lab)))
    yield from _optional(group, written, lab)


def _keys(file: Path, group: str, written: FileHelp, lab: Lab) -> Iterator[tuple[str, str]]:
    """Keys as they are typed, with their comments and bounds; a file lands in the section of its group, unless its
    first line says otherwise.
    """
    package = next((s.split()[-1] for s in file.read_text(encoding="utf-8").splitlines() if "@package" in s), group)
    prefix = "" if package == "_global_" else f"{package}."
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
        owner = read_target(read_help(usual).keys["_target_"].value, lab, key=section)
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


def _table(title: str, rows: dict[str, str], *, width: int = WIDTH + 12) -> Iterator[str]:
    if rows:
        yield f"\n{title}"
        yield from (f"  {column(name, width)}{text}".rstrip() for name, text in rows.items())


def column(text: str, width: int) -> str:
    """Filled up with blanks to `width`; two of them also behind what is longer."""
    return f"{text + '  ':<{width}}"
