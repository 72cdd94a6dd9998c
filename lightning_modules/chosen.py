"""Likelihood of the chosen answers: supervised fine-tuning on the better half of pairs.

What a run on pairs begins with where it has no trained model to begin with (tasks/start.py).
"""

from lightning_modules.base import Batch, LanguageModule, Totals, token_totals
from models.base import Output


class ChosenModule(LanguageModule):
    """Mean negative log-likelihood of the chosen answers' tokens."""

    needs = ("pairs",)

    def loss(self, micro: Batch) -> Output:
        chosen = chosen_rows(micro)
        return self.model(chosen["ids"], targets_BT=chosen["targets"], sparse_targets=True)

    def units(self, micro: Batch) -> int:
        return super().units(chosen_rows(micro))

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        out = self.loss(batch)
        assert out.nll_BT is not None
        added = token_totals(out.nll_BT, chosen_rows(batch)["targets"], self.token_bytes)
        self._totals = Totals(*(a + b for a, b in zip(self._totals, added, strict=True)))


def chosen_rows(micro: Batch) -> Batch:
    """The first half of a batch of pairs, without columns that are padding there."""
    chosen = {name: micro[name].chunk(2)[0] for name in ("ids", "targets", "lengths")}
    T = max(1, int(chosen["lengths"].max()))
    return {"ids": chosen["ids"][:, :T], "targets": chosen["targets"][:, :T]}
