"""How well scores tell right answers from wrong ones. Pure: arrays in, numbers out.

AUC within a question comes first. Over all answers a judge looks good that has only learned which questions are easy,
and picking among answers to one question by it is no better than chance; ECE looks good as well.
"""

import math
from collections.abc import Hashable, Sequence

import numpy as np
from scipy.stats import rankdata

from evaluation.intervals import Estimate, mean_interval, statistic_interval, unit_of
from evaluation.metrics import calibration_error

FEWEST_QUESTIONS = 20  # with both labels: with fewer, AUC within a question says nothing
CURVE = 200  # points of a curve that are kept


def auc_of(scores: np.ndarray, good: np.ndarray) -> float:
    """Area under the ROC curve, by ranks (Mann and Whitney 1947); ties count half; nan where one kind is missing."""
    n_good, n_bad = int(good.sum()), int((~good).sum())
    if not n_good or not n_bad:
        return float("nan")
    return float((rankdata(scores)[good].sum() - n_good * (n_good + 1) / 2) / (n_good * n_bad))


def aucs_within(scores: np.ndarray, right: np.ndarray, questions: Sequence[Hashable]) -> np.ndarray:
    """(q,) AUC of each question with answers of both kinds, in the order in which they come; (0,) where none has."""
    found = [auc_of(scores[at], right[at]) for at in _members(questions, len(scores))]
    return np.array([auc for auc in found if not math.isnan(auc)])


def _members(questions: Sequence[Hashable], n: int) -> list[np.ndarray]:
    unit = unit_of(questions, n)
    return np.split(np.argsort(unit, kind="stable"), np.cumsum(np.bincount(unit))[:-1]) if n else []


def errors_at(scores: np.ndarray, right: np.ndarray, threshold: float) -> tuple[float, float]:
    """Share of wrong answers that are accepted (score at least `threshold`), and of right ones that are rejected."""
    accepted = scores >= threshold
    return _share(accepted[~right]), _share(~accepted[right])


def _share(values: np.ndarray) -> float:
    return float(values.mean()) if len(values) else float("nan")


def error_curve(scores: np.ndarray, right: np.ndarray, most: int = CURVE) -> list[dict[str, float]]:
    """False accepts and rejects at every score as the threshold, `most` of them, evenly, where there are more."""
    thresholds = np.unique(scores)
    if len(thresholds) > most:
        thresholds = thresholds[np.linspace(0, len(thresholds) - 1, most).round().astype(int)]
    found = ((t, *errors_at(scores, right, t)) for t in thresholds.tolist())
    return [{"threshold": t, "false_accept": accept, "false_reject": reject} for t, accept, reject in found]


def judge_metrics(
    scores: np.ndarray,
    right: np.ndarray,
    questions: Sequence[Hashable],
    *,
    sources: Sequence[Hashable] | None = None,
    threshold: float | None,
    probability: bool,
    seed: int = 0,
) -> dict[str, Estimate]:
    """auc_within, auc; with a threshold false_accept, false_reject, accuracy and base_rate; of probabilities ece.

    `base_rate`: the accuracy of who says the same of every answer, what is commoner; accuracy is to be read beside it.
    No auc_within below FEWEST_QUESTIONS questions with answers of both kinds.

    Args:
        scores, right: (n,) of each answer. questions: (n,) what it answers. sources: (n,) what intervals are over.
    """
    right, sources = np.asarray(right, bool), questions if sources is None else sources
    units = [sources[int(at[0])] for at in _members(questions, len(right)) if 0 < right[at].sum() < len(at)]
    within = aucs_within(scores, right, questions)
    enough = len(within) >= FEWEST_QUESTIONS
    nothing = Estimate(math.nan, math.nan, math.nan)
    metrics = {
        "auc_within": mean_interval(within, sources=units, seed=seed) if enough else nothing,
        "auc": statistic_interval(lambda i: auc_of(scores[i], right[i]), len(right), sources=sources, seed=seed),
    }
    if threshold is not None:
        accepted = scores >= threshold
        commoner = right.mean() >= 0.5
        kinds = {"false_accept": (accepted, ~right), "false_reject": (~accepted, right)}
        for name, (wrongly, among) in kinds.items():
            chosen = [source for source, there in zip(sources, among, strict=True) if there]
            metrics[name] = mean_interval(wrongly[among], sources=chosen, seed=seed) if among.any() else nothing
        metrics["accuracy"] = mean_interval(accepted == right, sources=sources, seed=seed)
        metrics["base_rate"] = mean_interval(right == commoner, sources=sources, seed=seed)
    if probability:
        metrics["ece"] = Estimate(calibration_error(scores, right), math.nan, math.nan)  # no interval would cover
    return metrics
