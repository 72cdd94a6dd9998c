"""A pickled tiktoken.Encoding (nanochat's tokenizer.pkl) as plain data: nothing that a pickle asks for is ever run.

Only one name may occur in it, the class of an encoding, and a stand-in that keeps what it is given takes its place.
"""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

from errors import RequestError

CLASS = ("tiktoken.core", "Encoding")


class StandIn:
    """Takes the state that the pickle holds; does nothing with it."""

    state: Any = None

    def __setstate__(self, state: Any) -> None:
        self.state = state


class PlainUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) != CLASS:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}")
        return StandIn

    def persistent_load(self, pid: Any) -> Any:
        raise pickle.UnpicklingError(f"it asks for an object elsewhere ({pid})")


def read_encoding(path: Path) -> tuple[dict[bytes, int], str, dict[str, int]]:
    """Ranks, pattern and specials.

    Raises:
        RequestError: it is missing, damaged, or holds anything but an encoding.
    """
    try:
        with path.open("rb") as file:
            found = PlainUnpickler(file).load()
        state = found.state
        ranks, pattern, specials = state["mergeable_ranks"], state["pat_str"], state["special_tokens"]
        plain = isinstance(pattern, str) and {*map(type, ranks)} == {bytes} and {*map(type, specials)} <= {str}
        if not plain or not {*map(type, ranks.values()), *map(type, specials.values())} == {int}:
            raise TypeError("it is no encoding")
    except OSError as error:
        raise RequestError(f"tokenizer.name={path}: {error.strerror}.") from None
    except Exception as error:  # whatever bytes may make of a pickle
        raise RequestError(
            f"{path} is refused: {error or 'it is no pickled tiktoken encoding'}.\nExpected nanochat's tokenizer.pkl, "
            "which holds a tiktoken encoding and nothing else; it is read as plain data."
        ) from None
    return ranks, pattern, specials
