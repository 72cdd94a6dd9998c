"""`last`, `last-1`, `last-2`: the run that was trained last, the one before it, and so on, wherever RUN is typed.

They stand for folders of task=fit alone, whatever samples, evaluations and reports were made since: a run to go on
with, to look at or to compare. The words of the command line are replaced before anything reads them, so that what is
kept of a run says which folder was meant.
"""

import os
import re
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

from commands import hydra_text
from errors import RequestError
from runs.files import is_run
from runs.listing import OUTPUTS, folders_of_runs, read, started

# last names of the keys that take run folders: reward.reward_model.run, evaluate.beside, runs.compare, ...
KEYS = ("init_from", "resume", "rerun", "run", "runs", "rerank", "beside", "merge", "compare", "delete", "predictions")
_WORD = re.compile(rf"\+*(?:\w+\.)*(?:{'|'.join(KEYS)})=.*", re.S)
_NAME = re.compile(r"(?<![^\s,\[='\"])last(?:-(\d+))?(/[^\s,\]'\"]*)?(?=[\s,\]'\"]|$)")
_DIGITS = 6  # more runs than that nobody has


def expand(words: Sequence[str], root: str | Path = OUTPUTS) -> list[str]:
    """The words of a command line with folders for `last` and `last-2`; a folder of that name here is itself.

    Raises:
        RequestError: not so many runs have been trained.
    """
    return [_expanded(word, root) if _WORD.fullmatch(word) else word for word in words]


def _expanded(word: str, root: str | Path) -> str:
    key, _, value = word.partition("=")

    def folder(found: re.Match[str]) -> str:
        if os.path.exists(found[0]):  # of any length
            return found[0]
        return hydra_text(f"{nth_last(found[1] or '0', root, asked=f'{key}={found[0]}')}{found[2] or ''}")

    return f"{key}={_NAME.sub(folder, value)}"


def nth_last(n: str | int, root: str | Path = OUTPUTS, *, asked: str = "last") -> Path:
    """The run trained last, for n = 0, or n before it. Raises RequestError where there are not so many."""
    if len(str(n)) <= _DIGITS:
        found = list(islice(trained(root), int(n) + 1))
        if len(found) > int(n):
            return found[int(n)]
    count = len(list(trained(root)))
    names = {0: "there is none", 1: "there is one: last"}.get(count, f"there are {count}: last to last-{count - 1}")
    raise RequestError(f"{asked}: not so many runs were trained under {root}/; {names}.\nType task=runs to see them.")


def trained(root: str | Path = OUTPUTS) -> Iterator[Path]:
    """Folders of task=fit, newest first."""
    for folder in sorted(folders_of_runs(root), key=lambda folder: (-started(folder), str(folder))):
        if read(folder, sizes=False).task == "fit":
            yield folder


def run_named(text: str, root: str | Path = OUTPUTS) -> Path:
    """The run folder that a path, `last` or `last-2` names.

    Raises:
        RequestError: there is none.
    """
    if not text.strip():
        raise RequestError("a run is named by nothing, as an unset shell variable leaves it. Type last, or its folder.")
    found = _NAME.fullmatch(text)
    folder = nth_last(found[1] or 0, root, asked=text) if found and not found[2] else Path(text).expanduser()
    if not folder.is_dir() or not is_run(folder):
        what = (
            "is no run folder: it has neither .hydra/config.yaml nor summary.json"
            if folder.exists()
            else "is not there"
        )
        raise RequestError(f"{text} {what}.\nType last, last-1, ..., or a folder that task=runs lists.")
    return folder
