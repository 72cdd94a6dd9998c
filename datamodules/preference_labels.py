"""`data=preference_labels`: completions that are each said to be desirable or not, for objective=kto.

    {"prompt": text or messages, "completion": text or messages, "label": true or false}    as TRL documents them
    {"prompt": ..., "chosen": ..., "rejected": ...}    any pairs, taken apart: a desirable completion and another one

Without data.path it takes the word problems of data=arithmetic_pairs apart. Beside each completion stands one of
another prompt, always the same, from which KTO estimates how far the policy has moved (2402.01306, section 4.1).
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from typing import Any, NamedTuple

import torch

from batch import Batch
from bounds import OpenShare, PositiveInt
from datamodules.arithmetic_pairs import ArithmeticPairsDataModule
from datamodules.preference import PairDataModule, prompt_hash, split_at
from datamodules.reading.cells import with_messages
from datamodules.reading.ignored import Ignored
from datamodules.reading.preference_rows import (
    READS,
    Preference,
    Row,
    UnusableError,
    as_turns,
    check_row,
    checked_answer,
    everything_in,
    is_messages,
    preferences,
    said_by_assistant,
    tools_in,
)
from datamodules.reading.row_files import RowFiles
from errors import RequestError
from tokenization.chat import Message, check_messages

KNOWN = frozenset({"prompt", "completion", "label", *READS})
LABELS = {"true": True, "false": False, "1": True, "0": False}


class Labelled(NamedTuple):
    """A conversation that ends with the user's turn, an answer to it, and whether that is a good one."""

    prompt: list[Message]
    completion: str
    label: bool
    message: Message | None = None  # the completion, where it is more than text
    tools: Sequence[Any] = ()

    @property
    def answer(self) -> Message:
        return self.message or said_by_assistant(self.completion)


class PreferenceLabelsDataModule(RowFiles, PairDataModule):
    """Args: pairs, val_pairs: how many word problems are taken apart where no path is given."""

    provides = ("labels",)
    without_file = "objective=kto"
    usual_val_fraction = 0.05

    def __init__(
        self,
        *,
        path: str | None = None,
        val_fraction: OpenShare = 0.05,
        pairs: PositiveInt = 4096,
        val_pairs: PositiveInt = 128,
        **shared: Any,
    ):
        super().__init__(path=path or "", val_fraction=val_fraction, **shared)
        if path is None:
            self._refuse_without_path()
            own = {key: getattr(self, key) for key in ("tokenizer", "seq_len", "batch_size", "seed")}
            self.embedded = ArithmeticPairsDataModule(
                pairs=pairs, val_pairs=val_pairs, max_steps=2, max_number=20, **own
            )
            self.answers = "number"
        else:
            made = {"pairs": (pairs, 4096), "val_pairs": (val_pairs, 128)}
            self._ignored["train"].update(
                f"data.{key}={value}, as data.path is given" for key, (value, usual) in made.items() if value != usual
            )

    def _refuse_without_path(self) -> None:
        """Raises RequestError for what is about rows, where none are read."""
        for key in ("name", "revision", "val_path", "val_split", "max_rows"):
            if (value := getattr(self, key)) is not None:
                raise RequestError(
                    f"data.{key}={value} is about rows of data.path, which is not given: word problems are generated.\n"
                    "Type data.path=<a file, a folder or a Hub id>, or leave it out."
                )

    embedded: ArithmeticPairsDataModule | None = None

    def _read(self, side: str, dropped: Counter[str]) -> Iterator[Preference]:
        """Each completion as the better one of a pair with one of another prompt; `margin` is its label."""
        rows = list(self._labelled(side, dropped))
        for row, other in zip(rows, mismatched(rows, seed=self.seed), strict=True):
            both = (row.answer, other.answer)
            yield Preference(row.prompt, row.completion, other.completion, float(row.label), both, row.tools)

    def _labelled(self, side: str, dropped: Counter[str]) -> Iterator[Labelled]:
        if self.embedded is not None:
            yield from taken_apart(self.embedded._read(side, dropped))  # type: ignore[arg-type]
            return
        found = self.read(side, lambda rows, ignored: labelled(rows, dropped, ignored))
        if not self.has_validation:  # all completions of a prompt are on one side
            found = (r for r in found if (_hash(r) < self._bound) == (side == "val"))
        yield from found

    @cached_property
    def _bound(self) -> float:
        """KTO compares completions of two prompts: each side needs so many."""
        return split_at(map(_hash, labelled(self.rows("train"), Counter())), self.val_fraction, least=2)

    @property
    def ignored(self) -> dict[str, int]:
        return super().ignored | self.not_used

    def facts(self) -> dict[str, str]:
        return {side: words.replace(" pairs", " completions") for side, words in super().facts().items()}

    def questions(self, limit: int) -> list[Any]:
        """Prompts with a desirable completion, which is the expected one."""
        good = [pair for pair in self._read("val", Counter()) if pair.margin]
        return [self.question(pair) for pair in good[:limit]]

    def _steps(self) -> Any:
        return WithLabels(super()._steps())

    def _validation(self) -> Any:
        return WithLabels(super()._validation())

    def val_dataset(self) -> Any:
        return WithLabels(super().val_dataset())


class WithLabels(torch.utils.data.Dataset[Any]):
    """Batches of pairs, their margins as labels."""

    def __init__(self, pairs: Any):
        self.pairs = pairs

    def __len__(self) -> int:
        return len(self.pairs)

    def __getattr__(self, name: str) -> Any:
        if name == "pairs":
            raise AttributeError(name)
        return getattr(self.pairs, name)

    def __getitem__(self, i: int) -> Any:
        item = self.pairs[i]
        return [as_labels(micro) for micro in item] if isinstance(item, list) else as_labels(item)

    def __iter__(self) -> Iterator[Batch]:
        return (self[i] for i in range(len(self)))


def as_labels(micro: Batch) -> Batch:
    """(P,) margins 1 and 0 -> labels."""
    return {name: value for name, value in micro.items() if name != "margins"} | {"labels": micro["margins"] > 0.5}


def labelled(
    rows: Iterable[tuple[Row, str]], dropped: Counter[str], ignored: Ignored | None = None
) -> Iterator[Labelled]:
    """The labelled completions among `rows`, of either format; what is none is counted by its reason.

    Raises:
        RequestError: a row has the columns of neither.
    """
    ignored = Ignored() if ignored is None else ignored
    for row, where in rows:
        if {"chosen", "rejected"} <= row.keys():
            ignored.beside(row.keys() - {"margin"}, row)  # KTO compares with other prompts
            yield from taken_apart(preferences([(row, where)], dropped, ignored=ignored))
            continue
        if not {"prompt", "completion", "label"} <= row.keys():
            raise RequestError(
                f"{where}: the columns are {', '.join(map(repr, row))}; expected 'prompt', 'completion' and 'label', "
                "or 'chosen' and 'rejected'."
            )
        row = with_messages(row, ("prompt", "completion"), where)
        check_row(row, KNOWN, where, ignored, ("prompt", "completion"))
        try:
            yield read_row(row, where)
        except UnusableError as reason:
            dropped[str(reason)] += 1


def read_row(row: Row, where: str) -> Labelled:
    """Raises UnusableError where it is no labelled completion, RequestError where its label is none."""
    prompt, completion = as_turns(row["prompt"]), as_turns(row["completion"])
    message = None
    messages = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else prompt
    if is_messages(completion) and len(completion) == 1:
        message = checked_answer(completion[0])
        completion = everything_in(message)
    if not isinstance(completion, str) or not is_messages(messages):
        raise UnusableError("prompt or completion is neither text nor messages")
    if not completion.strip():
        raise UnusableError("a completion is empty")
    try:
        check_messages(messages, complete=False)
    except RequestError:
        raise UnusableError("the prompt is not a conversation that ends with the user") from None
    label = LABELS.get(str(row["label"]).strip().lower())
    if label is None:
        raise RequestError(f"{where}: label {row['label']!r}: expected true or false (or 1 or 0).")
    system = [{"role": "system", "content": row["system"]}] if row.get("system") else []
    return Labelled([*system, *messages], completion, label, message, tools_in(row, where))


def taken_apart(pairs: Iterable[Preference]) -> Iterator[Labelled]:
    for pair in pairs:
        for answer, text, label in zip(pair.answers, (pair.chosen, pair.rejected), (True, False), strict=True):
            yield Labelled(list(pair.prompt), text, label, answer, pair.tools)


def mismatched(rows: list[Labelled], *, seed: int) -> list[Labelled]:
    """For each completion one of another prompt, each used about once: the next in a random order that differs.

    Raises:
        RequestError: all completions are the same, or all answer one prompt.
    """
    order = list(range(len(rows)))
    random.Random(f"mismatched {seed}").shuffle(order)
    found = list(rows)
    for place, i in enumerate(order):
        others = (rows[order[(place + step) % len(rows)]] for step in range(1, len(rows)))
        fits = (o for o in others if o.prompt != rows[i].prompt and o.completion != rows[i].completion)
        other = next(fits, None)
        if other is None:
            raise RequestError(
                "data=preference_labels: KTO compares each completion with one of another prompt, and these are all "
                "the same, or all of one prompt.\nGive more prompts (data.path=...)."
            )
        found[i] = other
    return found


def _hash(row: Labelled) -> float:
    return prompt_hash(Preference(row.prompt, row.completion, ""))
