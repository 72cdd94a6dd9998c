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

from commands import run_py, word
from errors import RequestError
from strict_yaml import value_in

Kind = Literal[
    "claim", "run", "pipeline", "token files", "token files in the making", "begun crawl", "merged crawl", "crawl"
]
PREDICTIONS = "predictions.jsonl"  # of task=evaluate
SHOWN = 6
_CONFIG = ".hydra/config.yaml"
_SHARD, _PID = "[0-9]" * 5, "[0-9]*"
_HF = (  # of a tokenizer of transformers
    *("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "chat_template.jinja"),
    *("vocab.json", "merges.txt"),
)
_FETCHED = (*_HF, "tokenizer.*", "vocab.*", "chat_template.*", "*.model", "*.tiktoken", "config.json",
            "generation_config.json")  # fmt: skip
_OWN = ("tokenizer.json", "merges.tsv", "sentencepiece.model", "ranks.tiktoken", *(f"hf/{name}" for name in _FETCHED))
_DRAFTS = (*(f".{name}.{_PID}" for name in _OWN[:4]), *(f"hf/.{name}.{_PID}" for name in _FETCHED))
_TOKEN_FILES = (
    *(f"{side}{shard}.bin" for side in ("train", "val") for shard in ("", f"-{_SHARD}")),
    *("train.docs", "val.docs", "meta.json", "card.json", *_OWN),
)
_CHECKPOINTS = tuple(
    f"checkpoints/{name}"
    for name in ("last.ckpt", "best.ckpt", "ema.ckpt", "evidence.pt", f"step_{'[0-9]' * 8}.ckpt", f".*.ckpt.{_PID}.tmp")
)
_WEIGHTS = (
    *("model.safetensors", "model.gguf", "model.safetensors.index.json"),
    f"model-{_SHARD}-of-{_SHARD}.safetensors",
)
_STATES = tuple(f"states-????????/{name}" for name in ("hidden", "mid", "ensemble"))  # of boosting, while it runs
_PAGES = ("attention", "boosting", "errors", "positions", "rollouts", "routing")
_RUN = (
    *(f".hydra/{name}.yaml" for name in ("config", "hydra", "overrides")),
    *(f".hydra/.*.yaml.{_PID}", "summary.json", f".summary.json.{_PID}"),
    *("run.log", f"run.rank{_PID}.log", "metrics.csv", f".metrics.csv.{_PID}.tmp"),
    *_CHECKPOINTS,
    *(f"{folder}/{name}" for folder in ("start", "base", "reward_model") for name in _CHECKPOINTS),
    *("tensorboard/events.out.tfevents.*", "tensorboard/*/events.out.tfevents.*", "tensorboard/hparams.yaml"),
    *(f"tokenizer/{name}" for name in (*_OWN, *_DRAFTS)),
    *("adapter/adapter.json", "adapter/adapter.safetensors", *_STATES, *(f"cache/{name}" for name in _STATES)),
    *("wandb/run-*/**", "wandb/offline-run-*/**", "wandb/latest-run", "wandb/debug*.log", "wandb/settings"),
    *(f"export/{name}" for name in ("config.json", "generation_config.json", *_WEIGHTS, *_HF)),
    *("card.json", "card.txt", "sample.txt", "samples.jsonl", "chat.json", "evaluation.json"),
    "hardware.json",
    *("profile.txt", "fit-profile.txt", f"fit-profile-{_PID}.txt"),
    *(
        PREDICTIONS,
        "answers.json",
        "rollouts.jsonl",
        ".rollouts.jsonl.*",
        "past_context.json",
        "past_context.png",
        "compute.png",
    ),
    *(f"{page}.{end}" for page in _PAGES for end in ("html", "json")),
    *("merges.html", "inspect.html", "report.html", "report.md", "arms.csv", "runs.csv", "paper.md", "paper.tex"),
    *(f"gains.{end}" for end in ("md", "json", "html")),
    *(f"{figure}.{end}" for figure in ("intervals", "curves") for end in ("svg", "pdf")),
)
_LEDGER = ("crawl.sqlite", "crawl.sqlite-wal", "crawl.sqlite-shm", "crawl.lock")
_CACHED = ("meta", "pickled_meta", "response_headers", "response_body", "request_headers", "request_body")
_CRAWLED = (
    *(f"documents-{_SHARD}.jsonl", f"documents-{_SHARD}.parquet", f".documents-{_SHARD}.parquet.part"),
    *("dropped/*/documents.jsonl", "manifest.json", "corpus.txt", "README.md", "report.html"),
    *(".manifest.json.part", ".corpus.txt.part", ".README.md.part", ".report.html.part"),
)
_BESIDE_A_CRAWL = (".settings.json", *(f"httpcache/*/??/{'?' * 40}/{name}" for name in _CACHED))
_WORKERS = tuple(f"workers/*/{name}" for name in (*_LEDGER, *_CRAWLED, *_BESIDE_A_CRAWL, "run.log"))
_CLAIMED = (*(f".hydra/{name}.yaml" for name in ("hydra", "overrides")), f".hydra/.*.yaml.{_PID}")  # killed early
# patterns of paths below the folder: * stands for any characters of one name, ** at the end for all that is below
MANIFEST: dict[Kind, tuple[str, ...]] = {
    "claim": _CLAIMED,
    "run": _RUN,
    "pipeline": tuple(f"{place}/{pattern}" for place in ("*", "asked/*") for pattern in (*_CLAIMED, *_RUN)),
    "token files": _TOKEN_FILES,
    "token files in the making": (
        *(*_TOKEN_FILES, f".*.{_PID}", *_DRAFTS, "key", "key.new", "progress.json", "progress.json.new"),
    ),
    "begun crawl": (*_RUN[:4], "run.log", ".settings.json", "workers/**", "httpcache/**", *_LEDGER),
    "merged crawl": (*_LEDGER, *_CRAWLED),
    "crawl": (*_LEDGER, *_CRAWLED, *_BESIDE_A_CRAWL, *_WORKERS),
}


def is_ours(name: str, *kinds: Kind) -> bool:
    """Whether a path below a folder of these kinds, with `/` between its parts, is one that we write.

    With a `/` at its end it is an empty folder, ours where something of ours may lie in it.
    """
    parts, is_folder = name.removesuffix("/").split("/"), name.endswith("/")
    return any(_matches(parts, pattern.split("/"), is_folder) for kind in kinds for pattern in MANIFEST[kind])


def _matches(parts: list[str], pattern: list[str], is_folder: bool) -> bool:
    if pattern[-1] == "**" and len(parts) >= len(pattern):
        pattern = [*pattern[:-1], *["*"] * (len(parts) - len(pattern) + 1)]
    reaches = len(parts) < len(pattern) if is_folder else len(parts) == len(pattern)
    return reaches and all(map(fnmatchcase, parts, pattern))


def ours(folder: Path, *kinds: Kind) -> list[tuple[str, Path]]:
    """Files below `folder`, and empty folders, that a task writes there; nothing of a run that lies within."""
    found = [*entries(folder)]
    within = tuple(name.removesuffix(_CONFIG) for name, _ in found if name.endswith(f"/{_CONFIG}"))
    within = tuple(name for name in within if not name.startswith("workers/"))  # of one crawl
    within = tuple(name for name in within if "pipeline" not in kinds or name not in _stages(folder))
    return [(name, path) for name, path in found if is_ours(name, *kinds) and not name.startswith(within)]


def _stages(folder: Path) -> set[str]:
    """The runs within a pipeline that are its own: of its stages, and what these were asked."""
    try:
        found = value_in(folder / _CONFIG)["pipeline"]
        names = [*found["stages"], *found["ways"]]
    except (OSError, ValueError, KeyError, TypeError):
        return set()
    return {f"{place}{name}/" for name in names for place in ("", "asked/")}


def strangers(folder: Path, *kinds: Kind) -> list[str]:
    """Paths below `folder`, sorted, that a task does not write into folders of these kinds; of empty folders too."""
    known = {name for name, _ in ours(folder, *kinds)}
    return sorted(name for name, _ in entries(folder) if name not in known)


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


def predictions_file(given: str | Path, *, key: str, more: tuple[str, ...] = ()) -> Path:
    """predictions.jsonl itself, or the one in a run folder. `key`: of the config, that named it; `more`: further words
    of the command that writes one.

    Raises:
        RequestError: there is none.
    """
    path = Path(given).expanduser()
    file = path / PREDICTIONS if path.is_dir() else path
    if not file.is_file():
        command = run_py("task=evaluate", "init_from=RUN", "benchmark=NAME", *more)
        raise RequestError(
            f"{word(f'{key}={given}')}: there is no file {file}. It is written by\n"
            f"{command}, into the folder of that run."
        )
    return file


def listing(names: list[str]) -> str:
    """The first few and how many more."""
    more = f" and {len(names) - SHOWN:,} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more


def remove(folder: Path, *kinds: Kind, itself: bool = True) -> None:
    """Removes what is ours below `folder`, folders that this leaves empty, and `folder` if nothing else is in it."""
    for name, path in ours(folder, *kinds):
        place = path
        if not name.endswith("/"):
            path.unlink()
            place = path.parent
        while place != folder and _remove_empty(place):
            place = place.parent
    if itself:
        _remove_empty(folder)


def _remove_empty(folder: Path) -> bool:
    try:
        folder.rmdir()
    except OSError:  # something is in it, or it is a link
        return False
    return True


def entries(folder: Path) -> Iterator[tuple[str, Path]]:
    """Every file below `folder`, and every folder that is empty; a link is a file, wherever it leads."""
    for place, inner, files in os.walk(folder):
        links = [name for name in inner if (Path(place) / name).is_symlink()]
        for name in [*files, *links]:
            path = Path(place) / name
            yield path.relative_to(folder).as_posix(), path
        if not inner and not files and Path(place) != folder:
            yield f"{Path(place).relative_to(folder).as_posix()}/", Path(place)


def job_number(name: str) -> int | None:
    """Of a folder in a sweep's that is called as its jobs are: 12-seed_1, or 12 alone where one value is swept."""
    number = name.split("-")[0]
    return int(number) if number.isdecimal() else None
