"""Direct preference optimisation: raise the chosen completion over the rejected one, near a frozen reference.

The reference is the model as the run starts. Its log-probabilities are computed once, before the first update, and kept
on disk by the fingerprints of weights and data (`reference=cached`), or computed by a frozen copy at each step
(`online`). Nothing here ever holds logits of all tokens: see `LanguageModel.forward(per_token=True)`.

Shapes: P pairs, T tokens; a batch has 2 P rows (lightning_modules/pairs.py).
"""

import math
from collections.abc import Callable
from typing import Annotated, Any, Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from batch import IGNORE, Batch
from bounds import NonNegativeFloat, PositiveFloat, at_least, below
from errors import RequestError
from lightning_modules.pairs import PairModule, real_pairs, sum_over, switch_dropout_off
from lightning_modules.reference import Reference
from models.base import LanguageModel, Output

# ---- losses: pure functions of log-probabilities -------------------------------------------------------------------


class Pairs(NamedTuple):
    """Log-probabilities of whole completions, (P,) each, and how many tokens they are sums of."""

    chosen: Tensor
    rejected: Tensor
    ref_chosen: Tensor  # the same under the reference; zeros in losses without one
    ref_rejected: Tensor
    chosen_tokens: Tensor
    rejected_tokens: Tensor

    @property
    def margin(self) -> Tensor:
        """How much more the policy prefers the chosen one than the reference does, in nats."""
        return (self.chosen - self.ref_chosen) - (self.rejected - self.ref_rejected)

    @property
    def margin_per_token(self) -> Tensor:
        chosen = (self.chosen - self.ref_chosen) / self.chosen_tokens
        return chosen - (self.rejected - self.ref_rejected) / self.rejected_tokens


class Knobs(NamedTuple):
    """beta: pull to the reference. smoothing: share of labels taken to be wrong. gamma: SimPO's margin."""

    beta: float
    smoothing: float = 0.0
    gamma: float = 0.0


def sigmoid(p: Pairs, k: Knobs) -> Tensor:
    """DPO (Rafailov et al. 2023, 2305.18290, eq. 7); with smoothing, conservative DPO (Mitchell 2023, eq. 3)."""
    z = k.beta * p.margin
    return -F.logsigmoid(z) * (1 - k.smoothing) - F.logsigmoid(-z) * k.smoothing


def robust(p: Pairs, k: Knobs) -> Tensor:
    """Unbiased under labels of which a share is wrong (Chowdhury et al. 2024, 2403.00409, eq. 12)."""
    z = k.beta * p.margin
    return (-F.logsigmoid(z) * (1 - k.smoothing) + F.logsigmoid(-z) * k.smoothing) / (1 - 2 * k.smoothing)


def hinge(p: Pairs, k: Knobs) -> Tensor:
    """SLiC's hinge on DPO's margin (Zhao et al. 2023, 2305.10425, in the form of Liu et al. 2023, 2309.06657)."""
    return torch.relu(1 - k.beta * p.margin)


def ipo(p: Pairs, k: Knobs) -> Tensor:
    """IPO (Azar et al. 2023, 2310.12036, eq. 17), on log-probabilities per token, as its authors confirmed to TRL."""
    return (p.margin_per_token - 1 / (2 * k.beta)).square()


def sigmoid_norm(p: Pairs, k: Knobs) -> Tensor:
    """Length-normalised DPO (Lambert et al. 2024, Tulu 3, 2411.15124, eq. 6)."""
    return -F.logsigmoid(k.beta * p.margin_per_token)


def simpo(p: Pairs, k: Knobs) -> Tensor:
    """SimPO (Meng et al. 2024, 2405.14734, eq. 6): per token, without a reference, with a margin gamma."""
    return -F.logsigmoid(k.beta * p.margin_per_token - k.gamma)


def orpo(p: Pairs, k: Knobs) -> Tensor:
    """ORPO (Hong et al. 2024, 2403.07691, eq. 6 and 7): likelihood of the chosen one plus beta times an odds ratio."""
    chosen, rejected = p.chosen / p.chosen_tokens, p.rejected / p.rejected_tokens
    odds = (chosen - rejected) - (log1mexp(chosen) - log1mexp(rejected))
    return -chosen - k.beta * F.logsigmoid(odds)


LOSSES: dict[str, Callable[[Pairs, Knobs], Tensor]] = {
    "sigmoid": sigmoid,
    "robust": robust,
    "hinge": hinge,
    "ipo": ipo,
    "sigmoid_norm": sigmoid_norm,
    "simpo": simpo,
    "orpo": orpo,
}
WITHOUT_REFERENCE = ("simpo", "orpo")
LEGACY_NLL_WEIGHT = dict.fromkeys(("sigmoid", "robust", "sigmoid_norm"), 5.0)  # of saved configs that say null
LossType = Literal["sigmoid", "robust", "hinge", "ipo", "sigmoid_norm", "simpo", "orpo"]


def log1mexp(x: Tensor) -> Tensor:
    """log(1 - exp(x)) for x < 0, exact at both ends (Maechler 2012, "Accurately computing log(1 - exp(-|a|))")."""
    x = x.clamp_max(-1e-7)  # a probability of 1 has infinite odds
    return torch.where(x > -math.log(2), torch.log(-torch.expm1(x)), torch.log1p(-torch.exp(x)))


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
        return out._replace(loss=loss, nll_BT=None, sums=sum_over(real_P, self._metrics(pairs)))

    def _metrics(self, p: Pairs) -> dict[str, Tensor]:
        """TRL's names. A reward is beta times the log-ratio, per token in losses that are."""
        per_token = self.loss_type in ("ipo", "sigmoid_norm", "simpo", "orpo")
        chosen, rejected = p.chosen - p.ref_chosen, p.rejected - p.ref_rejected
        if per_token:
            chosen, rejected = chosen / p.chosen_tokens, rejected / p.rejected_tokens
        chosen, rejected = self.knobs.beta * chosen, self.knobs.beta * rejected
        return {
            "rewards/chosen": chosen,
            "rewards/rejected": rejected,
            "rewards/margins": chosen - rejected,
            "rewards/accuracies": (chosen > rejected).float(),
            "logps/chosen": p.chosen,
            "logps/rejected": p.rejected,
        }

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
