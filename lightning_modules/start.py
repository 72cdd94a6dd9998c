"""The start of an objective on answers where there are no weights: the model first learns what good answers are.

Preferences move a model that can answer; they do not teach one to. So some updates of supervised fine-tuning come
first, in a folder of their own (start/), which other runs can start from too.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

from torch import Tensor

from batch import Batch
from lightning_modules.base import LanguageModule, Start
from models.base import Output
from optimization.adamw import adamw
from optimization.schedules import cosine


class LikelihoodModule(LanguageModule):
    """Mean negative log-likelihood of the tokens in the rows that `select` takes from a batch."""

    may_learn_nothing = True  # none of a batch's completions may be a desirable one

    def __init__(self, *, select: Callable[[Batch], Batch], **common: Any):
        super().__init__(**common)
        self.select = select

    def loss(self, micro: Batch) -> Output:
        return self.model(**self.model.inputs_of(self.select(micro)), sparse_targets=True)

    def units(self, micro: Batch) -> int:
        return super().units(self.select(micro))

    def validation_sums(self, batch: Batch, out: Output) -> dict[str, Tensor]:
        return super().validation_sums(self.select(batch), out)


def learn_likelihood(
    objective: LanguageModule,
    start: Start,
    select: Callable[[Batch], Batch],
    *,
    steps: int,
    lr: float,
    what: str = "the chosen answers",
) -> None:
    """Trains the objective's model in place; the same for the same seed, so that a resumed run finds the same start."""
    if start.rank == 0:
        print(f"start   no init_from: {steps} updates on {what} come first", flush=True)
    module = LikelihoodModule(
        select=select,
        model=objective.model,
        optimizer=partial(adamw, lr=lr, betas=(0.9, 0.99), eps=1e-8, weight_decay=0.1),
        schedule=partial(cosine, total_steps=steps, warmup_steps=min(50, steps // 10), final_ratio=0.1),
        token_bytes=objective.token_bytes,
        seed=objective.seed,
        grad_clip=1.0,
        log_every=objective.log_every,
    )
    start.train(module, start.data, steps=steps, folder="start")
