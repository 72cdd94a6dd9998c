"""nanoGPT's meta.pkl: the characters of its character-level data sets, read without running anything in the file."""

from __future__ import annotations

import io
import pickle
from pathlib import Path

from errors import RequestError


class PlainUnpickler(pickle.Unpickler):
    """Unpickles dicts, strings and numbers; refuses every class and function, so nothing can be executed."""

    def find_class(self, module_name: str, global_name: str) -> None:
        raise pickle.UnpicklingError(f"it names {module_name}.{global_name}")


def read_meta_pkl(path: Path) -> str | None:
    """The characters in the order of their ids; None if there is no such file. Raises RequestError if it is another."""
    if not path.is_file():
        return None
    try:
        table = PlainUnpickler(io.BytesIO(path.read_bytes())).load()["itos"]
        chars = [table[i] for i in range(len(table))]
    except Exception as error:  # a damaged pickle raises nearly anything
        raise RequestError(f"{path} is not the meta.pkl that nanoGPT writes: {error!r}.") from error
    if not all(isinstance(char, str) and len(char) == 1 for char in chars):
        raise RequestError(
            f"{path} is not the meta.pkl of a character-level data set: its ids are not single characters."
        )
    return "".join(chars)
