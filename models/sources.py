"""Rows of an encoder-decoder: where the source of each ends, and how it is read and written by itself.

Shapes: B rows, T tokens of a row, S of the longest source, D of the longest answer, H heads, Q tokens that look, K that
are looked at.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from batch import IGNORE, Batch
from errors import RequestError


class Example(NamedTuple):
    """One row without padding; the encoder reads the first `source` of its ids. `cut`: tokens that were left out."""

    ids: list[int]
    source: int
    cut: int = 0


def first_example(micro: Batch, n: int) -> Example | None:
    """The first row of a batch, at most `n` tokens of it; None where it has no source or no answer."""
    counts = (micro["targets"][0] != IGNORE).nonzero().flatten().tolist()
    if not counts or counts[0] == 0:
        return None
    ids = micro["ids"][0, : counts[-1] + 1].tolist()
    return cropped(ids[: counts[0]], ids[counts[0] :], n)


def cropped(source: list[int], answer: list[int], n: int) -> Example:
    """At most `n` tokens: of each side at least half of them, if it is so long; the beginning of either is kept."""
    room = max(n - len(answer), n // 2)
    kept = source[:room] + answer[: max(1, n - min(len(source), room))]
    return Example(kept, min(len(source), room), len(source) + len(answer) - len(kept))


def source_lengths(targets_BT: Tensor) -> Tensor:
    """(B,) tokens before the one whose target is the first that counts; rows in which none does have a source of 1."""
    counts_BT = targets_BT != IGNORE
    return torch.where(counts_BT.any(1), counts_BT.int().argmax(1), 1)


def extents(ids_BT: Tensor, padding_BT: Tensor | None) -> tuple[Tensor, Tensor]:
    """(B,) where each row's tokens begin, and how many they are; padding is on one side."""
    B, T = ids_BT.shape
    if padding_BT is None:
        return ids_BT.new_zeros(B), ids_BT.new_full((B,), T)
    return padding_BT.int().argmax(1), padding_BT.sum(1).clamp_min(2)  # empty rows fill up a batch


def widths(ids_BT: Tensor, length_B: Tensor, source_B: Tensor) -> tuple[int, int]:
    """Tokens of the longest source, and of the longest answer.

    Raises:
        RequestError: a row has no source.
    """
    if torch._guards.detect_fake_mode(ids_BT) is not None:  # a plan: as if half of each row were the source
        T = ids_BT.shape[1]
        return T // 2, T - T // 2
    S, D, least = torch.stack([source_B.max(), (length_B - source_B).max(), source_B.min()]).tolist()
    if least < 1:
        raise RequestError(
            "a row begins with its answer: there is nothing for the encoder to read.\n"
            "An encoder-decoder needs a question before each answer (objective=sft with data.learn=assistant or last); "
            "when writing, a prompt of two tokens or more, the last of which starts the answer."
        )
    return S, D


def shifted(ids_BT: Tensor, first_B: Tensor, length_B: Tensor, width: int) -> tuple[Tensor, Tensor]:
    """(B, width) tokens of each row from its own `first_B` on, and which of them are among its `length_B`."""
    at_W = torch.arange(width, device=ids_BT.device)
    index_BW = (first_B.unsqueeze(1) + at_W).clamp_max(ids_BT.shape[1] - 1)
    return ids_BT.gather(1, index_BW), at_W < length_B.unsqueeze(1)


def placed(weights_BHQK: Tensor, rows_B: Tensor, columns_B: Tensor, T: int) -> Tensor:
    """(B, H, T, T): weights of each row of the batch from (row, column) on; what would be outside is left out."""
    B, H, Q, K = weights_BHQK.shape
    whole = weights_BHQK.new_zeros(B, H, T, T)
    for b, (row, column) in enumerate(zip(rows_B.tolist(), columns_B.tolist(), strict=True)):
        q, k = min(Q, T - row), min(K, T - column)
        whole[b, :, row : row + q, column : column + k] = weights_BHQK[b, :, :q, :k]
    return whole
