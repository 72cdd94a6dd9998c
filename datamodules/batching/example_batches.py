"""Examples -> batches: which examples an update sees, and how they lie in rows.

Legend: T = seq_len, B = rows of a micro-batch, A = micro-batches a step, W = ranks, P = steps of a pool.

What step k sees is a pure function of (seed, k), see epochs.py: resume costs nothing, ranks are disjoint, and the
examples of an update are the same for any division of A * W * B.

- grouped: the examples of up to P steps of one epoch are sorted by length and dealt out again, so that rows of a step
  are about as long and little is padding.
- plain: as they come, padded to the longest.
- packed: several examples to a row of T tokens, each a document of its own: neither attention nor positions nor targets
  cross a border (N28).
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch

from batch import IGNORE, Batch
from datamodules.batching.epochs import Epochs
from datamodules.batching.examples import Examples
from datamodules.batching.packing import Packing, best_fit
from datamodules.batching.permutation import permute
from tokenization.chat import Rendered

POOL_STEPS = 16
PAD_TO = 8  # rows are as long as a multiple of it: fewer shapes, and what matrix units like
Batching = Literal["grouped", "plain", "packed"]


class ExampleSteps(torch.utils.data.Dataset[list[Batch]]):
    """Item k: the micro-batches of optimizer step k on this rank, one example a row."""

    def __init__(
        self,
        examples: Examples,
        *,
        batch_size: int,
        accumulate: int,
        rank: int,
        world_size: int,
        seed: int,
        pad: int,
        grouped: bool,
    ):
        self.examples, self.rank, self.seed, self.pad, self.grouped = examples, rank, seed, pad, grouped
        self.shape = (accumulate, world_size, batch_size)
        self._sorted: tuple[range, np.ndarray] = (range(0), np.empty(0, np.int64))  # the pool of the latest step

    def numbers(self, step: int) -> np.ndarray:
        """(A, W, B): the examples of step `step`."""
        if not self.grouped:
            return self._drawn(step).reshape(self.shape)
        pool = self._pool(step)
        if pool != self._sorted[0]:
            drawn = np.concatenate([self._drawn(k) for k in pool])
            self._sorted = pool, drawn[np.argsort(self.examples.lengths(drawn), kind="stable")]
        place = int(permute(np.array([step - pool.start]), len(pool), self.seed, pool.start)[0])
        n = int(np.prod(self.shape))
        return self._sorted[1][place * n : (place + 1) * n].reshape(self.shape)

    def _drawn(self, step: int) -> np.ndarray:
        """(A * W * B,): stored examples come once an epoch; generated ones never come again."""
        n = int(np.prod(self.shape))
        if self.examples.size is None:
            return np.arange(step * n, (step + 1) * n)
        return Epochs(self.examples.size, n, self.seed).update(step)

    def _pool(self, step: int) -> range:
        """The steps whose examples are sorted together: of one epoch, so that none is among them twice."""
        if self.examples.size is None:
            first = step - step % POOL_STEPS
            return range(first, first + POOL_STEPS)
        steps = Epochs(self.examples.size, int(np.prod(self.shape)), self.seed).steps_around(step)
        first = step - (step - steps.start) % POOL_STEPS
        return range(first, min(first + POOL_STEPS, steps.stop))

    def __getitem__(self, step: int) -> list[Batch]:
        return [
            padded([self.examples[i] for i in rows.tolist()], pad=self.pad) for rows in self.numbers(step)[:, self.rank]
        ]


class PackedSteps(torch.utils.data.Dataset[list[Batch]]):
    """Item k: the micro-batches of optimizer step k on this rank, rows of `seq_len` tokens full of examples."""

    def __init__(
        self,
        examples: Examples,
        *,
        seq_len: int,
        batch_size: int,
        accumulate: int,
        rank: int,
        world_size: int,
        seed: int,
        pad: int,
    ):
        self.examples, self.seq_len, self.rank, self.seed, self.pad = examples, seq_len, rank, seed, pad
        self.shape = (accumulate, world_size, batch_size)
        self.plan: Packing | None = None
        if examples.size is not None:
            sizes = examples.lengths(np.arange(examples.size)) - 1  # inputs
            self.plan = best_fit(sizes, seq_len)

    def numbers(self, step: int) -> list[list[int]]:
        """The examples in each of the A * W * B rows of step `step`."""
        n = int(np.prod(self.shape))
        if self.plan is None:
            return [self._stretch(row) for row in range(step * n, (step + 1) * n)]
        return [self.plan.row(int(row)).tolist() for row in Epochs(self.plan.n_rows, n, self.seed).update(step)]

    def _stretch(self, row: int) -> list[int]:
        """Where examples have no end, each row has a stretch of its own, and takes what fits."""
        first, room = row * self.seq_len, self.seq_len
        taken: list[int] = []
        while (size := len(self.examples[first + len(taken)].ids) - 1) <= room:
            taken.append(first + len(taken))
            room -= size
        return taken

    def __getitem__(self, step: int) -> list[Batch]:
        A, W, B = self.shape
        rows, mine = self.numbers(step), np.arange(A * W * B).reshape(self.shape)[:, self.rank]  # (A, B)
        return [
            packed([[self.examples[i] for i in rows[row]] for row in micro], self.seq_len, pad=self.pad)
            for micro in mine.tolist()
        ]

    @property
    def filled(self) -> float:
        """Share of the rows that is not padding; of endless examples, of the first rows."""
        if self.plan is not None:
            return 1 - self.plan.padding_share
        sizes = [sum(len(self.examples[i].ids) - 1 for i in self._stretch(row)) for row in range(64)]
        return sum(sizes) / (len(sizes) * self.seq_len)


class ValidationExamples(torch.utils.data.Dataset[Batch]):
    """Every example once, sorted by length, a row each; a rank takes every W-th, all as many batches (N41).

    "document_index" (B, T) says which example a target belongs to, -1 where there is none.
    """

    def __init__(self, examples: Examples, *, batch_size: int, rank: int, world_size: int, pad: int):
        assert examples.size is not None
        self.examples, self.rank, self.world_size, self.pad = examples, rank, world_size, pad
        self.order = np.argsort(examples.lengths(np.arange(examples.size)), kind="stable")
        per_rank = -(-examples.size // world_size)
        self.batch_size = min(batch_size, per_rank)
        self.n_batches = -(-per_rank // self.batch_size)

    def __len__(self) -> int:
        return self.n_batches

    def __getitem__(self, i: int) -> Batch:
        if not 0 <= i < self.n_batches:
            raise IndexError(i)
        places = np.arange(i * self.batch_size, (i + 1) * self.batch_size) * self.world_size + self.rank
        numbers = self.order[places[places < len(self.order)]].tolist()
        batch = padded([self.examples[n] for n in numbers], pad=self.pad, rows=self.batch_size)
        index = torch.tensor(numbers + [-1] * (self.batch_size - len(numbers))).unsqueeze(1)  # (B, 1)
        batch["document_index"] = index.expand_as(batch["ids"]).masked_fill(batch["targets"] == IGNORE, -1)
        return batch


def padded(examples: list[Rendered], *, pad: int, rows: int | None = None) -> Batch:
    """{"ids", "targets", "padding"} (B, T), T the longest of them, filled up on the right; `rows` adds empty rows.

    "padding" is True at real tokens, as everywhere.

    Padding comes after all that counts: causal attention never looks at it, and its targets are ignored.
    """
    longest = max((len(example.ids) - 1 for example in examples), default=1)
    shape = (rows or len(examples), -(-longest // PAD_TO) * PAD_TO)
    ids, targets = np.full(shape, pad, dtype=np.int64), np.full(shape, IGNORE, dtype=np.int64)
    real = np.zeros(shape, dtype=bool)
    for row, example in enumerate(examples):
        real[row, : put(ids, targets, row, 0, example)] = True
    arrays = {"ids": ids, "targets": targets, "padding": real}
    return {name: torch.from_numpy(array) for name, array in arrays.items()}


def packed(rows: list[list[Rendered]], seq_len: int, *, pad: int) -> Batch:
    """`padded`'s keys and "documents" (B, T): examples one after the other, padding as a document of its own."""
    shape = (len(rows), seq_len)
    ids, targets = np.full(shape, pad, dtype=np.int64), np.full(shape, IGNORE, dtype=np.int64)
    documents, real = np.zeros(shape, dtype=np.int32), np.zeros(shape, dtype=bool)
    for row, examples in enumerate(rows):
        at = 0
        for number, example in enumerate(examples):
            end = put(ids, targets, row, at, example)
            documents[row, at:end] = number
            at = end
        documents[row, at:] = len(examples)
        real[row, :at] = True
    arrays = {"ids": ids, "targets": targets, "padding": real, "documents": documents}
    return {name: torch.from_numpy(array) for name, array in arrays.items()}


def put(ids_BT: np.ndarray, targets_BT: np.ndarray, row: int, at: int, example: Rendered) -> int:
    """Writes one example at (row, at): each input beside the token that follows it. Returns where it ends."""
    end = at + len(example.ids) - 1
    ids_BT[row, at:end] = example.ids[:-1]
    targets_BT[row, at:end] = np.where(example.mask[1:], example.ids[1:], IGNORE)
    return end
