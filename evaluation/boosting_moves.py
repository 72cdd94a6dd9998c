"""Which tokens a stage makes likelier and which less likely, at places chosen to be shown.

Only those places are computed, in a second walk over the windows: probabilities of all tokens are never held for all.

Shapes: B rows, T tokens, V vocabulary.
"""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from evaluation.boosting import Measured
from models.boosting.ensemble import Boosted
from models.boosting.objectives import logits_of

SHOWN = 5


class Move(NamedTuple):
    """A token's probability before a stage and after it."""

    token: int
    before: float
    after: float


class Moves(NamedTuple):
    """At one place: the tokens that gained most probability and those that lost most, strongest first."""

    raised: list[Move]
    lowered: list[Move]


@torch.no_grad()
def moves(
    model: Boosted, batches: Iterable[dict[str, Tensor]], found: Measured, places: Iterable[tuple[int, int]]
) -> dict[tuple[int, int], Moves]:
    """The moves of stage m (from 0) at target n of `found`, for each (m, n) of `places`.

    Args: batches: those that `found` was measured on, in the same order.
    """
    wanted: dict[int, list[tuple[int, int]]] = {}
    for m, n in places:
        wanted.setdefault(int(found.row_n[n]), []).append((m, n))
    seen, table = 0, {}
    for batch in batches:
        rows = range(seen, seen := seen + len(batch["ids"]))
        here = [place for row in rows for place in wanted.get(row, ())]
        if here:
            states = _states(model, batch)
            for m, n in here:
                at = (int(found.row_n[n]) - rows.start, int(found.position_n[n]))
                table[m, n] = _moves(model, states[m][at], states[m + 1][at])
        if seen > max(wanted, default=0):
            break
    return table


def _states(model: Boosted, batch: dict[str, Tensor]) -> list[Tensor]:
    device = model.head.weight.device
    documents = batch["documents"].to(device) if "documents" in batch else None
    return model.prefixes(batch["ids"].to(device), list(range(model.stages_in_use + 1)), documents_BT=documents)


def _moves(model: Boosted, before_C: Tensor, after_C: Tensor) -> Moves:
    before_V, after_V = (
        logits_of(state[None].float(), model.head.weight, model.softcap)[0].softmax(-1) for state in (before_C, after_C)
    )
    change = (after_V - before_V).cpu().numpy()
    order = np.argsort(change, kind="stable")

    def told(ids: np.ndarray) -> list[Move]:
        return [Move(int(i), float(before_V[i]), float(after_V[i])) for i in ids if change[i] != 0]

    return Moves(raised=told(order[::-1][:SHOWN]), lowered=told(order[:SHOWN]))
