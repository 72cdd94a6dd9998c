"""Supervised fine-tuning: predict what the assistant says, given what was said before.

The loss is that of causal language modelling over the tokens that the data's mask has chosen; most of a batch is
question and padding, so the head is only run where a target counts.
"""

from batch import Batch
from lightning_modules.base import TALK, LanguageModule
from models.base import Output


class SFTModule(LanguageModule):
    """Mean negative log-likelihood of the supervised tokens."""

    needs = ("conversations",)

    def loss(self, micro: Batch) -> Output:
        return self.model(**self.model.inputs_of(micro), sparse_targets=True)

    def farewell(self) -> dict[str, str | None]:
        return TALK
