"""What DPO and the reward model share: batches of pairs, losses that are means over pairs, their start and validation.

A micro-batch of P pairs has 2 P rows, padded on the right: the P chosen ones, then the P rejected ones. Its keys are
those of batch.py: ids, targets, lengths, index, margins. T tokens.
"""

from abc import abstractmethod
from typing import Any

import torch
from torch import Tensor

from batch import Batch
from bounds import NonNegativeFloat, NonNegativeInt
from lightning_modules.base import TALK, LanguageModule, Start
from lightning_modules.start import learn_likelihood
from models.base import Output
from models.layers.moe.layer import MoE


class PairModule(LanguageModule):
    """Loss and metrics are means over the pairs of the global batch, whatever micro-batches and ranks they lie in.

    Args:
        sft_steps: updates on the chosen answers alone that come first where there are no weights to begin with.
        sft_lr: their peak learning rate.
    """

    needs = ("pairs",)

    def __init__(self, *, sft_steps: NonNegativeInt = 0, sft_lr: NonNegativeFloat = 1e-3, **common: Any):
        super().__init__(**common)
        self.sft_steps, self.sft_lr = sft_steps, sft_lr

    @abstractmethod
    def loss(self, micro: Batch) -> Output:
        """`loss` and everything in `sums` is a sum over the micro-batch's pairs."""

    def learn_start(self, start: Start) -> None:
        if self.sft_steps and start.from_scratch:
            learn_likelihood(self, start, chosen_rows, steps=self.sft_steps, lr=self.sft_lr)

    def farewell(self) -> dict[str, str | None]:
        return TALK

    def units(self, micro: Batch) -> int:
        return n_pairs(micro)

    def validation_sums(self, batch: Batch, out: Output) -> dict[str, Tensor]:
        return pair_sums(batch, out)

    def validation_metrics(self, sums: dict[str, Tensor]) -> dict[str, float]:
        return self.summary(pair_means(sums))

    def summary(self, means: dict[str, Tensor]) -> dict[str, float]:
        """Metrics of a validation from the means over its pairs."""
        return plain_numbers(means)


def n_pairs(micro: Batch) -> int:
    """Pairs that are real."""
    return int(real_pairs(micro["lengths"]).sum())


def pair_sums(micro: Batch, out: Output) -> dict[str, Tensor]:
    """What a batch adds to a validation whose means are over pairs."""
    assert out.loss is not None
    sums = out.sums | {"loss": out.loss, "pairs": torch.tensor(n_pairs(micro))}
    return {name: value.detach().cpu().double() for name, value in sums.items()}  # on the CPU: mps has no float64


def pair_means(sums: dict[str, Tensor]) -> dict[str, Tensor]:
    """Out of the sums of a whole validation."""
    return {name: value / sums["pairs"] for name, value in sorted(sums.items()) if name != "pairs"}


def plain_numbers(means: dict[str, Tensor]) -> dict[str, float]:
    return {name: value.item() for name, value in means.items() if value.dim() == 0}


def chosen_rows(micro: Batch) -> Batch:
    """The first half of a batch of pairs, without columns that are padding there."""
    chosen = {name: micro[name].chunk(2)[0] for name in ("ids", "targets", "lengths")}
    T = max(1, int(chosen["lengths"].max()))
    return {"ids": chosen["ids"][:, :T], "targets": chosen["targets"][:, :T], "lengths": chosen["lengths"]}


def real_pairs(lengths_2P: Tensor) -> Tensor:
    """(P,) bool: False for pairs that only fill up a batch."""
    return lengths_2P[: len(lengths_2P) // 2] > 0


def switch_dropout_off(model: Any) -> None:
    """Sets every dropout rate to 0: a policy that is noisier than its reference starts with a margin (S17).

    Experts stop exploring: noise, jitter and dropped tokens are chance as well.
    Adapters keep theirs: they are off in the reference, and add nothing at the start.
    """
    for name, module in model.named_modules():
        if "lora_dropout" in name:
            continue
        if isinstance(module, MoE):
            module.keep_still()
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
        for rate in ("dropout", "attention_dropout"):
            if isinstance(getattr(module, rate, None), float):
                setattr(module, rate, 0.0)
