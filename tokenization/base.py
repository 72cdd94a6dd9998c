"""The one interface of every tokenizer, and how a tokenizer lies on disk.

A tokenizer's whole state is one JSON object, `state()`. It is saved as `tokenizer.json` with its own SHA-256 inside,
so that a damaged file is noticed; that hash is the `fingerprint` that token files and checkpoints carry. What is too
large for it lies beside it (`files()`), its hash in the state.

Specials are ids for control, not text: `encode` never yields one, whatever the text says (N13). They enter a
sequence by id only (`eot`, or a chat template). Where a vocabulary brings specials of its own (GPT-2's, a Hub model's)
they keep their ids; those that are added get the ids after all others (N16).

How to add one: a file `tokenization/<kind>.py` with a subclass, a line in `KINDS`, `conf/tokenizer/<kind>.yaml`.
"""

from __future__ import annotations

import copy
import hashlib
import json
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from errors import RequestError, RunError
from strict_json import object_in

EOT = "<|endoftext|>"
FILE_NAME = "tokenizer.json"
CONTEXT = 8  # ids, more than one character has
KINDS = {
    "byte": "tokenization.byte:ByteTokenizer",
    "char": "tokenization.char:CharTokenizer",
    "bpe": "tokenization.bpe:BPETokenizer",
    "hf": "tokenization.hf:HFTokenizer",
    "tiktoken": "tokenization.tiktoken:TiktokenTokenizer",
    "sentencepiece": "tokenization.sentencepiece:SentencePieceTokenizer",
}

Ids = Sequence[int] | np.ndarray


class Tokenizer(ABC):
    """Text <-> ids. Ids 0..n-1 are the vocabulary's own, the specials that are added follow: n..vocab_size-1."""

    kind: ClassVar[str]
    needs_whole_corpus: ClassVar[bool] = (
        False  # True where text unseen in training cannot be encoded: validation must be seen
    )
    encodes_in_threads: ClassVar[bool] = False  # True where `encode` lets go of Python's lock
    begins: str | None = None  # name of the token that somebody else's program puts before a text; `encode` does not

    def __init__(self, *, specials: list[str] | None = None, brings_eot: bool = False):
        """`brings_eot`: the vocabulary has an end of text of its own, so `specials` need not name one.

        Raises RequestError if `specials` lacks the end of text or names something twice.
        """
        names = [EOT] * (not brings_eot) if specials is None else list(specials)
        if not (brings_eot or EOT in names) or len(set(names)) != len(names) or not all(names):
            among = "" if brings_eot else f", {EOT!r} among them"
            raise RequestError(
                f"tokenizer.specials={names}: expected different names{among}.\n"
                f"Type tokenizer.specials='[\"{EOT}\"]', or leave it out."
            )
        self.special_names = names

    # What a subclass supplies -------------------------------------------------------------------------------------

    @property
    @abstractmethod
    def n_text_ids(self) -> int:
        """How many ids the vocabulary itself has; the first special that is added comes right after them."""

    @abstractmethod
    def encode(self, text: str) -> np.ndarray:
        """Ids of `text`, (n,) int64, no special among them. Raises RequestError where `text` cannot be encoded."""

    @abstractmethod
    def _decode_text(self, ids: np.ndarray) -> str:
        """Text of (n,) int64 ids, all of them below `n_text_ids` and none a special."""

    @abstractmethod
    def token_bytes(self) -> np.ndarray:
        """(vocab_size,) int64: how many UTF-8 bytes of text each id stands for, 0 for specials. For bits per byte."""

    @abstractmethod
    def settings(self) -> dict[str, Any]:
        """What decides, together with the corpus, the outcome of `train`; JSON types only."""

    def learned(self) -> dict[str, Any]:
        """What `train` found, JSON types only, as keyword arguments of the constructor."""
        return {}

    @property
    def own_specials(self) -> dict[str, int]:
        """Specials among the vocabulary's own ids."""
        return {}

    def encode_as(self, text: str, dtype: np.dtype[Any]) -> np.ndarray:
        """`encode` in another integer type, without a detour where that saves something."""
        return self.encode(text).astype(dtype)

    def encode_batch(self, texts: Sequence[str], *, threads: int = 1) -> list[np.ndarray]:
        """`encode` of each, with as many threads where that helps."""
        return [self.encode(text) for text in texts]

    def files(self) -> dict[str, bytes]:
        """What `save` writes beside `tokenizer.json`: contents by relative path."""
        return {}

    def train(self, texts: Iterable[str]) -> None:
        """Learn the vocabulary from `texts`. A no-op where there is nothing to learn."""
        return None

    @property
    def trained(self) -> bool:
        """False as long as `train` must be called before `encode`."""
        return True

    @property
    def whole_documents(self) -> bool:
        """True where a document must be encoded in one go: cut at the end of a word it would get other ids."""
        return False

    # What every tokenizer has -------------------------------------------------------------------------------------

    @property
    def vocab_size(self) -> int:
        """Number of ids, specials included."""
        return self.n_text_ids + sum(name not in self.own_specials for name in self.special_names)

    @property
    def specials(self) -> dict[str, int]:
        own = self.own_specials
        added = [name for name in self.special_names if name not in own]
        return own | {name: self.n_text_ids + i for i, name in enumerate(added)}

    def with_names(self, new: Sequence[str]) -> Tokenizer:
        """A copy with specials of these names too, none of which it has; their ids come after all others."""
        larger = copy.copy(self)
        larger.special_names = [*self.special_names, *new]
        return larger

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
        names = {i: name for name, i in self.specials.items()}
        if high < min(names):
            return self._decode_text(array)
        is_special = np.isin(array, list(names))  # (n,)
        if skip_specials:
            return self._decode_text(array[~is_special])
        parts, start = [], 0
        for at in np.flatnonzero(is_special).tolist():
            parts += [self._decode_text(array[start:at]), names[int(array[at])]]
            start = at + 1
        return "".join([*parts, self._decode_text(array[start:])])

    def decode_after(self, context: Ids, ids: Ids, *, skip_specials: bool = False) -> str:
        """What `ids` add to the text of `context`. Alone they would lose a blank that is only dropped before a text."""
        seen = [int(i) for i in context[-CONTEXT:]]
        while seen and (before := self.decode(seen, skip_specials=skip_specials)).startswith("\ufffd"):
            del seen[0]  # the rest of a character
        if seen:
            text = self.decode([*seen, *ids], skip_specials=skip_specials)
            if text.startswith(before):
                return text[len(before) :]
        return self.decode(ids, skip_specials=skip_specials)

    def encode_after(self, context: Ids, text: str) -> np.ndarray | None:
        """(n,) ids that add just `text` to the text of `context`; None where the vocabulary has none that do.

        They are those that stand there when both are encoded as one, where `context` ends with a token of that; else
        those of `text` alone.
        """
        seen = [int(i) for i in context[-CONTEXT:]]
        before = self.decode(seen)
        try:
            together, alone = self.encode_behind(before, text), self.encode(text)
        except RequestError:  # a character without an id
            return None
        return next((ids for ids in (together, alone) if self.decode_after(seen, ids) == text), None)

    def encode_behind(self, before: str, text: str) -> np.ndarray:
        """(n,) ids of `text` as they stand behind `before` where both are encoded as one; those of `text` alone where
        a token spans both. Alone, some tokenizers put a blank before a text."""
        first, whole = self.encode(before), self.encode(before + text)
        return whole[len(first) :] if np.array_equal(whole[: len(first)], first) else self.encode(text)

    def pieces(self) -> list[bytes | None]:
        """What each id writes, as UTF-8; None for specials and for ids that stand for no text of their own."""
        taken = set(self.specials.values())
        own = self._pieces_of_text()
        return [(own[i] or None) if i < len(own) and i not in taken else None for i in range(self.vocab_size)]

    def texts_of_ids(self) -> Callable[[int], str]:
        """id -> its text as it stands among others: with the blank that `decode` drops at a text's beginning. A control
        token's is its name, that of a part of a character holds U+FFFD."""
        pieces = self.pieces()

        def text(id: int) -> str:
            piece = pieces[id]
            return self.decode([id]) if piece is None else piece.decode("utf-8", "replace")

        return text

    @abstractmethod
    def _pieces_of_text(self) -> Sequence[bytes | None]:
        """What each of the vocabulary's own ids writes."""

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
        """Write `folder/tokenizer.json`, each file whole or not at all. Raises RunError if the disk refuses."""
        folder = Path(folder)
        text = json.dumps({**self.state(), "fingerprint": self.fingerprint}, indent=1, ensure_ascii=True) + "\n"
        for name, data in {**self.files(), FILE_NAME: text.encode("ascii")}.items():
            write_whole(folder / name, data)

    @classmethod
    def load(cls, folder: Path) -> Tokenizer:
        """The tokenizer saved in `folder`. Raises RequestError if it is missing, damaged, or of another kind."""
        state = read_state(Path(folder))
        if state["kind"] != cls.kind:
            path = Path(folder) / FILE_NAME
            raise RequestError(
                f"{path} holds a {state['kind']} tokenizer, not {cls.kind}: type tokenizer={state['kind']}."
            )
        return cls.from_state(state, Path(folder))

    @classmethod
    def from_state(cls, state: dict[str, Any], folder: Path) -> Tokenizer:
        """The tokenizer of that state; `folder` holds its `files()`."""
        return cls(**{key: value for key, value in state.items() if key != "kind"})


def load_tokenizer(folder: Path) -> Tokenizer:
    """Whatever tokenizer is saved in `folder`. Raises RequestError if there is none that we can read."""
    state = read_state(Path(folder))
    if state["kind"] not in KINDS:
        path = Path(folder) / FILE_NAME
        raise RequestError(f"{path} holds a tokenizer of kind {state['kind']!r}; known kinds: {', '.join(KINDS)}.")
    module, name = KINDS[state["kind"]].split(":")
    return getattr(import_module(module), name).from_state(state, Path(folder))


def read_state(folder: Path) -> dict[str, Any]:
    """The state in `folder/tokenizer.json`, its hash checked. Raises RequestError if missing, damaged or foreign."""
    path = folder / FILE_NAME
    try:
        state = object_in(path)
    except FileNotFoundError:
        raise RequestError(
            f"{folder} holds no {FILE_NAME}. Expected a folder that a run or task=prepare wrote."
        ) from None
    except (OSError, ValueError) as error:
        raise RequestError(f"{path} cannot be read as JSON ({error}): it is damaged, or not a tokenizer.") from error
    if "kind" not in state:
        raise RequestError(f"{path} was not written by this program: it has no 'kind'.")
    if state.pop("fingerprint", None) != digest(state):
        raise RequestError(
            f"{path} is damaged: its contents do not match the fingerprint in it. Take it from a backup or another run."
        )
    return state


def write_whole(path: Path, data: bytes) -> None:
    """Write a file whole or not at all. Raises RunError if the disk refuses."""
    part = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part.write_bytes(data)
        os.replace(part, path)
    except OSError as error:
        with suppress(OSError):
            part.unlink()
        raise RunError(f"Could not write {path}: {error.strerror}.") from error


def digest(state: dict[str, Any]) -> str:
    """SHA-256 of a JSON object, as hex, independent of the order of its keys."""
    return hashlib.sha256(json.dumps(state, sort_keys=True, ensure_ascii=True).encode("ascii")).hexdigest()


def utf8(text: str) -> bytes:
    """`text` as UTF-8; lone surrogates (JSON can hold them) become U+FFFD: odd text never stops a build."""
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace").encode("utf-8")
