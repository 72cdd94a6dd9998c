"""Which rows and tokens an update learns from: functions of the row, the seed and the step, so nothing is remembered.

Pairs are drawn whole: both of their rows, or none.

Shapes: B rows, T tokens, U rows or pairs.
"""

from collections.abc import Sequence

import torch

from batch import IGNORE, Batch
from models.boosting.plan import Plan
from models.boosting.states import share_of
from models.boosting.units import Unit, is_dev, units_of


def rows_to_learn(
    batch: list[Batch], plan: Plan, *, stage: int, seed: int, token_seeds: Sequence[int], spare: Unit | None
) -> list[Batch]:
    """A batch without dev rows, and with the rows and tokens that a stage draws.

    Args:
        seed: which rows are dev, and which a stage draws. token_seeds: of each micro-batch, which tokens.
        spare: what is learned from where no row is left.
    """
    kept = [_drawn(micro, plan, stage, seed, token_seed) for micro, token_seed in zip(batch, token_seeds, strict=True)]
    kept = [micro for micro in kept if len(micro["targets"])]
    return kept if kept or spare is None else [spare.to(batch[0]["ids"].device).batch]


def _drawn(micro: Batch, plan: Plan, stage: int, seed: int, token_seed: int) -> Batch:
    targets_BT, U = micro["targets"].clone(), len(micro["targets"]) // plan.unit_rows
    for i, unit in enumerate(units_of(micro, plan)):
        drawn = plan.row_fraction == 1 or share_of(unit.identity, stage + 1, seed) < plan.row_fraction
        if not drawn or is_dev(unit, seed, plan):
            targets_BT[i::U] = IGNORE
    if plan.token_fraction < 1:
        generator = torch.Generator().manual_seed(token_seed)
        tokens_BT = torch.rand(targets_BT.shape, generator=generator) < plan.token_fraction
        targets_BT[~tokens_BT.to(targets_BT.device)] = IGNORE
    # a pair counts where both of its answers do
    rows_U = (targets_BT != IGNORE).any(1).view(plan.unit_rows, U).all(0)
    rows_B = rows_U.repeat(plan.unit_rows)
    left = micro | {"targets": targets_BT}
    return {name: value[rows_B if len(value) == len(rows_B) else rows_U] for name, value in left.items()}
