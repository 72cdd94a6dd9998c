"""Direct preference optimisation: raise the chosen completion over the rejected one, near a frozen reference.

The reference is the model as the run starts. Its log-probabilities are computed once, before the first update, and kept
on disk by the fingerprints of weights and data (`reference=cached`), or computed by a frozen copy at each step
(`online`). Nothing here ever holds logits of all tokens: see `LanguageModel.forward(per_token=True)`.

Shapes: P pairs, T tokens; a batch has 2 P rows (lightning_modules/pairs.py).
"""

from typing import Annotated, Any, Literal

import torch
from torch import Tensor

from batch import IGNORE, Batch
from bounds import NonNegativeFloat, PositiveFloat, at_least, below
from errors import RequestError
from lightning_modules.pairs import PairModule, real_pairs, switch_dropout_off
from lightning_modules.reference import Reference
from models.base import LanguageModel, Output
from models.preference_losses import LOSSES, PER_TOKEN, WITHOUT_REFERENCE, Knobs, LossType, Pairs, rewards, sum_over

LEGACY_NLL_WEIGHT = dict.fromkeys(("sigmoid", "robust", "sigmoid_norm"), 5.0)  # of saved configs that say null


def sequence_log_probs(model: LanguageModel, micro: Batch) -> tuple[Tensor, Tensor, Output]:
    """Log-probability of each row's completion (2P,), its tokens (2P,), and what else the forward pass gave."""
    out = model(**model.inputs_of(micro), per_token=True)
    return -out.nll_BT.sum(1), (micro["targets"] != IGNORE).sum(1), out


def completion_log_probs(model: LanguageModel, micro: Batch) -> Tensor:
    """The first of these alone, for the reference."""
    return sequence_log_probs(model, micro)[0]


# ---- the module ----------------------------------------------------------------------------------------------------


class DPOModule(PairModule):
    """Preference optimisation without a reward model; `loss_type` says which.

    Args:
        nll_weight: weight of the chosen completion's loss per token, added to each pair's (RPO, 2404.19733, eq. 1);
            None: 5 in DPO and its kin, as runs had it whose saved config says null.
        reference: "cached" on disk, "online" from a frozen copy (or with the adapters switched off).
        cache_dir: where the reference's log-probabilities are kept.
    """

    def __init__(
        self,
        *,
        loss_type: LossType,
        beta: PositiveFloat,
        label_smoothing: Annotated[float, at_least(0), below(0.5)] = 0.0,
        gamma: NonNegativeFloat = 0.0,
        nll_weight: NonNegativeFloat | None = 0.0,
        reference: Literal["cached", "online"] = "cached",
        cache_dir: str = "outputs/cache",
        **common: Any,
    ):
        """Raises RequestError for a value out of its range."""
        super().__init__(**common)
        nll_weight = LEGACY_NLL_WEIGHT.get(loss_type, 0.0) if nll_weight is None else nll_weight
        check_knobs(loss_type, label_smoothing, nll_weight)
        self.loss_type, self.knobs, self.nll_weight = loss_type, Knobs(beta, label_smoothing, gamma), nll_weight
        self.reference: Reference | None = None
        if loss_type not in WITHOUT_REFERENCE:
            self.reference = Reference(completion_log_probs, how=reference, cache_dir=cache_dir)

    def configure_model(self) -> None:
        """Before weights are sharded or a checkpoint is read: the model is now the one that the run starts from."""
        switch_dropout_off(self.model)
        if self.reference is not None:
            self.reference.keep_start(self.model)
        super().configure_model()

    def check_data(self, data: Any) -> None:
        data.pass_over_margins("dpo")

    def loss(self, micro: Batch) -> Output:
        log_probs_R, tokens_R, out = sequence_log_probs(self.model, micro)
        ref_R = self._under_reference(micro, log_probs_R)
        real_P = real_pairs(micro["lengths"])
        tokens_R = tokens_R.clamp_min(1)  # rows that fill up a batch have none
        chosen, rejected = log_probs_R.chunk(2)
        pairs = Pairs(chosen, rejected, *ref_R.chunk(2), *tokens_R.chunk(2))
        loss_P = LOSSES[self.loss_type](pairs, self.knobs)
        if self.nll_weight:
            loss_P = loss_P - self.nll_weight * chosen / pairs.chosen_tokens
        loss = loss_P.where(real_P, 0.0).sum()
        metrics = rewards(pairs, self.knobs.beta, per_token=self.loss_type in PER_TOKEN)
        return out._replace(loss=loss, nll_BT=None, sums=sum_over(real_P, metrics))

    def beside(self) -> dict[str, tuple[int, int]]:
        return {} if self.reference is None else self.reference.parameters_beside(self.model)

    # ---- the reference -----------------------------------------------------------------------------------------------

    def on_fit_start(self) -> None:
        if self.trainer.is_global_zero:
            added = f" + {self.nll_weight:g} x the chosen answer's loss per token" if self.nll_weight else ""
            print(f"loss    {self.loss_type}{added} (objective.loss_type, objective.nll_weight)", flush=True)
        if self.reference is not None:
            self.reference.compute(self)

    def _under_reference(self, micro: Batch, log_probs_R: Tensor) -> Tensor:
        """(2P,) under the reference; zeros where there is none."""
        return torch.zeros_like(log_probs_R) if self.reference is None else self.reference.log_probs(self.model, micro)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super().on_save_checkpoint(checkpoint)
        if self.reference is not None:
            self.reference.save(checkpoint)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super().on_load_checkpoint(checkpoint)
        if self.reference is not None:
            self.reference.load(checkpoint)


def check_knobs(loss_type: str, smoothing: float, nll_weight: float) -> None:
    """Raises RequestError for a value that the loss has no meaning for."""
    if smoothing and loss_type not in ("sigmoid", "robust"):
        raise RequestError(
            f"objective.label_smoothing={smoothing} has no meaning in objective.loss_type={loss_type}.\n"
            "Type objective.loss_type=sigmoid (conservative DPO) or robust."
        )
    if nll_weight and loss_type == "orpo":
        raise RequestError(
            f"objective.nll_weight={nll_weight}: objective.loss_type=orpo has the chosen answer's loss in it already.\n"
            "Leave objective.nll_weight out."
        )
