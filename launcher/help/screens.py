"""What `python run.py --help` prints; put together from the comments in conf/, so that it cannot fall behind."""

import argparse
from collections.abc import Iterator, Sequence

from launcher.help.comments import read_help
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
        from launcher.help.about import about  # reads signatures: what the overview never asks for takes no time

        return "\n\n".join("\n".join(about(word, lab)) for word in words)
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
    yield from table("Five commands to start with", COMMANDS, width=62)
    yield "\nGroups (* is the default)"
    for group, default in default_options(lab).items():
        for i, (option, file) in enumerate(lab.groups.get(group, {}).items()):
            name = f"{option} *" if option == default else option
            yield f"  {column(group if i == 0 else '', 12)}{column(name, WIDTH)}{read_help(file).about}"
    yield from table("Keys that every task knows", _every_task(lab) | COMMON)
    shown = {", ".join(a.option_strings): a.help or "" for a in flags._actions if a.option_strings}
    yield from table("Flags", shown)
    yield from table("More", MORE, width=34)
    yield "\nExit status: 0 finished, 1 failed, 2 wrong request, 130 or 143 stopped by Ctrl-C or SIGTERM, after saving."


def _every_task(lab: Lab) -> dict[str, str]:
    keys = {f"{key}={k.value}": k.help for key, k in read_help(lab.conf / "config.yaml").keys.items()}
    trainer = lab.groups.get("trainer", {}).get(default_options(lab).get("trainer") or "")
    if trainer is None:
        return keys
    written = read_help(trainer).keys
    picked = [key for key in EVERY_TASK if key.partition(".")[2] in written]
    return keys | {f"{k}={written[k.partition('.')[2]].value}": written[k.partition(".")[2]].help for k in picked}


def table(title: str, rows: dict[str, str], *, width: int = WIDTH + 12) -> Iterator[str]:
    """A heading and its rows; nothing where there are none."""
    if rows:
        yield f"\n{title}"
        yield from (f"  {column(name, width)}{text}".rstrip() for name, text in rows.items())


def column(text: str, width: int) -> str:
    """Filled up with blanks to `width`; two of them also behind what is longer."""
    return f"{text + '  ':<{width}}"
