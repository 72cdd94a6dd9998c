"""Ours and not ours: the files that a task writes into a folder. Only these are ever written over or removed.

A folder that is to be filled, emptied or replaced is looked at first; anything that the manifest does not list is
somebody else's, and the request is refused with its name (F17).
"""

import os
import stat
from collections.abc import Iterator
from contextlib import suppress
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Literal

from errors import RequestError

Kind = Literal["claim", "run", "token files", "token files in the making", "begun crawl", "merged crawl", "crawl"]
SHOWN = 6
_SHARD = "[0-9]" * 5
_TOKEN_FILES = (
    *(f"{side}{shard}.bin" for side in ("train", "val") for shard in ("", f"-{_SHARD}")),
    *("train.docs", "val.docs", "meta.json", "tokenizer.json", "merges.tsv", "hf/*"),
    *("sentencepiece.model", "ranks.tiktoken", "card.json"),
)
_LEDGER = ("crawl.sqlite", "crawl.sqlite-wal", "crawl.sqlite-shm", "crawl.lock")
_BEFORE_A_CRAWL = (".hydra/*", "run.log", ".settings.json", "workers/*", "httpcache/*")
_CRAWLED = (
    *(f"documents-{_SHARD}.jsonl", f"documents-{_SHARD}.parquet", f".documents-{_SHARD}.parquet.part"),
    *("dropped/*/documents.jsonl", "manifest.json", "corpus.txt", "README.md", "report.html"),
    *(".manifest.json.part", ".corpus.txt.part", ".README.md.part", ".report.html.part"),
)
# patterns of paths below the folder; a * stands for any characters, also for further folders
MANIFEST: dict[Kind, tuple[str, ...]] = {
    "claim": (".hydra/", ".hydra/.*", ".hydra/hydra.yaml", ".hydra/overrides.yaml"),  # killed before it was a run
    "run": (
        *(".hydra/*", "summary.json", ".summary.json.*", "run.log", "run.rank*.log", "metrics.csv", ".metrics.csv.*"),
        *("checkpoints/*", "tensorboard/*", "tokenizer/*", "adapter/*", "wandb/*", "states-*/*", "export/*"),
        *(
            "card.json",
            "card.txt",
            "sample.txt",
            "samples.jsonl",
            "chat.json",
            "evaluation.json",
            "hardware.json",
            "profile*.txt",
        ),
        *(
            "predictions.jsonl",
            "answers.json",
            "rollouts.jsonl",
            "past_context.*",
            "compute.png",
            "start/*",
            "base/*",
            "reward/*",
            "cache/*",
        ),
        *(f"{view}.json" for view in ("attention", "boosting", "errors", "positions", "rollouts", "routing")),
        *("*.html", "report.md", "arms.csv", "runs.csv", "paper.md", "paper.tex", "intervals.*", "curves.*"),
    ),
    "token files": _TOKEN_FILES,
    "token files in the making": (
        *(*_TOKEN_FILES, ".*.[0-9]*", "key", "key.new", "progress.json", "progress.json.new"),
    ),
    "begun crawl": (*_BEFORE_A_CRAWL, *_LEDGER),
    "merged crawl": (*_LEDGER, *_CRAWLED),
    "crawl": (*_LEDGER, *_CRAWLED, ".settings.json", "workers/*", "httpcache/*"),
}


def is_ours(name: str, *kinds: Kind) -> bool:
    """Whether a path below a folder of these kinds, with `/` between its parts, is one that we write."""
    return any(fnmatchcase(name, pattern) for kind in kinds for pattern in MANIFEST[kind])


def strangers(folder: Path, *kinds: Kind) -> list[str]:
    """Paths below `folder`, sorted, that a task does not write into folders of these kinds; of empty folders too."""
    return sorted(name for name, _ in entries(folder) if not is_ours(name, *kinds))


def refuse_strangers(folder: Path, *kinds: Kind, key: str, why: str) -> None:
    """Raises RequestError if `folder` holds anything that is not ours. `why`: what would happen to it."""
    if found := strangers(folder, *kinds):
        raise RequestError(
            f"{key}={folder} holds {listing(found)}: not written by this program, and {why}.\n"
            f"Type {key}=<a folder that is empty or not there yet>, or move that away first."
        )


def refuse_pipes(folder: Path, *, key: str) -> None:
    """Raises RequestError if a file in or below `folder`, or the file itself, is none: reading it would never end."""
    for place, _, files in os.walk(folder) if folder.is_dir() else [(folder.parent, (), [folder.name])]:
        for path in (Path(place) / name for name in files):
            with suppress(OSError):  # a link to nothing, or to itself, is missed where it is wanted
                if not stat.S_ISREG(path.stat().st_mode):
                    raise RequestError(f"{key}={folder}: {path} is a pipe or a device, not a file. Take it away.")


def listing(names: list[str]) -> str:
    """The first few and how many more."""
    more = f" and {len(names) - SHOWN:,} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more


def remove(folder: Path, *kinds: Kind, itself: bool = True) -> None:
    """Removes what is ours below `folder`, folders that this leaves empty, and `folder` if nothing else is in it."""
    for name, path in entries(folder):
        if is_ours(name, *kinds) and not name.endswith("/"):  # empty folders go below
            path.unlink()
    for place, folders, _ in os.walk(folder, topdown=False):
        for inner in folders:
            _remove_empty(Path(place) / inner)
    if itself:
        _remove_empty(folder)


def _remove_empty(folder: Path) -> None:
    try:
        folder.rmdir()
    except OSError:  # something is in it, or it is a link
        return


def entries(folder: Path) -> Iterator[tuple[str, Path]]:
    """Every file below `folder`, and every folder that is empty; a link is a file, wherever it leads."""
    for place, inner, files in os.walk(folder):
        links = [name for name in inner if (Path(place) / name).is_symlink()]
        for name in [*files, *links]:
            path = Path(place) / name
            yield path.relative_to(folder).as_posix(), path
        if not inner and not files and Path(place) != folder:
            yield f"{Path(place).relative_to(folder).as_posix()}/", Path(place)
