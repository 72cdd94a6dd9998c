"""The one interface of every tokenizer, and how a tokenizer lies on disk.

A tokenizer's whole state is one small JSON object, `state()`. It is saved as `tokenizer.json` with its own SHA-256
inside, so that a damaged file is noticed; that hash is the `fingerprint` that token files and checkpoints carry.

Specials are ids for control, not text: `encode` never yields one, whatever the text says (N13). They enter a
sequence by id only (`eot`, or a chat template).

How to add one: a file `tokenization/<kind>.py` with a subclass, a line in `KINDS`, `conf/tokenizer/<kind>.yaml`.
"""

from __future__ import annotations

import hashlib
import json
import os
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from errors import RequestError, RunError

EOT = "<|endoftext|>"
FILE_NAME = "tokenizer.json"
KINDS = {"byte": "tokenization.byte:ByteTokenizer", "char": "tokenization.char:CharTokenizer"}

Ids = Sequence[int] | np.ndarray


class Tokenizer(ABC):
    """Text <-> ids. Ids 0..n-1 stand for text, the specials follow: n..vocab_size-1."""

    kind: ClassVar[str]
    needs_whole_corpus: ClassVar[bool] = (
        False  # True where text unseen in training cannot be encoded: validation must be seen
    )

    def __init__(self, *, specials: list[str] | None = None):
        """Raises RequestError if `specials` lacks the end of text or names something twice."""
        names = [EOT] if specials is None else list(specials)
        if EOT not in names or len(set(names)) != len(names) or not all(names):
            raise RequestError(
                f"tokenizer.specials={names}: expected different names, {EOT!r} among them.\n"
                f"Type tokenizer.specials='[\"{EOT}\"]', or leave it out."
            )
        self.special_names = names

    # What a subclass supplies -------------------------------------------------------------------------------------

    @property
    @abstractmethod
    def n_text_ids(self) -> int:
        """How many ids stand for text; the first special comes right after them."""

    @abstractmethod
    def encode(self, text: str) -> np.ndarray:
        """Ids of `text`, (n,) int64, no special among them. Raises RequestError where `text` cannot be encoded."""

    @abstractmethod
    def _decode_text(self, ids: np.ndarray) -> str:
        """Text of (n,) int64 ids, all of them below `n_text_ids`."""

    @abstractmethod
    def token_bytes(self) -> np.ndarray:
        """(vocab_size,) int64: how many UTF-8 bytes of text each id stands for, 0 for specials. For bits per byte."""

    @abstractmethod
    def settings(self) -> dict[str, Any]:
        """What decides, together with the corpus, the outcome of `train`; JSON types only."""

    def learned(self) -> dict[str, Any]:
        """What `train` found, JSON types only, as keyword arguments of the constructor."""
        return {}

    def train(self, texts: Iterable[str]) -> None:
        """Learn the vocabulary from `texts`. A no-op where there is nothing to learn."""
        return None

    @property
    def trained(self) -> bool:
        """False as long as `train` must be called before `encode`."""
        return True

    # What every tokenizer has -------------------------------------------------------------------------------------

    @property
    def vocab_size(self) -> int:
        """Number of ids, specials included."""
        return self.n_text_ids + len(self.special_names)

    @property
    def specials(self) -> dict[str, int]:
        return {name: self.n_text_ids + i for i, name in enumerate(self.special_names)}

    @property
    def eot(self) -> int:
        """The id that ends a document."""
        return self.specials[EOT]

    def decode(self, ids: Ids, *, skip_specials: bool = False) -> str:
        """Text of `ids`, (n,); specials by name, or not at all. Raises RequestError for an id beyond the vocabulary."""
        array = np.asarray(ids, dtype=np.int64).reshape(-1)  # (n,)
        low, high = int(array.min(initial=0)), int(array.max(initial=0))
        if low < 0 or high >= self.vocab_size:
            wrong = low if low < 0 else high
            raise RequestError(f"id {wrong} cannot be decoded: tokenizer={self.kind} has ids 0..{self.vocab_size - 1}.")
        if high < self.n_text_ids:
            return self._decode_text(array)
        is_text = array < self.n_text_ids  # (n,)
        if skip_specials:
            return self._decode_text(array[is_text])
        parts, names = [], {i: name for name, i in self.specials.items()}
        for run in np.split(array, np.flatnonzero(np.diff(is_text)) + 1):  # runs of all text or all specials
            is_special = run[0] >= self.n_text_ids
            parts.append("".join(names[i] for i in run.tolist()) if is_special else self._decode_text(run))
        return "".join(parts)

    def state(self) -> dict[str, Any]:
        """All that is needed to build this tokenizer again."""
        return {"kind": self.kind, **self.settings(), **self.learned()}

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the state: equal fingerprints, equal ids for every text."""
        return digest(self.state())

    @property
    def recipe(self) -> str:
        """SHA-256 of what decides the ids so far: the state once trained, before that the settings."""
        return self.fingerprint if self.trained else digest({"untrained": self.kind, **self.settings()})

    def save(self, folder: Path) -> None:
        """Write `folder/tokenizer.json`, whole or not at all. Raises RunError if the disk refuses."""
        folder = Path(folder)
        text = json.dumps({**self.state(), "fingerprint": self.fingerprint}, indent=1, ensure_ascii=True) + "\n"
        part = folder / f".{FILE_NAME}.{os.getpid()}"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            part.write_text(text, encoding="ascii")
            os.replace(part, folder / FILE_NAME)
        except OSError as error:
            with suppress(OSError):
                part.unlink()
            raise RunError(f"Could not write {folder / FILE_NAME}: {error.strerror}.") from error

    @classmethod
    def load(cls, folder: Path) -> Tokenizer:
        """The tokenizer saved in `folder`. Raises RequestError if it is missing, damaged, or of another kind."""
        state = read_state(Path(folder))
        if state["kind"] != cls.kind:
            path = Path(folder) / FILE_NAME
            raise RequestError(
                f"{path} holds a {state['kind']} tokenizer, not {cls.kind}: type tokenizer={state['kind']}."
            )
        return cls.from_state(state)

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> Tokenizer:
        return cls(**{key: value for key, value in state.items() if key != "kind"})


def load_tokenizer(folder: Path) -> Tokenizer:
    """Whatever tokenizer is saved in `folder`. Raises RequestError if there is none that we can read."""
    state = read_state(Path(folder))
    if state["kind"] not in KINDS:
        path = Path(folder) / FILE_NAME
        raise RequestError(f"{path} holds a tokenizer of kind {state['kind']!r}; known kinds: {', '.join(KINDS)}.")
    module, name = KINDS[state["kind"]].split(":")
    return getattr(import_module(module), name).from_state(state)


def read_state(folder: Path) -> dict[str, Any]:
    """The state in `folder/tokenizer.json`, its hash checked. Raises RequestError if missing, damaged or foreign."""
    path = folder / FILE_NAME
    try:
        state = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise RequestError(
            f"{folder} holds no {FILE_NAME}. Expected a folder that a run or task=prepare wrote."
        ) from None
    except (OSError, ValueError) as error:
        raise RequestError(f"{path} cannot be read as JSON ({error}): it is damaged, or not a tokenizer.") from error
    if not isinstance(state, dict) or "kind" not in state:
        raise RequestError(f"{path} was not written by this program: it has no 'kind'.")
    if state.pop("fingerprint", None) != digest(state):
        raise RequestError(
            f"{path} is damaged: its contents do not match the fingerprint in it. Take it from a backup or another run."
        )
    return state


def digest(state: dict[str, Any]) -> str:
    """SHA-256 of a JSON object, as hex, independent of the order of its keys."""
    return hashlib.sha256(json.dumps(state, sort_keys=True, ensure_ascii=True).encode("ascii")).hexdigest()


def utf8(text: str) -> bytes:
    """`text` as UTF-8; lone surrogates (JSON can hold them) become U+FFFD: odd text never stops a build."""
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace").encode("utf-8")
