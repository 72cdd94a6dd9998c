"""task=evaluate on pairs: how often a reward model, or a language model's likelihood, prefers the chosen answer."""

import math
from typing import Any

import numpy as np
import torch

from batch import Batch
from evaluation.intervals import Estimate, mean_interval, statistic_interval
from evaluation.judging import auc_of
from lightning_modules.dpo import sequence_log_probs
from lightning_modules.reward import calibration_counts, calibration_error
from models.base import LanguageModel, real_tokens
from models.generation import evaluating
from models.heads import RewardModel, score


def pair_metrics(
    model: LanguageModel, data: Any, device: torch.device, *, seed: int
) -> tuple[dict[str, Estimate], int]:
    """Metrics of the validation side with 95 % intervals over pairs, and how many pairs there are."""
    columns = [column for batch in data.val_dataset() for column in _pairs(model, on(batch, device))]
    values_NP = np.concatenate(columns, axis=1)  # chosen, rejected, and their tokens
    return (of_scores if isinstance(model, RewardModel) else of_log_probs)(values_NP, seed=seed), values_NP.shape[1]


@torch.no_grad()
def _pairs(model: LanguageModel, micro: Batch) -> list[np.ndarray]:
    with evaluating(model):
        if isinstance(model, RewardModel):
            values_2P = score(model, micro["ids"], real_tokens(micro))[0]  # type: ignore[arg-type]
            tokens_2P = torch.ones_like(values_2P)
        else:
            values_2P, tokens_2P, _ = sequence_log_probs(model, micro)
    real_P = (micro["lengths"].view(2, -1)[0] > 0).cpu().numpy()
    rows = [*values_2P.chunk(2), *tokens_2P.chunk(2)]
    return [np.stack([row.double().cpu().numpy()[real_P] for row in rows])]


@torch.no_grad()
def label_metrics(
    model: LanguageModel, data: Any, device: torch.device, *, seed: int
) -> tuple[dict[str, Estimate], int]:
    """Of completions with a label each: log-probabilities of both kinds, and how well they tell the kinds apart.

    `auc`: how often a desirable completion is likelier, per token, than an undesirable one; ties count half.
    """
    found: list[np.ndarray] = []
    with evaluating(model):
        for batch in data.val_dataset():
            micro = on(batch, device)
            log_probs_P, tokens_P = (x.chunk(2)[0] for x in sequence_log_probs(model, micro)[:2])
            rows = torch.stack([log_probs_P, tokens_P, micro["labels"]]).double().cpu().numpy()
            found.append(rows[:, (micro["lengths"].chunk(2)[0] > 0).cpu().numpy()])
    values_3N = np.concatenate(found, axis=1)
    log_probs, good = values_3N[0], values_3N[2] > 0.5
    per_token = log_probs / values_3N[1]

    def auc(i: np.ndarray) -> float:
        return auc_of(per_token[i], good[i])

    return {
        "auc": statistic_interval(auc, len(good), seed=seed),
        "logps/chosen": mean_interval(log_probs[good], seed=seed),
        "logps/rejected": mean_interval(log_probs[~good], seed=seed),
    }, len(good)


def of_scores(values: np.ndarray, *, seed: int) -> dict[str, Estimate]:
    """Of a reward model. Args: values: (4, n) score of the chosen answer, of the rejected one, and ones."""
    gap = values[0] - values[1]
    chosen_P, rejected_P = torch.from_numpy(values[:2])

    ece = calibration_error(calibration_counts(chosen_P, rejected_P, torch.ones(len(gap))))
    return {
        "accuracy": mean_interval((gap > 0).astype(float), seed=seed),
        "margin": mean_interval(gap, seed=seed),
        "mean_reward": mean_interval(values[:2].mean(0), seed=seed),
        "ece": Estimate(ece, math.nan, math.nan),  # biased for few pairs, resampled ones more so: none would cover
    }


def of_log_probs(values: np.ndarray, *, seed: int) -> dict[str, Estimate]:
    """Of a language model. Args: values: (4, n) log-probability of chosen and rejected answer, tokens of both."""
    chosen, rejected, chosen_tokens, rejected_tokens = values
    per_token = chosen / chosen_tokens > rejected / rejected_tokens
    return {
        "accuracy": mean_interval((chosen > rejected).astype(float), seed=seed),
        "accuracy_per_token": mean_interval(per_token.astype(float), seed=seed),
        "margin": mean_interval(chosen - rejected, seed=seed),
        "logps/chosen": mean_interval(chosen, seed=seed),
        "logps/rejected": mean_interval(rejected, seed=seed),
    }


def on(batch: Batch, device: torch.device) -> Batch:
    return {name: value.to(device) for name, value in batch.items()}
