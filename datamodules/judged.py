"""`data=judged`: answers of models to questions, each right or wrong, for objective=verifier.

    {"question": ..., "texts": [...], "labels": [true, false, ...], "source": ...}    a line of predictions.jsonl

which `task=evaluate benchmark=NAME evaluate.samples=16` writes, for any benchmark with right answers. Answers of
several runs to one question are put together; a question, and all that are about the same, are on one side. Without
data.path the word problems of data=arithmetic_pairs are judged: one right working of each and one with a slip.

Legend: B rows, T tokens.
"""

from __future__ import annotations

import hashlib
import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch.utils.data import DataLoader

from batch import Batch
from bounds import OpenShare, PositiveInt
from datamodules.arithmetic_pairs import ArithmeticPairsDataModule
from datamodules.batching.example_batches import ExampleSteps, ValidationExamples
from datamodules.batching.examples import Report, StoredExamples
from datamodules.kinds.steps import StepDataModule
from datamodules.preference import prompt_hash
from datamodules.reading.judged_rows import Judged, lines_of, merged
from datamodules.reading.preference_rows import Preference
from errors import RequestError
from tokenization.chat import ChatTemplate, Message, Rendered, chat_template

Side = Literal["train", "val"]


@dataclass(frozen=True)
class JudgedTable:
    """One side as tokens: `labels` and `questions` (n,) of each answer, the latter by number."""

    examples: StoredExamples
    labels: np.ndarray
    questions: np.ndarray
    asked: list[str]

    def __len__(self) -> int:
        return len(self.labels)


class JudgedDataModule(StepDataModule):
    """Args:
    path: a predictions.jsonl or the folder of a run of task=evaluate; several as a list.
    val_fraction: share of the questions for validation, by a hash of what they are about.
    per_question: answers to a question at most; of more, as many are drawn by seed.
    pairs, val_pairs: without a path: word problems to judge.
    """

    provides = ("judged",)
    embedded: ArithmeticPairsDataModule | None = None

    def __init__(
        self,
        *,
        path: str | list[str] | None = None,
        val_fraction: OpenShare = 0.1,
        per_question: PositiveInt = 8,
        pairs: PositiveInt = 4096,
        val_pairs: PositiveInt = 128,
        template: Literal["chat", "alpaca", "plain"] = "chat",
        **shared: Any,
    ):
        super().__init__(**shared)
        self.paths = [path] if isinstance(path, str) else path
        self.val_fraction, self.per_question, self.template_style = val_fraction, per_question, template
        self.sizes = {"pairs": pairs, "val_pairs": val_pairs}
        self._tables: dict[Side, JudgedTable] = {}
        self.left_out = 0  # answers beyond per_question
        if self.paths is None:
            own = {key: getattr(self, key) for key in ("tokenizer", "seq_len", "batch_size", "seed")}
            self.embedded = ArithmeticPairsDataModule(max_steps=2, max_number=20, **self.sizes, **own)
        elif not self.paths:
            raise RequestError("data.path=[]: expected the folder of a run of task=evaluate, or several.")

    # Preparing ----------------------------------------------------------------------------------------------------

    def prepare(self) -> None:
        """Reads, renders, checks; a second call does nothing.

        Raises:
            RequestError: a line without labels, a side that is empty or of one kind, an answer that does not fit.
        """
        if self._tables:
            return
        sides = self._sides()
        if not self.tokenizer.trained:
            self.tokenizer.train(f"{text}\n" for judged in sides["train"] for text in (judged.question, *judged.texts))
        self.template, self.tokenizer = chat_template(self.tokenizer, self.template_style)
        for side, questions in sides.items():
            self._tables[side] = make_table(questions, self.template, seq_len=self.seq_len)
        for side in sides:
            check_kinds(side, self._tables[side].labels)

    def _sides(self) -> dict[Side, list[Judged]]:
        if self.embedded is not None:
            embedded = self.embedded
            return {side: [taken_apart(pair) for pair in embedded._read(side, Counter())] for side in ("train", "val")}
        found = list(merged(row for path in self.paths or [] for row in lines_of(path)).values())
        sides: dict[Side, list[Judged]] = {"train": [], "val": []}
        for judged in found:
            of_validation = prompt_hash(Preference([{"role": "user", "content": judged.source}], "", ""))
            sides["val" if of_validation < self.val_fraction else "train"].append(self._drawn(judged))
        return sides

    def _drawn(self, judged: Judged) -> Judged:
        n = len(judged.texts)
        if n <= self.per_question:
            return judged
        self.left_out += n - self.per_question
        kept = sorted(random.Random(f"{self.seed} {judged.question}").sample(range(n), self.per_question))
        return Judged(judged.question, judged.source, [judged.texts[i] for i in kept], [judged.labels[i] for i in kept])

    def table(self, side: Side) -> JudgedTable:
        if not self._tables:
            raise RuntimeError("JudgedDataModule: call prepare() first")
        return self._tables[side]

    def asked_hashes(self, side: Side) -> list[str]:
        """What tells whether a question was among those of a side; see `question_hash`."""
        return sorted({question_hash(question) for question in self.table(side).asked})

    @property
    def fingerprint(self) -> str:
        """SHA-256 of all answers, their labels and the tokenizer."""
        digest = hashlib.sha256(self.tokenizer.fingerprint.encode())
        for table in self._tables.values():
            digest.update(table.examples.fingerprint().encode() + table.labels.tobytes() + table.questions.tobytes())
        return digest.hexdigest()

    def describe(self) -> dict[str, Any]:
        """Questions, answers, the share of right ones; what was left out. JSON types."""
        found: dict[str, Any] = {
            side: {
                "questions": len(table.asked),
                "answers": len(table),
                "right": float(table.labels.mean()),
                "tokens": table.examples.report.tokens,
                "documents": len(table),
            }
            for side, table in self._tables.items()
        }
        return found | {"left_out": self.left_out}

    def facts(self) -> dict[str, str]:
        """The same in words, one line a side."""
        facts = self.describe()
        words = {
            side: f"{(f := facts[side])['answers']:,} answers to {f['questions']:,} questions, {f['right']:.1%} right"
            for side in ("train", "val")
        }
        if self.left_out:
            words["left out"] = f" {self.left_out:,} answers beyond data.per_question={self.per_question}"
        return words

    # Loading ------------------------------------------------------------------------------------------------------

    def train_dataloader(self) -> DataLoader[list[Batch]]:
        shape = {key: getattr(self, key) for key in ("batch_size", "accumulate", "rank", "world_size", "seed")}
        return self._step_loader(JudgedSteps(self.table("train"), pad=self.tokenizer.eot, **shape))

    def val_dataloader(self) -> DataLoader[Batch]:
        dataset = self._validation(self.rank, self.world_size)
        return self._loader(dataset, range(len(dataset)))

    def val_dataset(self) -> JudgedValidation:
        """All of the validation side, on one rank."""
        return self._validation(0, 1)

    def _validation(self, rank: int, world_size: int) -> JudgedValidation:
        shape = {"batch_size": self.val_batch_size, "rank": rank, "world_size": world_size}
        return JudgedValidation(self.table("val"), pad=self.tokenizer.eot, **shape)


class JudgedSteps(torch.utils.data.Dataset[list[Batch]]):
    """Item k: the micro-batches of update k on this rank, answers of like length together; with "labels", "index"."""

    def __init__(self, table: JudgedTable, **shape: Any):
        self.table, self.steps = table, ExampleSteps(table.examples, grouped=True, **shape)

    def __getitem__(self, step: int) -> list[Batch]:
        numbers = self.steps.numbers(step)[:, self.steps.rank]  # (A, B)
        micros = zip(self.steps[step], numbers, strict=True)
        return [with_labels(micro, torch.from_numpy(index), self.table) for micro, index in micros]


class JudgedValidation(torch.utils.data.Dataset[Batch]):
    """Every answer once, this rank's share; rows that only fill up have the index -1."""

    def __init__(self, table: JudgedTable, **shape: Any):
        self.table, self.batches = table, ValidationExamples(table.examples, **shape)

    def __len__(self) -> int:
        return len(self.batches)

    def __getitem__(self, i: int) -> Batch:
        batch = self.batches[i]
        return with_labels(batch, batch.pop("document_index").amax(1), self.table)

    def __iter__(self) -> Iterator[Batch]:
        return (self[i] for i in range(len(self)))


def with_labels(batch: Batch, index_B: torch.Tensor, table: JudgedTable) -> Batch:
    labels_B = torch.from_numpy(table.labels)[index_B.clamp_min(0)] & (index_B >= 0)
    return batch | {"index": index_B, "labels": labels_B}


# ---- tables ----------------------------------------------------------------------------------------------------------


def taken_apart(pair: Preference) -> Judged:
    """A pair as a right and a wrong answer; what it is about is its right working."""
    question = str(pair.prompt[-1]["content"])
    return Judged(question, pair.chosen, [pair.chosen, pair.rejected], [True, False])


def question_hash(question: str) -> str:
    return hashlib.blake2b(question.encode("utf-8", "replace"), digest_size=6).hexdigest()


def make_table(questions: list[Judged], template: ChatTemplate, *, seq_len: int) -> JudgedTable:
    """Raises RequestError where an answer does not fit: cut, it would not be what its label is about."""
    rows = [(i, text, label) for i, q in enumerate(questions) for text, label in zip(q.texts, q.labels, strict=True)]
    examples = [judged_ids(questions[i].question, text, template) for i, text, _ in rows]
    long = [len(example.ids) - 1 for example in examples if len(example.ids) > seq_len + 1]
    if long:
        raise RequestError(
            f"{len(long):,} of {len(examples):,} answers take more than data.seq_len={seq_len} tokens with their "
            f"questions, the longest {max(long):,}; cut, they would not be what their labels are about.\n"
            f"Type model.seq_len={max(long)}, or start from a model with a longer context."
        )
    report = Report()
    for example in examples:
        report.add(len(example.ids), example)
    labels, numbers = np.array([label for *_, label in rows], bool), np.array([i for i, *_ in rows], np.int64)
    return JudgedTable(StoredExamples(examples, report), labels, numbers, [q.question for q in questions])


def judged_ids(question: str, text: str, template: ChatTemplate) -> Rendered:
    """A question and an answer up to the token that ends it; one more id follows, which is never read.

    The mask is True at the answer's tokens: inputs of a batch are all ids but the last.
    """
    asked: list[Message] = [{"role": "user", "content": question}]
    if not text.strip():  # no turn that could be learned, and yet what a model may answer
        prompt, said = template.render_for_completion(asked), [*template.tokenizer.encode(text), template.end]
        at = np.arange(len(prompt) + len(said) + 1)
        return Rendered(np.append(prompt, [*said, template.end]), (at >= len(prompt)) & (at < at[-1]))
    ids, mask = template.render([*asked, {"role": "assistant", "content": text}], learn="last")
    end = int(np.flatnonzero(mask)[-1]) + 1
    return Rendered(np.append(ids[:end], template.end), np.append(mask[:end], False))


def check_kinds(side: str, labels: np.ndarray) -> None:
    """Raises RequestError where there is nothing to tell apart."""
    name = {"train": "training", "val": "validation"}[side]
    if len(labels) == 0:
        raise RequestError(
            f"no question is left for {name}.\nGive more questions, or another data.val_fraction (0 to 1)."
        )
    if labels.all() or not labels.any():
        raise RequestError(
            f"all {len(labels):,} answers of the {name} side are {'right' if labels.all() else 'wrong'}: there is "
            "nothing to tell apart.\nGive answers of both kinds: more questions, another model, or samples at another "
            "evaluate.temperature."
        )
