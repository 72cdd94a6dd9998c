"""Which rows and tokens an update learns from: functions of the row, the seed and the step, so nothing is remembered.

Shapes: B rows, T tokens.
"""

from collections.abc import Sequence

import torch

from batch import IGNORE, Batch
from models.boosting.plan import Plan
from models.boosting.stage import DevRow, identity_of, is_dev
from models.boosting.states import share_of


def rows_to_learn(
    batch: list[Batch], plan: Plan, *, stage: int, seed: int, token_seeds: Sequence[int], spare: DevRow | None
) -> list[Batch]:
    """A batch without dev rows, and with the rows and tokens that a stage draws.

    Args:
        seed: which rows are dev, and which a stage draws. token_seeds: of each micro-batch, which tokens.
        spare: what is learned from where no row is left.
    """
    kept = [_drawn(micro, plan, stage, seed, token_seed) for micro, token_seed in zip(batch, token_seeds, strict=True)]
    kept = [micro for micro in kept if len(micro["targets"])]
    return kept if kept or spare is None else [spare.batch(like=batch[0])]


def _drawn(micro: Batch, plan: Plan, stage: int, seed: int, token_seed: int) -> Batch:
    documents, targets_BT = micro.get("documents"), micro["targets"].clone()
    for i, ids_T in enumerate(micro["ids"]):
        key = identity_of(ids_T, targets_BT[i], None if documents is None else documents[i])
        if is_dev(key, seed, plan) or share_of(key, stage + 1, seed) >= plan.row_fraction:
            targets_BT[i] = IGNORE
    if plan.token_fraction < 1:
        generator = torch.Generator().manual_seed(token_seed)
        tokens_BT = torch.rand(targets_BT.shape, generator=generator) < plan.token_fraction
        targets_BT[~tokens_BT.to(targets_BT.device)] = IGNORE
    rows_B = (targets_BT != IGNORE).any(1)
    return {name: value[rows_B] for name, value in (micro | {"targets": targets_BT}).items()}
