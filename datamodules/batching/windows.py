"""Windows of a token sequence: where training windows start at each step, and how windows become batches.

Legend: N tokens in the sequence, T = seq_len, B = sequences in a micro-batch, A = micro-batches a step, W = ranks.
A window is T + 1 tokens: ids are its first T, targets its last T.

The order of training is a pure function of (seed, step): step k takes the k-th group of A * W * B starts, and a rank
takes its rows of it. So resume costs nothing, ranks are disjoint, and the global batch is the same for any division
of A * W * B.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np
import torch

from batch import IGNORE, Batch
from datamodules.batching.epochs import Epochs, Even, Places, Updates
from datamodules.preparing.token_files import TokenFile


@dataclass(frozen=True)
class Order(ABC):
    """Starts of training windows. `n_tokens` = N, `seq_len` = T; `stride` tokens lie between neighbouring starts."""

    n_tokens: int
    seq_len: int
    stride: int
    seed: int

    @property
    def n_windows(self) -> int:
        """Windows in an epoch: those that start at a multiple of `stride` and fit."""
        return (self.n_tokens - self.seq_len - 1) // self.stride + 1

    @abstractmethod
    def starts(self, step: int, n: int) -> np.ndarray:
        """(n,) int64: the starts of all windows of step `step`, n = A * W * B, the same at every step."""


class RandomOrder(Order):
    """Uniform offsets with replacement, as nanoGPT's get_batch. Philox (Salmon et al. 2011) counted by the step."""

    def starts(self, step: int, n: int) -> np.ndarray:
        bits = np.random.Philox(key=self.seed, counter=[0, 0, step, 0])  # each step owns 2**128 draws
        return np.random.Generator(bits).integers(0, self.n_tokens - self.seq_len, size=n)


class SequentialOrder(Order):
    """Windows from first to last, then from the first again."""

    def starts(self, step: int, n: int) -> np.ndarray:
        return self.at(step * n, (step + 1) * n, Even(n))

    def at(self, first: int, last: int, updates: Updates) -> np.ndarray:
        """(last - first,) int64: where these windows start, counted over the epochs; `updates` take them."""
        return np.arange(first, last) % self.n_windows * self.stride


class ShuffleOrder(SequentialOrder):
    """Every window once an epoch, each epoch in another order; in an update none twice while others are unread."""

    def starts(self, step: int, n: int) -> np.ndarray:
        return Epochs(self.n_windows, n, self.seed).update(step) * self.stride

    def at(self, first: int, last: int, updates: Updates) -> np.ndarray:
        return Places(self.n_windows, self.seed, updates).examples(first, last) * self.stride


ORDERS: dict[str, type[Order]] = {"random": RandomOrder, "shuffle": ShuffleOrder, "sequential": SequentialOrder}


def to_batch(windows: np.ndarray, *, eot: int | None) -> Batch:
    """(B, T + 1) ids -> {"ids", "targets"} (B, T) int64, targets shifted by one.

    With `eot`, also "documents" (B, T) int32, counted from 0 in each row, and no loss where a target is the first
    token of another document: nothing in its own document predicts it.
    """
    ids = windows[:, :-1].astype(np.int64)  # (B, T), packed
    targets = windows[:, 1:].astype(np.int64)  # (B, T)
    batch = {"ids": torch.from_numpy(ids), "targets": torch.from_numpy(targets)}
    if eot is not None:
        ends = ids == eot  # (B, T)
        documents = np.cumsum(ends, axis=1, dtype=np.int32) - ends.astype(np.int32)  # the end belongs to its document
        targets[ends] = IGNORE
        batch["documents"] = torch.from_numpy(documents)
    return batch


class TrainSteps(torch.utils.data.Dataset[list[Batch]]):
    """Item k: the micro-batches of optimizer step k on this rank, [A] x (B, T)."""

    def __init__(
        self,
        tokens: TokenFile,
        order: Order,
        *,
        batch_size: int,
        accumulate: int = 1,
        rank: int = 0,
        world_size: int = 1,
        eot: int | None = None,
    ):
        self.tokens, self.order, self.eot = tokens, order, eot
        self.shape, self.rank = (accumulate, world_size, batch_size), rank  # (A, W, B)

    def __getitem__(self, step: int) -> list[Batch]:
        A, W, B = self.shape
        starts = self.order.starts(step, A * W * B).reshape(self.shape)[:, self.rank].reshape(-1)  # (A * B,)
        windows = self.tokens.read(starts, self.order.seq_len + 1)  # (A * B, T + 1)
        return [to_batch(windows[i * B : (i + 1) * B], eot=self.eot) for i in range(A)]


class ValidationBatches(torch.utils.data.Dataset[Batch]):
    """The whole split once, in order, without overlap, in batches of B windows; beyond the end, targets are -100.

    Rank r takes windows r, r + W, ...; every rank has as many batches, the last ones perhaps without any target (N41).
    With `document_ends`, (documents,) int64, each batch also names the document of each target: "document_index",
    (B, T) int64, -1 where there is no target; with `source_ends` the source of each in a mixture, "source".
    """

    def __init__(
        self,
        tokens: TokenFile,
        *,
        seq_len: int,
        batch_size: int,
        rank: int = 0,
        world_size: int = 1,
        eot: int | None = None,
        document_ends: np.ndarray | None = None,
        source_ends: np.ndarray | None = None,
    ):
        self.tokens, self.seq_len, self.eot = tokens, seq_len, eot
        self.ends = {"document_index": document_ends, "source": source_ends}
        self.rank, self.world_size = rank, world_size
        self.n_windows = -(-(len(tokens) - 1) // seq_len)  # ceil: every token but the first is a target once
        per_rank = -(-self.n_windows // world_size)
        self.batch_size = min(batch_size, per_rank)  # a short split need not fill a large batch with dummies
        self.n_batches = -(-per_rank // self.batch_size)

    def __len__(self) -> int:
        return self.n_batches

    def __getitem__(self, i: int) -> Batch:
        if not 0 <= i < self.n_batches:
            raise IndexError(i)
        rows = np.arange(i * self.batch_size, (i + 1) * self.batch_size)  # (B,)
        starts = (rows * self.world_size + self.rank) * self.seq_len
        batch = to_batch(self.tokens.read(starts, self.seq_len + 1), eot=self.eot)
        places = starts[:, None] + np.arange(1, self.seq_len + 1)  # (B, T): where each target lies in the split
        batch["targets"][torch.from_numpy(places >= len(self.tokens))] = IGNORE
        for name, ends in self.ends.items():
            if ends is not None:
                index = np.searchsorted(ends, places, side="right")  # (B, T)
                batch[name] = torch.from_numpy(index).masked_fill_(batch["targets"] == IGNORE, -1)
        return batch


class StepSampler(torch.utils.data.Sampler[int]):
    """start, start + 1, ... without end: the steps of a run that goes on at `start`; an item may serve several."""

    def __init__(self, start: int, *, repeats: int = 1):
        self.start, self.repeats = start, repeats

    def __iter__(self):
        step = self.start
        while True:
            yield step // self.repeats
            step += 1
