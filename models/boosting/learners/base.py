"""Weak learners: each returns a hidden correction, zero at birth.

How to add one: a file `models/boosting/learners/<kind>.py` with a subclass, and `conf/learner/<kind>.yaml` with
`_partial_: true`. `base` is filled in by the program; the rest of the constructor's keywords are keys of `learner`.
"""

import torch
from torch import Tensor, nn

from errors import RequestError
from models.base import LanguageModel
from models.boosting.passes import Bend, Inputs, upper_pass

ROUTER = "mlp.router"  # of models.layers.moe


class Learner(nn.Module):
    """Attributes: `start`, the block from which it runs (None: it reads final hidden states only)."""

    part_of_model = True  # init_from takes it along
    start: int | None = None

    def correction(self, base: LanguageModel, inputs: Inputs) -> Tensor:
        """Delta, (B, T, C), in units of final hidden states. Exactly zero until something is learned."""
        raise NotImplementedError


class UpperLearner(Learner):
    """A learner that runs the last blocks of the base again, bent: Delta = bent pass - plain pass."""

    def __init__(self, *, base: LanguageModel, top_blocks: int | str):
        super().__init__()
        n_layer = len(base.blocks)  # type: ignore[arg-type]
        count = max(1, n_layer // 2) if top_blocks == "half" else n_layer if top_blocks == "all" else int(top_blocks)
        if not 1 <= count <= n_layer:
            raise RequestError(f"learner.top_blocks={top_blocks}: the base has {n_layer} blocks; type 1 to {n_layer}.")
        self.start = n_layer - count

    def bends(self, base: LanguageModel, scale: float = 1.0) -> dict[nn.Module, Bend]:
        """What it does to which layer; `scale` times as strong."""
        raise NotImplementedError

    def correction(self, base: LanguageModel, inputs: Inputs) -> Tensor:
        assert self.start is not None
        return upper_pass(base, self.start, inputs, self.bends(base)) - inputs.hidden_BTC


def upper_linears(base: LanguageModel, start: int) -> dict[str, nn.Linear]:
    """Linear layers of the blocks from `start` on, by name within the base. Raises RequestError if there are none.

    Routers are none of them: stages that were saved have nothing beside them.
    """
    blocks = list(base.blocks)[start:]  # type: ignore[arg-type]
    found = {
        f"blocks.{start + i}.{name}": layer
        for i, block in enumerate(blocks)
        for name, layer in block.named_modules()
        if isinstance(layer, nn.Linear) and not name.endswith(ROUTER)
    }
    if not found:  # GPT-2 as transformers has it is made of Conv1D
        raise RequestError(
            f"learner=lora_...: the base's blocks from {start} on have no nn.Linear to correct.\n"
            "Give the folder as init_from, without model=hf, or type learner=adapter_top."
        )
    return found


def uniform(rows: int, columns: int) -> nn.Parameter:
    """U(-1/sqrt(in), 1/sqrt(in)), as nn.Linear draws its weights."""
    bound = columns**-0.5
    return nn.Parameter(torch.empty(rows, columns).uniform_(-bound, bound))
