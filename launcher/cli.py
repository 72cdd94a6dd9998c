"""The command line: flags, then one job, one sweep, or something to read; exceptions become exit statuses here."""

import argparse
import os
import signal
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import stopping
from errors import Interrupted, RequestError
from launcher.lab import SWEEP_RECORD, Lab
from runs import naming

FLAGS = argparse.ArgumentParser(prog="run.py", add_help=False, allow_abbrev=False)
FLAGS.add_argument("words", nargs="*", help="group=option or key=value")
FLAGS.add_argument(
    "--help", "-h", action="store_true", help="this text; --help model=gpt2 or --help trainer tells more"
)
FLAGS.add_argument("--multirun", "-m", action="store_true", help="one job for each of several values: -m seed=1,2")
FLAGS.add_argument("--cfg", "-c", choices=["job", "hydra", "all"], help="print the composed config and stop")
FLAGS.add_argument("--resolve", action="store_true", help="with --cfg: interpolations replaced by their values")
FLAGS.add_argument("--package", "-p", help="with --cfg: only this section")
FLAGS.add_argument("--config-dir", "-cd", help="one more folder with config files")
FLAGS.add_argument("--hydra-help", action="store_true", help="Hydra's own help")
FLAGS.add_argument("--info", "-i", nargs="?", const="all", help="Hydra's account of how the config came about")
FLAGS.add_argument("--shell-completion", "-sc", action="store_true", help='eval "$(python run.py -sc install=bash)"')


COMPLETION = {f"{verb}={shell}" for verb in ("install", "uninstall", "query") for shell in ("bash", "fish", "zsh")}


def _check_place() -> None:
    """Raises RequestError where the working folder was removed: every path is looked for from there."""
    try:
        Path.cwd()
    except FileNotFoundError:
        raise RequestError("the working folder is not there any more. Go to one that is: cd") from None


def main(argv: Sequence[str], root: Path) -> int:
    """Does what the command line asks for and returns the exit status."""
    try:
        _check_place()
        code = _dispatch(list(argv), root)
        if code == 0 and stopping.asked():  # after the last file, or where nobody could tell it from an error
            raise Interrupted(stopping.asked())
        return code
    except (Exception, KeyboardInterrupt, Interrupted) as error:
        from launcher.jobs.endings import explain, is_out_of_memory, wants_traceback

        ending = explain(error)
        if wants_traceback() or (ending.is_bug and not is_out_of_memory(error)):
            traceback.print_exc()
        elif ending.words:
            print(ending.words, file=sys.stderr)
        return ending.code


def _end_quietly_with_the_reader() -> None:
    """`python run.py --help | head` is no failure."""
    if hasattr(signal, "SIGPIPE"):
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)


def _dispatch(argv: list[str], root: Path) -> int:
    if argv[:1] == ["--rank"]:
        return _run_rank(Path(argv[1]), argv[2:], root)
    argv = naming.expand(argv)
    flags = _parse(argv)
    lab = Lab(root, () if flags.config_dir is None else (_existing(Path(flags.config_dir)),))
    if flags.hydra_help or flags.info or flags.shell_completion:
        return _ask_hydra(flags, argv, lab)
    if flags.help:
        from launcher.help.screens import help_text

        _end_quietly_with_the_reader()
        print(help_text(flags.words, lab, FLAGS))
        return 0
    return _run(flags, argv, lab)


def _run(flags: argparse.Namespace, argv: list[str], lab: Lab) -> int:
    from launcher.config.compose import compose
    from launcher.config.overrides import overruled

    if (sweep := _resumed_sweep(flags.words)) is not None:
        from launcher.jobs.sweep import resume_sweep

        return resume_sweep(sweep, lab, argv)
    multirun = flags.multirun or any(word.lstrip("+").startswith("sweeps=") for word in flags.words)
    for earlier, later in overruled(flags.words):
        print(f"{earlier} changes nothing: {later} comes later, and is taken.", file=sys.stderr)
    plan = compose(flags.words, lab, multirun=multirun)
    several = multirun or plan.is_multirun
    if not several and plan.cfg.get("fail_fast") and any(w.lstrip("+").startswith("fail_fast=") for w in flags.words):
        plan.passed_over.append("fail_fast=true changes nothing: it is for sweeps, and this is one job.")
    for line in plan.passed_over if os.environ.get("RANK", "0") == "0" else ():
        print(line, file=sys.stderr)
    if flags.cfg:
        _end_quietly_with_the_reader()
        print(_shown(plan, flags), end="")
        return 0
    if several:
        from launcher.jobs.sweep import run_sweep

        return run_sweep(flags.words, plan, lab, argv)
    from launcher.jobs.job import Job, run_job

    return run_job(Job(plan, lab, argv))[0].code


def _resumed_sweep(words: Sequence[str]) -> Path | None:
    """The sweep folder that resume= names. Raises RequestError if something else was typed with it."""
    folders = [
        Path(word.removeprefix("resume=")).expanduser()
        for word in words
        if word.startswith("resume=") and word != "resume="
    ]
    if not folders or not (folders[-1] / SWEEP_RECORD).is_file():
        return None
    if len(words) > 1:
        raise RequestError(f"resume={folders[-1]} is a sweep: it goes on as it was typed. Type nothing else with it.")
    return folders[-1]


def _run_rank(folder: Path, command: list[str], root: Path) -> int:
    """One rank of a job that another process supervises: everything is read from the run folder, and checked again."""
    from launcher.config.compose import reload
    from launcher.jobs import ranks
    from launcher.jobs.job import Job, work

    run = ranks.child_folder(folder)
    return work(Job(reload(folder, Lab(root)), Lab(root), command), run).code


def _parse(argv: list[str]) -> argparse.Namespace:
    flags, unknown = FLAGS.parse_known_intermixed_args(argv)
    if unknown:
        from launcher.help.words import did_you_mean

        names = [name for action in FLAGS._actions for name in action.option_strings]
        raise RequestError(f"{' '.join(unknown)}: there is no such flag.{did_you_mean(unknown[0], names)}")
    for name, value in vars(flags).items():
        if isinstance(value, str) and not value.strip():
            flag = f"--{name.replace('_', '-')}"
            raise RequestError(f"{flag} {value!r} is empty, as an unset shell variable leaves it. Leave {flag} out.")
    for name in ("package", "resolve"):
        if getattr(flags, name) and not (flags.cfg or flags.hydra_help):
            raise RequestError(f"--{name} says how --cfg shows the config: type --cfg job too, or leave it out.")
    return flags


def _existing(folder: Path) -> Path:
    if not folder.is_dir():
        raise RequestError(f"--config-dir {folder}: there is no such folder.")
    return folder


def _shown(plan: Any, flags: argparse.Namespace) -> str:
    """The config as YAML, as Hydra's --cfg shows it. Raises RequestError for values that name nothing or themselves."""
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    from launcher.config import hydra_keys

    try:
        hydra = OmegaConf.create({"hydra": plan.hydra})
        tree = {"job": plan.cfg, "hydra": hydra, "all": OmegaConf.merge(hydra, plan.cfg)}[flags.cfg]
        if flags.package is not None:
            tree = _section(tree, flags.package)
            if not OmegaConf.is_config(tree):
                return f"{tree}\n"
        return OmegaConf.to_yaml(tree, resolve=flags.resolve)
    except OmegaConfBaseException as error:
        raise RequestError(hydra_keys.translate(error)) from error


def _section(tree: Any, name: str) -> Any:
    """Raises RequestError where the config has no such section or key."""
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    from launcher.help.words import did_you_mean, listing

    nothing, names = object(), [str(key) for key in tree]
    try:
        found = OmegaConf.select(tree, name, default=nothing, throw_on_missing=False)
    except OmegaConfBaseException:
        found = nothing
    if found is nothing:
        hint = did_you_mean(name, names)
        raise RequestError(f"--package {name}: the config has no such section. It has: {listing(names)}.{hint}")
    return found


def _ask_hydra(flags: argparse.Namespace, argv: list[str], lab: Lab) -> int:
    """What only Hydra can tell. Raises RequestError, as anywhere, for words that are wrong."""
    from hydra import main as hydra_main

    from launcher.config.compose import compose
    from launcher.config.overrides import parse

    words = {}
    if flags.shell_completion and COMPLETION.isdisjoint(flags.words):
        raise RequestError('--shell-completion: type eval "$(python run.py -sc install=bash)", or uninstall=bash.')
    if flags.hydra_help and flags.words:
        raise RequestError("--hydra-help tells of Hydra alone: leave the words out, or type --help with them.")
    if flags.info:
        compose(flags.words, lab, multirun=flags.multirun)
        words = {o.typed: o.text for o in parse(flags.words, lab, multirun=flags.multirun)}
    sys.argv = [str(lab.root / "run.py"), *(words.get(word, word) for word in argv)]
    hydra_main(version_base="1.3", config_path=str(lab.conf.absolute()), config_name="config")(lambda cfg: None)()
    return 0
