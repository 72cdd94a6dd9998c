"""Causal language modelling: predict each token from those before it."""

from batch import Batch
from lightning_modules.base import LanguageModule
from models.base import Output


class CausalLMModule(LanguageModule):
    """Mean negative log-likelihood of the next token, over plain text in windows."""

    needs = ("tokens",)
    one_shape = True

    def loss(self, micro: Batch) -> Output:
        return self.model(**self.model.inputs_of(micro))
