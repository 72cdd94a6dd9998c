"""KTO: learn from completions that are each said to be desirable or not, without pairs (Ethayarajh et al. 2402.01306).

    r = log pi(y|x) - log ref(y|x)          z = max(0, mean of the same over completions y' of other prompts)
    loss = w_D (1 - sigmoid(beta (r - z)))  for desirable completions, w_U (1 - sigmoid(beta (z - r))) for the others

z, the reference point, estimates KL(pi || ref) over the global batch: all micro-batches, all ranks. It has no gradient.

Shapes: P completions, T tokens; a batch has 2 P rows: the P completions with their prompts, then for each prompt the
completion of another one (batch.py).
"""

from typing import Any, Literal

import torch
from torch import Tensor

from batch import IGNORE, Batch
from bounds import NonNegativeFloat, NonNegativeInt, PositiveFloat
from lightning_modules.base import TALK, LanguageModule, Start
from lightning_modules.dpo import completion_log_probs
from lightning_modules.pairs import chosen_rows, real_pairs, switch_dropout_off
from lightning_modules.reference import Reference
from lightning_modules.start import learn_likelihood
from lightning_modules.sums import Sums
from lightning_modules.update import Size
from models.base import Output


def kto_loss(
    log_ratio_P: Tensor,
    desirable_P: Tensor,
    reference_point: Tensor,
    *,
    beta: float,
    desirable_weight: float = 1.0,
    undesirable_weight: float = 1.0,
) -> Tensor:
    """(P,) loss of each completion; eq. 7 and 8 of 2402.01306, as TRL writes it.

    Args:
        log_ratio_P: r, of completions under policy and reference, in nats. desirable_P: bool.
        reference_point: z, (), at least 0.
    """
    sign_P = torch.where(desirable_P, 1.0, -1.0)
    weight_P = torch.where(desirable_P, desirable_weight, undesirable_weight)
    return weight_P * (1 - torch.sigmoid(beta * sign_P * (log_ratio_P - reference_point)))


class KTOModule(LanguageModule):
    """Loss and metrics are means over the completions of the global batch.

    Args:
        beta: pull to the reference.
        desirable_weight, undesirable_weight: of both kinds in the loss; where one is rarer, the paper asks for
            n_D w_D / (n_U w_U) between 1 and 4/3.
        reference, cache_dir: see reference.py.
        sft_steps, sft_lr: updates on the desirable completions alone that come first where there are no weights.
    """

    needs = ("labels",)

    def __init__(
        self,
        *,
        beta: PositiveFloat,
        desirable_weight: NonNegativeFloat = 1.0,
        undesirable_weight: NonNegativeFloat = 1.0,
        reference: Literal["cached", "online"] = "cached",
        cache_dir: str = "outputs/cache",
        sft_steps: NonNegativeInt = 0,
        sft_lr: NonNegativeFloat = 1e-3,
        **common: Any,
    ):
        super().__init__(**common)
        self.settings = {"beta": beta, "desirable_weight": desirable_weight, "undesirable_weight": undesirable_weight}
        self.reference = Reference(completion_log_probs, how=reference, cache_dir=cache_dir)
        self.sft_steps, self.sft_lr = sft_steps, sft_lr
        self.reference_point = torch.zeros(())
        self._seen: list[tuple[Tensor, Tensor]] = []  # log-ratios and labels of a validation, this rank's

    # ---- the run -----------------------------------------------------------------------------------------------------

    def learn_start(self, start: Start) -> None:
        if self.sft_steps and start.from_scratch:
            learn_likelihood(self, start, desirable_rows, steps=self.sft_steps, lr=self.sft_lr)

    def configure_model(self) -> None:
        switch_dropout_off(self.model)
        self.reference.keep_start(self.model)
        super().configure_model()

    def on_fit_start(self) -> None:
        self.reference.compute(self)

    def farewell(self) -> dict[str, str | None]:
        return TALK

    # ---- the loss ----------------------------------------------------------------------------------------------------

    def units(self, micro: Batch) -> int:
        return int(real_pairs(micro["lengths"]).sum())

    def before_update(self, batch: list[Batch]) -> None:
        sums = Sums()
        for micro in batch:
            sums.add(self._mismatched(micro))
        self.reference_point = self._point(sums)

    def _mismatched(self, micro: Batch) -> dict[str, Tensor]:
        """Sum of the log-ratios of completions of other prompts, and their number."""
        with torch.no_grad():
            ratio_2P = completion_log_probs(self.model, micro) - self.reference.log_probs(self.model, micro)
        real_P = real_pairs(micro["lengths"])
        return {"ratio": ratio_2P.chunk(2)[1].double().where(real_P, 0.0).sum(), "n": real_P.sum()}

    def _point(self, sums: Sums) -> Tensor:
        found = sums.over_ranks(world_size=self.trainer.world_size, device=self.device)
        return (found["ratio"] / found["n"].clamp_min(1)).clamp_min(0.0).float().to(self.device)

    def loss(self, micro: Batch) -> Output:
        rows, real_P = chosen_rows(micro), real_pairs(micro["lengths"])
        out = self.model(**self.model.inputs_of(rows), per_token=True)
        log_probs_P = -out.nll_BT.sum(1)
        ratio_P = log_probs_P - self.reference.log_probs(self.model, micro).chunk(2)[0]
        loss_P = kto_loss(ratio_P, micro["labels"], self.reference_point, **self.settings)
        sums = self._sums(ratio_P.detach(), micro["labels"], real_P)
        return out._replace(hidden_BTC=ratio_P, loss=loss_P.where(real_P, 0.0).sum(), nll_BT=None, sums=sums)

    def _sums(self, ratio_P: Tensor, desirable_P: Tensor, real_P: Tensor) -> dict[str, Tensor]:
        """What metrics are made of, over the completions that are real."""
        reward_P = self.settings["beta"] * ratio_P.float()
        good_P, bad_P = real_P & desirable_P, real_P & ~desirable_P
        return {
            "rewards/chosen_sum": reward_P.where(good_P, 0.0).sum(),
            "rewards/rejected_sum": reward_P.where(bad_P, 0.0).sum(),
            "count/chosen": good_P.sum(),
            "count/rejected": bad_P.sum(),
        }

    # ---- metrics -----------------------------------------------------------------------------------------------------

    def update_metrics(self, sums: dict[str, Tensor], size: Size) -> dict[str, float]:
        return rewards_of(sums) | {"kl": self.reference_point.item()}

    def on_validation_epoch_start(self) -> None:
        super().on_validation_epoch_start()
        self._seen = []

    def validation_sums(self, batch: Batch, out: Output) -> dict[str, Tensor]:
        """The reference point of a validation is known at its end: log-ratios wait for it."""
        real_P = real_pairs(batch["lengths"])
        self._seen.append((out.hidden_BTC.detach()[real_P], batch["labels"][real_P]))
        return out.sums | self._mismatched(batch)

    def validation_metrics(self, sums: dict[str, Tensor]) -> dict[str, float]:
        point = (sums["ratio"] / sums["n"].clamp_min(1)).clamp_min(0.0)
        ratio_N, desirable_N = (torch.cat(parts).cpu() for parts in zip(*self._seen, strict=True))
        losses = Sums()
        losses.add({"loss": kto_loss(ratio_N.double(), desirable_N, point, **self.settings).sum()})
        loss = losses.over_ranks(world_size=self.trainer.world_size, device=self.device)["loss"] / sums["n"]
        return {"loss": loss.item()} | rewards_of(sums) | {"kl": point.item()}

    # ---- state -------------------------------------------------------------------------------------------------------

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super().on_save_checkpoint(checkpoint)
        self.reference.save(checkpoint)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super().on_load_checkpoint(checkpoint)
        self.reference.load(checkpoint)


def rewards_of(sums: dict[str, Tensor]) -> dict[str, float]:
    """Mean rewards of desirable ("chosen") and undesirable ("rejected") completions and their distance; TRL's names."""
    means = {kind: (sums[f"rewards/{kind}_sum"] / sums[f"count/{kind}"]).item() for kind in ("chosen", "rejected")}
    return {f"rewards/{kind}": value for kind, value in means.items()} | {
        "rewards/margins": means["chosen"] - means["rejected"]
    }


def desirable_rows(micro: Batch) -> Batch:
    """The completions with their prompts, without targets where they are not desirable."""
    rows = chosen_rows(micro)
    return rows | {"targets": rows["targets"].masked_fill(~micro["labels"].unsqueeze(1), IGNORE)}
