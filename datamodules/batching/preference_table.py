"""Pairs as tokens, and the batches that are made of them.

Legend: P pairs in a micro-batch, T tokens of the longest row, A micro-batches an update, W ranks.

The order of training is a pure function of (seed, update), as for windows: update k takes the k-th group of A * W * P
pairs of a permutation that changes each epoch. So resume costs nothing and the global batch is the same for any
division of A * W * P.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch

from batch import IGNORE, Batch
from datamodules.batching.windows import ShuffleOrder
from datamodules.reading.preference_rows import Preference
from progress import shown
from tokenization.chat import ChatTemplate
from tokenization.chat.messages import FIELDS


@dataclass(frozen=True)
class PairTable:
    """Every pair as tokens: prompt, chosen, rejected, one after the other in one array."""

    ids: np.ndarray  # (tokens,) int32
    ends: np.ndarray  # (n, 3) int64: where each part ends
    margins: np.ndarray  # (n,) float32, NaN where a pair has none

    def __len__(self) -> int:
        return len(self.ends)

    def parts(self, i: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Ids of prompt, chosen and rejected completion of pair i."""
        start = 0 if i == 0 else self.ends[i - 1, 2]
        cuts = [start, *self.ends[i]]
        prompt, chosen, rejected = (self.ids[a:b] for a, b in pairwise(cuts))
        return prompt, chosen, rejected

    @property
    def n_margins(self) -> int:
        """Pairs that have one."""
        return int((~np.isnan(self.margins)).sum())

    @property
    def lengths(self) -> np.ndarray:
        """(n,) tokens of the longer row of each pair."""
        sizes = np.diff(np.concatenate([[0], self.ends.reshape(-1)])).reshape(-1, 3)
        return sizes[:, 0] + np.maximum(sizes[:, 1], sizes[:, 2])

    def fingerprint(self) -> str:
        digest = hashlib.sha256()
        for array in (self.ids, self.ends, self.margins):
            digest.update(np.ascontiguousarray(array).data)
        return digest.hexdigest()


def make_table(
    pairs: Iterable[Preference],
    template: ChatTemplate,
    *,
    seq_len: int,
    max_prompt: int,
    counts: Counter[str],
    ignored: Counter[str] | None = None,
    kept: Callable[[Preference], None] = lambda pair: None,
) -> PairTable:
    """Renders and cuts. Each completion has the room that the prompt leaves, whatever the other one needs (S11).

    Args:
        max_prompt: longer prompts lose their beginning. counts: takes what was cut, and what was dropped and why.
        ignored: takes what the template does not show to the model. kept: called for each pair that stays, in order.
    """
    ids: list[np.ndarray] = []
    margins: list[float] = []
    for pair in shown(pairs, "rendering", unit="pairs"):
        parts = cut(*rendered(pair, template), seq_len=seq_len, max_prompt=max_prompt, counts=counts)
        if ignored is not None:
            ignored.update(hidden_by(template, pair))
        if parts is not None:
            kept(pair)
            ids += [part.astype(np.int32) for part in parts]
            margins.append(float("nan") if pair.margin is None else pair.margin)
    ends = np.cumsum([len(part) for part in ids], dtype=np.int64).reshape(-1, 3)
    return PairTable(np.concatenate(ids or [np.empty(0, np.int32)]), ends, np.array(margins, np.float32))


def hidden_by(template: ChatTemplate, pair: Preference) -> list[str]:
    """What the template does not show of a pair, by the names in which `ignored` counts; a reader told of the rest."""
    names = template.not_rendered([*pair.prompt, *pair.answers], pair.tools)
    return [
        f"column {name!r}" if name == "tools" else f"a message's {name!r}"
        for name in names
        if name in (*FIELDS, "tools")
    ]


def rendered(pair: Preference, template: ChatTemplate) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Ids of the prompt, up to where the assistant begins, and of both answers with the token that ends them."""
    sides = []
    for answer in pair.answers:
        ids, mask = template.render([*pair.prompt, answer], learn="last", tools=pair.tools)
        learned = np.flatnonzero(mask)
        sides.append((ids[: learned[0]], ids[learned[0] : learned[-1] + 1]))
    return sides[0][0], sides[0][1], sides[1][1]


def cut(
    prompt: np.ndarray, chosen: np.ndarray, rejected: np.ndarray, *, seq_len: int, max_prompt: int, counts: Counter[str]
) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
    """The parts within their budgets, or None where no pair is left of them."""
    if len(prompt) > max_prompt:
        counts["prompts cut"] += 1
        prompt = prompt[-max_prompt:]
    room = seq_len - len(prompt)
    for side in (chosen, rejected):
        if len(side) > room:
            counts["answers cut"] += 1
    chosen, rejected = chosen[:room], rejected[:room]
    if len(chosen) == 0 or len(rejected) == 0:
        counts["no room for an answer"] += 1
        return None
    if np.array_equal(chosen, rejected):
        counts["the same after cutting"] += 1
        return None
    return prompt, chosen, rejected


def to_micro(table: PairTable, which: Iterable[int], *, first: int = 0, fill: int = 0) -> Batch:
    """Rows of the pairs `which`: the chosen ones, then the rejected ones, padded on the right with 0.

    Args:
        first: number of the table's first pair in the whole data set. fill: pairs without tokens added at the end.
    """
    which = [int(i) for i in which]
    parts = [table.parts(i) for i in which]
    nothing = np.empty(0, np.int32)
    parts += [(nothing, nothing, nothing)] * fill
    rows = [(p, c) for p, c, _ in parts] + [(p, r) for p, _, r in parts]
    lengths = [len(p) + len(c) for p, c in rows]
    T = max(1, *lengths)
    ids, targets = np.zeros((len(rows), T), np.int64), np.full((len(rows), T), IGNORE, np.int64)
    for row, (prompt, completion) in enumerate(rows):
        n, end = len(prompt), lengths[row]
        ids[row, :n], ids[row, n:end] = prompt, completion
        if end:
            targets[row, n - 1 : end - 1] = completion  # the prompt's last token predicts its first
    index = np.array([first + i for i in which] + [first] * fill, np.int64)
    margins = np.array([table.margins[i] for i in which] + [0.0] * fill, np.float32)
    micro = {"ids": ids, "targets": targets, "lengths": np.array(lengths), "index": index}
    batch = {name: torch.from_numpy(value) for name, value in micro.items()}
    return batch if np.isnan(table.margins).any() else batch | {"margins": torch.from_numpy(margins)}


class PairSteps(torch.utils.data.Dataset[list[Batch]]):
    """Item k: the micro-batches of update k on this rank, pairs of like length together."""

    def __init__(self, table: PairTable, *, batch_size: int, accumulate: int, rank: int, world_size: int, seed: int):
        self.table, self.shape, self.rank = table, (accumulate, world_size, batch_size), rank  # (A, W, P)
        # a pair is a window that starts at its own number
        self.order = ShuffleOrder(n_tokens=len(table), seq_len=0, stride=1, seed=seed)
        self.lengths = table.lengths

    @property
    def steps_per_epoch(self) -> int:
        return -(-len(self.table) // int(np.prod(self.shape)))

    def __getitem__(self, step: int) -> list[Batch]:
        A, W, P = self.shape
        which = self.order.starts(step, A * W * P)
        which = which[np.argsort(self.lengths[which], kind="stable")]  # over all ranks: none waits for a longer batch
        mine = which.reshape(A, W, P)[:, self.rank]  # (A, P)
        return [to_micro(self.table, row) for row in mine]


class PairBatches(torch.utils.data.Dataset[Batch]):
    """Every pair once, this rank's share, in batches of P; the last ones are filled up, so that ranks have as many."""

    def __init__(self, table: PairTable, *, first: int, batch_size: int, rank: int, world_size: int):
        self.table, self.first, self.rank, self.world_size = table, first, rank, world_size
        per_rank = -(-len(table) // world_size)
        self.batch_size = min(batch_size, per_rank)
        self.n_batches = -(-per_rank // self.batch_size)
        self.by_length = np.argsort(table.lengths, kind="stable")  # less padding; sums do not care

    def __len__(self) -> int:
        return self.n_batches

    def __getitem__(self, i: int) -> Batch:
        if not 0 <= i < self.n_batches:
            raise IndexError(i)
        mine = self.by_length[self.rank :: self.world_size][i * self.batch_size : (i + 1) * self.batch_size]
        return to_micro(self.table, mine, first=self.first, fill=self.batch_size - len(mine))

    def __iter__(self) -> Iterator[Batch]:
        return (self[i] for i in range(self.n_batches))
