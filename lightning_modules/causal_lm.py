"""Causal language modelling: predict each token from those before it."""

from lightning_modules.base import Batch, LanguageModule
from models.base import Output


class CausalLMModule(LanguageModule):
    """Mean negative log-likelihood of the next token, over plain text in windows."""

    needs = ("tokens",)

    def loss(self, micro: Batch) -> Output:
        return self.model(
            micro["ids"],
            targets_BT=micro["targets"],
            documents_BT=micro.get("documents"),
            padding_BT=self.routed_padding(micro),
        )
