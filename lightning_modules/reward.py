"""A reward model from pairs: the chosen text is to score higher than the rejected one (Bradley and Terry 1952).

The score is read at the last token, the end of the assistant's turn included, by the same `score()` in training,
validation and wherever rewards are used. Ouyang et al. 2022 (2203.02155), eq. 1.

Shapes: P pairs, T tokens; a batch has 2 P rows (lightning_modules/pairs.py).
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from batch import IGNORE, Batch
from bounds import NonNegativeFloat
from lightning_modules.pairs import PairModule, real_pairs
from models.base import LanguageModel, Output, real_tokens
from models.heads import RewardModel, score
from models.preference_losses import sum_over

BINS = 10  # of calibration, over confidences from 1/2 to 1


def bradley_terry(
    chosen_P: Tensor, rejected_P: Tensor, margins_P: Tensor | None = None, *, centering: float = 0.0
) -> Tensor:
    """Loss of each pair: -log of the probability that the chosen one wins.

    Args:
        margins_P: by how much it should win at least (Llama 2, 2307.09288, eq. 2).
        centering: weight of the squared sum of both scores, which a pair leaves undetermined (2312.09244, eq. 2).
    """
    gap_P = chosen_P - rejected_P
    loss_P = -F.logsigmoid(gap_P if margins_P is None else gap_P - margins_P)
    return loss_P + centering * (chosen_P + rejected_P).square() if centering else loss_P


def loss_at_tokens(scores_2PT: Tensor, ids_2PT: Tensor, real_2PT: Tensor) -> Tensor:
    """Bradley and Terry's loss at every token from where the two texts part; (P,) its mean over them.

    One score at the end says little about where a working goes wrong; verifiers that judge after each token learn
    faster and generalise better (Cobbe et al. 2021, 2110.14168, section 4.3).
    """
    chosen_PT, rejected_PT = scores_2PT.float().chunk(2)
    (a_PT, b_PT), (real_a_PT, real_b_PT) = ids_2PT.chunk(2), real_2PT.chunk(2)
    counted_PT = ((a_PT != b_PT).cumsum(1) > 0) & real_a_PT & real_b_PT
    loss_PT = -F.logsigmoid(chosen_PT - rejected_PT) * counted_PT
    return loss_PT.sum(1) / counted_PT.sum(1).clamp_min(1)


def calibration_counts(chosen_P: Tensor, rejected_P: Tensor, real_P: Tensor) -> Tensor:
    """(3, BINS): pairs, sum of confidence, pairs that were right; by confidence, which is that of the likelier side."""
    p_P = torch.sigmoid(chosen_P - rejected_P).detach()
    confidence_P = torch.maximum(p_P, 1 - p_P)
    bin_P = ((confidence_P - 0.5) * 2 * BINS).long().clamp_max(BINS - 1)
    facts_3P = torch.stack([torch.ones_like(p_P), confidence_P, (p_P > 0.5).float()]) * real_P
    return facts_3P.new_zeros(3, BINS).index_add(1, bin_P, facts_3P)


def calibration_error(counts_3N: Tensor) -> float:
    """Expected calibration error: mean distance of confidence and accuracy (Guo et al. 2017, 1706.04599, eq. 3)."""
    n, confidence, right = counts_3N
    return ((confidence - right).abs().sum() / n.sum().clamp_min(1e-12)).item()


class RewardModule(PairModule):
    """Trains a scalar head and the model below it on pairs.

    Args:
        center_rewards: pulls the scores of a pair to a sum of 0; 0.01 where it is used, 0 is off.
        nll_weight: weight of the chosen answer's loss per token as a language model, added to each pair's: it keeps the
            features that generalise (Yang et al. 2024, 2406.10216, section 3).
        token_weight: weight of the loss at each token from where the two texts part, added to the one at their ends.
    """

    judges = True

    def __init__(
        self,
        *,
        center_rewards: NonNegativeFloat = 0.0,
        nll_weight: NonNegativeFloat = 0.0,
        token_weight: NonNegativeFloat = 0.0,
        **common: Any,
    ):
        super().__init__(**common)
        self.center_rewards, self.nll_weight, self.token_weight = center_rewards, nll_weight, token_weight
        if nll_weight:
            self.model.head.weight.requires_grad_(True)

    @classmethod
    def prepare_model(cls, model: LanguageModel) -> LanguageModel:
        return model if isinstance(model, RewardModel) else RewardModel(model)

    def loss(self, micro: Batch) -> Output:
        assert isinstance(self.model, RewardModel)
        wanted: dict[str, Any] = {"compact": self.model.compact_of(micro)}
        if self.nll_weight:
            wanted |= {"targets_BT": self._chosen_targets(micro), "per_token": True}
        real_BT = real_tokens(micro)
        assert real_BT is not None
        scores_B, out = score(self.model, micro["ids"], real_BT, **wanted)
        chosen_P, rejected_P = scores_B.chunk(2)
        real_P = real_pairs(micro["lengths"])
        loss_P = bradley_terry(chosen_P, rejected_P, micro.get("margins"), centering=self.center_rewards)
        if out.nll_BT is not None:
            tokens_P = (micro["targets"] != IGNORE).sum(1).chunk(2)[0].clamp_min(1)
            loss_P = loss_P + self.nll_weight * out.nll_BT.sum(1).chunk(2)[0] / tokens_P
        if self.token_weight:
            scores_BT = self.model.score_head(out.hidden_BTC).squeeze(-1)
            loss_P = loss_P + self.token_weight * loss_at_tokens(scores_BT, micro["ids"], real_BT)
        metrics = {
            "accuracy": (chosen_P > rejected_P).float(),
            "margin": chosen_P - rejected_P,
            "mean_reward": (chosen_P + rejected_P) / 2,
        }
        sums = sum_over(real_P, metrics)
        if not self.training:
            sums["calibration"] = calibration_counts(chosen_P, rejected_P, real_P)
        return out._replace(hidden_BTC=scores_B, loss=loss_P.where(real_P, 0.0).sum(), nll_BT=None, sums=sums)

    def _chosen_targets(self, micro: Batch) -> Tensor:
        """Targets of the chosen rows; none in the rejected ones."""
        targets_2PT = micro["targets"].clone()
        targets_2PT[len(targets_2PT) // 2 :] = IGNORE
        return targets_2PT

    def summary(self, means: dict[str, Tensor]) -> dict[str, float]:
        return super().summary(means) | {"ece": calibration_error(means["calibration"])}

    def farewell(self) -> dict[str, str | None]:
        return {"sample": None}
