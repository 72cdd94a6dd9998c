"""Tensors of a Hugging Face folder: safetensors, one file or shards; pickles only as plain data (weights_only).

Safetensors are mapped, not read: a tensor costs memory when it is copied into a model.
"""

import re
import zipfile
from pathlib import Path

import torch
from torch import Tensor

from commands import shell
from errors import RequestError
from strict_json import object_in

WEIGHT_FILES = (
    "model.safetensors.index.json",
    "model.safetensors",
    "pytorch_model.bin.index.json",
    "pytorch_model.bin",
)
ZIP, PICKLE = b"PK\x03\x04", b"\x80"  # how what torch.save writes begins: today, and before 2020


def is_hf_folder(path: str | Path) -> bool:
    return (Path(path) / "config.json").is_file()


def read_tensors(folder: str | Path) -> dict[str, Tensor]:
    """All tensors by name.

    Raises:
        RequestError: there are none, a shard is missing, or a file is damaged or holds more than tensors.
    """
    folder = Path(folder)
    found = next((folder / name for name in WEIGHT_FILES if (folder / name).is_file()), None)
    if found is None:
        raise RequestError(f"{folder} has a config.json but no weights: expected one of {', '.join(WEIGHT_FILES)}.")
    files = _shards(found) if found.suffix == ".json" else [found]
    tensors: dict[str, Tensor] = {}
    for file in files:
        tensors |= read_safetensors(file) if file.suffix == ".safetensors" else read_pickle(file)
    return tensors


def read_safetensors(file: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, framework="pt", device="cpu") as opened:
            return {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118 - it is no dict
    except (SafetensorError, OSError, ValueError) as error:
        raise RequestError(f"{file} cannot be read as safetensors: {error}\nIt is damaged: fetch it again.") from error


def read_pickle(file: Path) -> dict[str, Tensor]:
    """A pickled state_dict, read without running anything in it."""
    try:
        state = torch.load(file, map_location="cpu", weights_only=True, mmap=True)
    except Exception as error:  # torch raises half a dozen kinds for a damaged or a foreign file
        raise RequestError(f"{file} cannot be read: {why(file, error)}\nUse safetensors files.") from error
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise RequestError(f"{file} does not hold a plain state_dict: names and tensors.")
    return state


def why(file: Path, error: Exception) -> str:
    """Why torch refuses a file, in our words: its own are of its insides, and advise to run what is in it."""
    asked = re.search(r"GLOBAL (\S+)", str(error))
    if asked:
        return f"it holds code, which is refused; reading it would call {asked[1]}."
    size = file.stat().st_size
    if not size:
        return "it is empty."
    if isinstance(error, PermissionError):
        return f"no permission. Type: {shell('chmod', '+r', file)}"
    with file.open("rb") as opened:
        start = opened.read(len(ZIP))
    if start == ZIP and not zipfile.is_zipfile(file):
        return f"it is cut off: it begins as it should, and its end is missing ({size:,} bytes are there)."
    if start == ZIP or start.startswith(PICKLE):
        return "it is damaged, or holds code, which is refused."
    return "it is another kind of file: not what torch.save writes."


def _shards(index: Path) -> list[Path]:
    try:
        names = sorted(set(object_in(index)["weight_map"].values()), key=str)
    except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
        raise RequestError(f"{index} is damaged: it has no weight_map ({error}).") from error
    plain = [n for n in names if isinstance(n, str) and n == Path(n).name and n not in ("", "..")]
    strange = [name for name in names if name not in plain]
    if strange:
        raise RequestError(f"{index} is damaged: weight_map names {strange[0]!r}, which is no file beside it.")
    missing = [name for name in names if not (index.parent / name).is_file()]
    if missing:
        raise RequestError(
            f"{index.parent} lacks {len(missing)} of {len(names)} shards: {', '.join(missing[:5])}"
            f"{', ...' if len(missing) > 5 else ''}.\nFetch them again into that folder."
        )
    return [index.parent / name for name in names]
