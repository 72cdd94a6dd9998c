"""Checkpoints of our own runs: which one is meant, what is in it, and what to type where it is damaged."""

from pathlib import Path
from typing import Any

import torch

from commands import run_py, word
from errors import RequestError
from models.weights.files import why

NAMES = ("best.ckpt", "last.ckpt")


def checkpoint_of(source: str | Path) -> Path:
    """The checkpoint meant by a run folder (best.ckpt, else last.ckpt) or a .ckpt file.

    Raises:
        RequestError: there is none.
    """
    source = Path(source)
    if source.is_file():
        return source
    for name in NAMES:
        if (path := source / "checkpoints" / name).is_file():
            return path
    raise RequestError(
        f"no checkpoint in {source}: expected checkpoints/best.ckpt or checkpoints/last.ckpt there.\n"
        "Was the run stopped before its first checkpoint? Give another run folder or a .ckpt file."
    )


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Raises RequestError if the file is no whole checkpoint, or holds anything but plain data."""
    try:
        checkpoint = _load(path)
    except FileNotFoundError as error:
        raise RequestError(f"no such checkpoint: {path}") from error
    except Exception as error:  # torch raises half a dozen kinds for a damaged or a foreign file
        raise RequestError(f"{path} cannot be read as a checkpoint: {why(path, error)}\n{_instead(path)}") from error
    if not _is_ours(checkpoint):
        raise RequestError(f"{path} is no checkpoint of this program: it has no state_dict.\n{_instead(path)}")
    return checkpoint


def _load(path: Path) -> Any:
    return torch.load(path, map_location="cpu", weights_only=True, mmap=True)


def _is_ours(checkpoint: Any) -> bool:
    return isinstance(checkpoint, dict) and "state_dict" in checkpoint


def _is_whole(path: Path) -> bool:
    try:
        return _is_ours(_load(path))
    except Exception:  # as above, or it is not there
        return False


def _instead(path: Path) -> str:
    """What was expected at `path`, and what to type: the other checkpoint of that run, or that run once more."""
    expected = f"Expected a file that task=fit wrote: {' or '.join(NAMES)} in a run folder's checkpoints/."
    run = path.parent.parent
    if path.name not in NAMES or not (run / ".hydra" / "config.yaml").is_file():
        return f"{expected}\nType init_from=<a run folder, or a .ckpt file in one>."
    again = run_py(f"rerun={run}")
    other = path.with_name(next(name for name in NAMES if name != path.name))
    if not _is_whole(other):
        return f"{expected}\nThat run has no other that is whole. To train it anew, type: {again}"
    start = word(f"init_from={other}")
    if other.name == "last.ckpt":
        return f"{expected}\nThe last step of that run is whole: type {start}"
    anew = run_py(f"rerun={run}", f"init_from={other}")
    return f"{expected}\nThe best validation of that run is whole. To start anew from its weights, type: {anew}"
