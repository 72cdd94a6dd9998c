"""What DPO and the reward model share: batches of pairs, losses that are means over pairs, their validation.

A micro-batch of P pairs has 2 P rows, padded on the right: the P chosen ones, then the P rejected ones.

    ids      (2P, T)  prompt and completion, whole
    targets  (2P, T)  the token that follows where that belongs to the completion, else -100
    lengths  (2P,)    tokens of each row; 0 in rows that only fill up a batch
    index    (P,)     number of each pair in its data set
    margins  (P,)     by how much the chosen one is said to be better (optional)
"""

from abc import abstractmethod
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from lightning_modules.base import Batch, LanguageModule
from models.base import Output
from models.layers.moe.layer import MoE


class PairModule(LanguageModule):
    """Loss and metrics are means over the pairs of the global batch, whatever micro-batches and ranks they lie in."""

    needs = ("pairs",)

    @abstractmethod
    def loss(self, micro: Batch) -> Output:
        """`loss` and everything in `sums` is a sum over the micro-batch's pairs."""

    def units(self, micro: Batch) -> int:
        return int(real_pairs(micro["lengths"]).sum())

    def on_validation_epoch_start(self) -> None:
        self._pairs, self._sums, self.extra_metrics = 0, dict[str, Tensor](), {}

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        out = self.loss(batch)
        assert out.loss is not None
        self._pairs += self.units(batch)
        for name, value in (out.sums | {"loss": out.loss}).items():
            self._sums[name] = self._sums.get(name, 0) + value.detach().cpu().double()  # float64: mps has none

    def on_validation_epoch_end(self) -> None:
        means = self._means_over_ranks()
        self.val_metrics = {f"val/{name}": value for name, value in self.summary(means).items()}
        self.val_metrics |= self.extra_metrics
        for name, value in self.val_metrics.items():
            self.log(name, value, logger=False, sync_dist=self.trainer.world_size > 1)

    def summary(self, means: dict[str, Tensor]) -> dict[str, float]:
        """Metrics of a validation from the means over its pairs."""
        return {name: value.item() for name, value in means.items() if value.dim() == 0}

    def _means_over_ranks(self) -> dict[str, Tensor]:
        names = ["loss", *sorted(self._sums.keys() - {"loss"})]
        flat = torch.cat([torch.tensor([self._pairs], dtype=torch.float64), *(self._sums[n].flatten() for n in names)])
        if self.trainer.world_size > 1:
            flat = flat.to(self.device)
            dist.all_reduce(flat)
        pairs, *parts = flat.cpu().split([1, *(self._sums[n].numel() for n in names)])
        return {name: (part / pairs).view_as(self._sums[name]) for name, part in zip(names, parts, strict=True)}


def real_pairs(lengths_2P: Tensor) -> Tensor:
    """(P,) bool: False for pairs that only fill up a batch."""
    return lengths_2P[: len(lengths_2P) // 2] > 0


def real_tokens(micro: Batch) -> Tensor:
    """(2P, T) bool: False at padding."""
    T = micro["ids"].shape[1]
    return torch.arange(T, device=micro["ids"].device) < micro["lengths"].unsqueeze(1)


def sum_over(real_P: Tensor, values: dict[str, Tensor]) -> dict[str, Tensor]:
    """Sums of (P,) values over the pairs that are real, detached."""
    return {name: value_P.detach().float().where(real_P, 0.0).sum() for name, value_P in values.items()}


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
