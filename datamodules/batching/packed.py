"""Training rows in which whole documents lie side by side (`data.packing=bestfit`), instead of windows of one sequence.

Legend: T = seq_len, B = sequences in a micro-batch, A = micro-batches a step, W = ranks, L = tokens of a document.
A document fills L - 1 places of a row: its last token is only a target, its first only an input, as nothing in its own
document predicts it. So no target crosses a border, and by "documents" neither attention nor positions do.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from batch import IGNORE, Batch
from datamodules.batching.packing import Packing, best_fit, cut
from datamodules.batching.windows import Order
from datamodules.preparing.token_files import TokenFile


@dataclass(frozen=True)
class Rows:
    """Documents of a token file, cut where they must be and packed. Piece i begins at token `start[i]`."""

    packing: Packing
    start: np.ndarray  # (pieces,) int64
    length: np.ndarray  # (pieces,) int64: places in the row; it has one token more
    n_documents: int
    n_cut: int  # documents longer than a row
    n_targets: int  # all there are: every token but the first of each document

    def describe(self) -> dict[str, float | int]:
        """What packing costs."""
        return {
            "rows": self.packing.n_rows,
            "padding_share": round(self.packing.padding_share, 6),
            "lost_share": round(1 - self.packing.filled / max(1, self.n_targets), 6),
            "cut_documents_share": round(self.n_cut / max(1, self.n_documents), 6),
        }


def pack_documents(ends: np.ndarray, seq_len: int) -> Rows:
    """Pack documents, given by (documents,) int64 ends in tokens, into rows of `seq_len`."""
    ends = np.asarray(ends, dtype=np.int64)
    starts = np.concatenate([[0], ends[:-1]])
    places = np.maximum(ends - starts - 1, 0)  # (documents,)
    owner, at, length = cut(places, seq_len)
    n_cut = int((places > seq_len).sum())
    return Rows(best_fit(length, seq_len), starts[owner] + at, length, len(ends), n_cut, int(places.sum()))


class PackedSteps(torch.utils.data.Dataset[list[Batch]]):
    """Item k: the micro-batches of optimizer step k on this rank, [A] x (B, T). `order` says which rows."""

    def __init__(
        self,
        tokens: TokenFile,
        rows: Rows,
        order: Order,
        *,
        batch_size: int,
        accumulate: int = 1,
        rank: int = 0,
        world_size: int = 1,
        pad: int,
    ):
        self.tokens, self.rows, self.order, self.pad = tokens, rows, order, pad
        self.shape, self.rank = (accumulate, world_size, batch_size), rank  # (A, W, B)

    def __getitem__(self, step: int) -> list[Batch]:
        A, W, B = self.shape
        rows = self.order.starts(step, A * W * B).reshape(self.shape)[:, self.rank]  # (A, B)
        return [self._batch(rows[i]) for i in range(A)]

    def _batch(self, rows_B: np.ndarray) -> Batch:
        T, packing = self.rows.packing.capacity, self.rows.packing
        ids_BT = np.full((len(rows_B), T), self.pad, dtype=np.int64)
        targets_BT = np.full((len(rows_B), T), IGNORE, dtype=np.int64)
        documents_BT = np.zeros((len(rows_B), T), dtype=np.int32)
        real_BT = np.zeros((len(rows_B), T), dtype=bool)
        for b, r in enumerate(rows_B):
            end = 0
            for number, piece in enumerate(packing.row(int(r))):
                start, n = self.rows.start[piece], int(self.rows.length[piece])
                tokens = self.tokens.read(np.array([start]), n + 1)[0]  # (n + 1,)
                begin, end = end, end + n
                ids_BT[b, begin:end], targets_BT[b, begin:end] = tokens[:-1], tokens[1:]
                documents_BT[b, begin:end], real_BT[b, begin:end] = number, True
                documents_BT[b, end:] = number + 1  # padding is a document of its own: nobody sees it
        return {
            "ids": torch.from_numpy(ids_BT),
            "targets": torch.from_numpy(targets_BT),
            "documents": torch.from_numpy(documents_BT),
            "padding": torch.from_numpy(real_BT),  # True at real tokens, as everywhere
        }
