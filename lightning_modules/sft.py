"""Supervised fine-tuning: predict what the assistant says, given what was said before.

The loss is that of causal language modelling over the tokens that the data's mask has chosen; most of a batch is
question and padding, so the head is only run where a target counts.
"""

from lightning_modules.base import Batch, LanguageModule
from models.base import Output


class SFTModule(LanguageModule):
    """Mean negative log-likelihood of the supervised tokens."""

    needs = ("conversations",)

    def loss(self, micro: Batch) -> Output:
        return self.model(
            micro["ids"],
            targets_BT=micro["targets"],
            weights_BT=micro.get("weights"),
            documents_BT=micro.get("documents"),
            padding_BT=self.routed_padding(micro),
            sparse_targets=True,
        )
