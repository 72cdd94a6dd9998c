"""Folders that the command line names: an empty one is no value, and a run gets none that is somebody's home."""

import os
from collections.abc import Iterable
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

import folders
from errors import RequestError
from launcher.config.annotations import SURROGATE
from launcher.config.overrides import Override
from launcher.help.words import cut
from launcher.lab import Lab

PATHS = ("run_dir", "init_from", "resume", "rerun")
MODELS = ("model.path", "tokenizer.name")  # folders of others, unless they are names on the Hub
LONGEST_NAME, LONGEST_PATH = 255, 4095  # bytes, on Linux and macOS


def check_typed(overrides: Iterable[Override]) -> None:
    """Before any of them is followed. Raises RequestError as check_path."""
    for o in overrides:
        if o.key in PATHS and not o.deletes and not o.is_sweep and o.value is not None:
            check_path(o.key, o.text_value)


def check_path(key: str, text: str) -> None:
    """Raises RequestError for a path that is empty, or that no file can have; for one to read, if that has no end."""
    if not text.strip():
        raise RequestError(
            f"{key}= is empty, as an unset shell variable leaves it: expected a path.\n"
            f"Type {key}=PATH, or leave it out."
        )
    if "\0" in text or SURROGATE.search(text):
        raise RequestError(f"{key}={cut(repr(text))} is no path: it holds what stands for no character.")
    longest = max(len(os.fsencode(part)) for part in text.split("/"))
    if longest > LONGEST_NAME or len(os.fsencode(text)) > LONGEST_PATH:
        raise RequestError(
            f"{key}={text[:40]}...: a name of {longest} bytes is longer than a file's may be ({LONGEST_NAME})."
        )
    place = Path(text).expanduser()
    if key != "run_dir" and place.exists():
        folders.refuse_pipes(place, key=key)


def expand(cfg: DictConfig, lab: Lab) -> None:
    """Writes `~` out. Raises RequestError for a `run_dir` that cannot be a run's own folder."""
    for key in PATHS:
        path = OmegaConf.select(cfg, key, throw_on_resolution_failure=False)  # what names itself is told by the checks
        if isinstance(path, str):
            check_path(key, path)
            cfg[key] = str(Path(path).expanduser())
    for key in MODELS:
        name = OmegaConf.select(cfg, key, throw_on_resolution_failure=False)
        if isinstance(name, str) and name.strip():
            check_path(key, name)
    run_dir, resumed = (OmegaConf.select(cfg, key, throw_on_resolution_failure=False) for key in ("run_dir", "resume"))
    if isinstance(run_dir, str) and not resumed:
        check_run_dir(Path(run_dir), lab)


def check_run_dir(folder: Path, lab: Lab) -> None:
    """A run writes into its folder: never into the home, the working folder, this program, or what is above them."""
    place = Path(os.path.realpath(folder))
    for what, taken in (("your home", Path.home()), ("the working folder", Path.cwd()), ("this program", lab.root)):
        taken = Path(os.path.realpath(taken))
        if place == taken or place in taken.parents:
            why = f"is {what}" if place == taken else f"holds {taken}, {what}"
            raise RequestError(
                f"run_dir={folder} {why}: a run needs a folder of its own.\n"
                f"Type run_dir={folder / 'NAME'}, or leave it out: outputs/<date>/<time>-... is made."
            )
    if os.path.lexists(folder) and not os.path.isdir(folder):
        raise RequestError(f"run_dir={folder} is a file. Expected a folder that is empty or does not exist yet.")
