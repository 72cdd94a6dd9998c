"""One vector, the same for every token: a shift of all logits by W d, boosting's initial constant.

A free bias of every token of the vocabulary would not fit into hidden space; this one is its part of rank C.
"""

import torch
from torch import Tensor, nn

from models.base import LanguageModel
from models.boosting.learners.base import Learner
from models.boosting.passes import Inputs


class Bias(Learner):
    def __init__(self, *, base: LanguageModel):
        super().__init__()
        self.shift = nn.Parameter(torch.zeros(base.head.in_features))

    def correction(self, base: LanguageModel, inputs: Inputs) -> Tensor:
        return self.shift.expand_as(inputs.hidden_BTC)
