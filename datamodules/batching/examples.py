"""Conversations as tokens with a mask: kept (`StoredExamples`) or made when asked for (`GeneratedExamples`).

An example is rendered once, cut to the context, and left out where nothing in it would be learned; what was cut and
left out is counted in a `Report` (N26). Legend: n tokens of an example, at most T + 1.
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Literal, NamedTuple

import numpy as np

from errors import RequestError
from progress import shown
from tokenization.chat import ChatTemplate, Learn, Message, Rendered, Tools
from tokenization.chat.messages import is_learned

Truncate = Literal["end", "start", "drop", "source"]
KEPT = 2  # with "source": the end of what is asked and the start of the answer stay
SAMPLE = 512  # generated examples that are looked at for lengths and shares


class Conversation(NamedTuple):
    """One row of the data. `source` says where it stands, for messages; `tools`: those that may be called in it."""

    messages: Sequence[Message]
    source: str = ""
    tools: Tools = ()


@dataclass
class Report:
    """What became of the rows."""

    rows: int = 0
    too_long: int = 0  # longer than the context: cut, or with truncate=drop left out
    tokens_cut: int = 0
    unsupervised: int = 0  # left out: nothing in them would be learned
    kept: int = 0
    tokens: int = 0  # inputs, of those kept
    supervised: int = 0  # targets that count, of those kept
    read_only: int = 0  # turns of weight 0, of those kept: the assistant's, read and not learned
    not_rendered: Counter[str] = field(default_factory=Counter)  # fields of messages that the template does not show

    @property
    def supervised_share(self) -> float:
        return self.supervised / self.tokens if self.tokens else 0.0

    def add(self, before: int, example: Rendered | None, *, dropped_long: bool = False) -> None:
        """Count one row of `before` tokens; None: it was left out."""
        self.rows += 1
        self.unsupervised += example is None and not dropped_long
        if dropped_long or (example is not None and len(example.ids) < before):
            self.too_long += 1
        if example is not None:
            self.tokens_cut += before - len(example.ids)
            self.kept += 1
            self.tokens += len(example.ids) - 1
            self.supervised += int(example.mask[1:].sum())


class Examples(ABC):
    """Numbered examples. `size` is None where there is no end of them."""

    size: int | None
    report: Report

    @abstractmethod
    def __getitem__(self, i: int) -> Rendered: ...

    @abstractmethod
    def lengths(self, indices: np.ndarray) -> np.ndarray:
        """(k,) tokens of each of these examples, their last target included."""

    @abstractmethod
    def fingerprint(self) -> str:
        """SHA-256: equal, if training would see the same."""


class StoredExamples(Examples):
    """All examples in three flat arrays: 5 bytes a token."""

    def __init__(self, examples: Iterable[Rendered], report: Report):
        ids, masks = [], []
        for example in examples:
            ids.append(example.ids.astype(np.int32))
            masks.append(example.mask)
        self.report, self.size = report, len(ids)
        self._ids = np.concatenate(ids) if ids else np.zeros(0, np.int32)  # (all tokens,)
        self._mask = np.concatenate(masks) if masks else np.zeros(0, bool)  # (all tokens,)
        self._ends = np.cumsum([0, *map(len, ids)])  # (size + 1,)

    def __getitem__(self, i: int) -> Rendered:
        at = slice(self._ends[i], self._ends[i + 1])
        return Rendered(self._ids[at], self._mask[at])

    def lengths(self, indices: np.ndarray) -> np.ndarray:
        return np.diff(self._ends)[indices]

    def fingerprint(self) -> str:
        return hashlib.sha256(self._ids.tobytes() + self._mask.tobytes() + self._ends.tobytes()).hexdigest()


class GeneratedExamples(Examples):
    """Example i is `make(i)`, always the same, made when it is asked for; those of the latest steps are kept."""

    def __init__(self, make: Callable[[int], Rendered], size: int | None = None):
        self.size, self._make = size, lru_cache(maxsize=1 << 14)(make)
        self.report = Report()
        for i in range(min(SAMPLE, size or SAMPLE)):
            self.report.add(len(self[i].ids), self[i])

    def __getitem__(self, i: int) -> Rendered:
        return self._make(i)

    def lengths(self, indices: np.ndarray) -> np.ndarray:
        return np.array([len(self[i].ids) for i in indices.tolist()], dtype=np.int64)

    def fingerprint(self) -> str:
        digest = hashlib.sha256(repr(self.size).encode())
        for i in range(min(SAMPLE, self.size or SAMPLE)):
            digest.update(self[i].ids.tobytes() + self[i].mask.tobytes())
        return digest.hexdigest()


def render_all(
    conversations: Iterable[Conversation],
    template: ChatTemplate,
    *,
    learn: Learn,
    seq_len: int,
    truncate: Truncate,
    kept: Callable[[Conversation], None] = lambda conversation: None,
) -> StoredExamples:
    """Every conversation rendered, cut and counted; `kept` is called for each that stays, in order."""
    report = Report()

    def rendered() -> Iterable[Rendered]:
        for conversation in shown(conversations, "rendering", unit="conversations"):
            try:
                whole = template.render(conversation.messages, learn=learn, tools=conversation.tools)
            except RequestError as error:
                raise RequestError(f"{conversation.source}: {error}" if conversation.source else str(error)) from None
            example, dropped_long = cut(whole, seq_len, truncate)
            report.add(len(whole.ids), example, dropped_long=dropped_long)
            if example is not None:
                report.read_only += sum(not is_learned(message) for message in conversation.messages)
                report.not_rendered.update(template.not_rendered(conversation.messages, conversation.tools))
                kept(conversation)
                yield example

    return StoredExamples(rendered(), report)


def cut(example: Rendered, seq_len: int, truncate: Truncate) -> tuple[Rendered | None, bool]:
    """The example within seq_len inputs and one last target, or None where nothing is left to learn.

    Returns:
        The example or None, and whether it was left out for its length.
    """
    ids, mask = example
    if len(ids) > seq_len + 1:
        if truncate == "drop":
            return None, True
        if truncate == "source" and (room := int(mask.argmax()) - KEPT - (len(ids) - seq_len - 1)) > 0:
            part = np.r_[0:room, int(mask.argmax()) - KEPT : len(ids)]
        elif truncate in ("end", "source"):
            part = np.arange(seq_len + 1)
        else:
            part = np.arange(len(ids) - seq_len - 1, len(ids))
        ids, mask = ids[part], mask[part]
    # the first token is predicted by nothing
    return (Rendered(ids, mask), False) if mask[1:].any() else (None, False)
