"""Guides: what a row must write next, and what it may write. Tools and schemas are guides (evaluation/tool_use.py,
tasks/schema.py); `generate` and `stream` ask them.

A guide belongs to one row and is a function of the row's new ids: asked again with other ids, also with fewer, it
answers for those. So a draft can be checked token by token and taken back (speculative decoding, 2211.17192): the ids
that may follow `ids + draft[:j]` are `allowed(ids + draft[:j])`.

Shapes: B rows, V vocabulary.
"""

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from errors import RunError

Ids = Sequence[int]


class Guide(Protocol):
    def forced(self, ids: Ids) -> Ids:
        """What comes after the new ids, whatever the model would say; nothing where the model is asked."""

    def allowed(self, ids: Ids) -> np.ndarray | None:
        """(V,) bool, or shorter: ids beyond it are not allowed. One of these comes after the new ids; None: any."""


MakeGuide = Callable[[Ids], Guide]  # of a row, from its prompt


class Guided:
    """The guides of a batch's rows; `rows` below are each row's new ids."""

    def __init__(self, make: MakeGuide, prompts: Sequence[Ids]):
        self.guides = [make(prompt) for prompt in prompts]
        self.due: list[list[int]] = [[] for _ in self.guides]  # forced ids that are not written yet

    def keep(self, places: Sequence[int]) -> None:
        self.guides, self.due = [self.guides[i] for i in places], [self.due[i] for i in places]

    def forced(self, rows: Sequence[Ids], alive: Sequence[bool]) -> list[int | None]:
        """The id that each row must write now, or None."""
        for i, ids in enumerate(rows):
            if alive[i] and not self.due[i]:
                self.due[i] = [int(id) for id in self.guides[i].forced(ids)]
        return [due.pop(0) if due and alive[i] else None for i, due in enumerate(self.due)]

    def masked(self, logits_BV: Tensor, rows: Sequence[Ids], asked: Sequence[bool]) -> Tensor:
        """-inf where a row that is asked may not go.

        Raises:
            RunError: a guide leaves a row nothing to write.
        """
        masks = [self.allowed(i, ids) if asked[i] else None for i, ids in enumerate(rows)]
        return only(logits_BV, masks)

    def allowed(self, place: int, ids: Ids) -> np.ndarray | None:
        """As of the guide. Raises RunError where it leaves nothing to write."""
        mask = self.guides[place].allowed(ids)
        if mask is not None and not mask.any():
            raise RunError("nothing may follow what a row has written: its guide allows no token at all.")
        return mask


def only(logits_BV: Tensor, masks: Sequence[np.ndarray | None]) -> Tensor:
    """-inf outside of the mask of each row that has one."""
    if all(mask is None for mask in masks):
        return logits_BV
    allowed_BV = np.ones(tuple(logits_BV.shape), dtype=bool)
    for i, mask in enumerate(masks):
        if mask is not None:
            allowed_BV[i, : len(mask)] = mask[: allowed_BV.shape[1]]
            allowed_BV[i, len(mask) :] = False
    return logits_BV.masked_fill(~torch.from_numpy(allowed_BV).to(logits_BV.device), -torch.inf)
