"""What picking among answers by a judge's scores is worth, question by question, and what it costs in tokens.

Works on lines of predictions.jsonl: `labels`, `lengths`, `read` and `scores`, one a text.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from evaluation.answering import Metrics, Prediction, average, sources_of
from evaluation.intervals import Estimate, difference_interval
from evaluation.judging import error_curve, judge_metrics
from evaluation.metrics import pass_at_k
from evaluation.rerank import Answer, Judge
from evaluation.voting import powers, verifier_at_k, vote_at_k

Value = Callable[[Prediction, int], float]  # of a question with k answers
Point = dict[str, Any]  # of the figure: exact match against tokens


def add_scores(predictions: Sequence[Prediction], answers: Sequence[Sequence[Answer]], judge: Judge) -> None:
    """Adds to each line `scores`, one a text; `best`, which text is best scored, the first of equals; `judge`."""
    found = judge.scores([answer for made in answers for answer in made])
    parts = np.split(found, np.cumsum([len(made) for made in answers])[:-1])
    for prediction, scores in zip(predictions, parts, strict=True):
        prediction |= {"scores": scores.tolist(), "best": int(scores.argmax()), "judge": judge.name}


def ways(judge: Judge | None) -> dict[str, Value]:
    """Each way to pick one of k answers: the chance that what it picks of a line's answers is right."""

    def weighted(p: Prediction, k: int) -> float:
        assert judge is not None
        return vote_at_k(p["read"], p["labels"], k, _weights(judge, p))

    found: dict[str, Value] = {
        "pass": lambda p, k: pass_at_k(len(p["labels"]), sum(p["labels"]), k),
        "majority": lambda p, k: vote_at_k(p["read"], p["labels"], k),
    }
    if judge is not None:
        found["verifier"] = lambda p, k: verifier_at_k(p["scores"], p["labels"], k)
        if judge.weights(np.zeros(1)) is not None:
            found["weighted"] = weighted
    return found


def _weights(judge: Judge, p: Prediction) -> list[float]:
    weights = judge.weights(np.array(p["scores"]))
    assert weights is not None
    return weights.tolist()


def sample_metrics(predictions: Sequence[Prediction], judge: Judge | None, *, seed: int) -> tuple[Metrics, list[Point]]:
    """Of several samples a question: each way at k = 1, 2, 4, ..., gains paired by question; the points of a figure.

    rerank_gain@k is verifier@k less majority@k, weighted_gain@k weighted@k less majority@k.
    """
    mean = partial(average, predictions, seed=seed)
    lengths = float(np.mean([np.mean(p["lengths"]) for p in predictions]))
    metrics: Metrics = {}
    points: list[Point] = []
    found = {
        way: {k: [value(p, k) for p in predictions] for k in powers(len(predictions[0]["labels"]))}
        for way, value in ways(judge).items()
    }
    for way, by_k in found.items():
        for k, values in by_k.items():
            metrics[f"{way}@{k}"] = estimate = mean(values)
            points.append(point(way, k, k * lengths, estimate))
    gains = {"rerank_gain": "verifier", "weighted_gain": "weighted"}
    for name, way in gains.items():
        for k, values in list(found.get(way, {}).items())[1:]:  # of one answer there is nothing to pick
            metrics[f"{name}@{k}"] = paired(values, found["majority"][k], predictions, seed=seed)
    return metrics, points


def choice_gain(predictions: Sequence[Prediction], *, seed: int) -> Metrics:
    """Of choices: accuracy of the best scored one, and its gain over the likeliest, paired by question."""
    right, likeliest = [float(p["labels"][p["best"]]) for p in predictions], [float(p["right"]) for p in predictions]
    gain = paired(right, likeliest, predictions, seed=seed)
    return {"rerank_accuracy": average(predictions, right, seed=seed), "rerank_gain": gain}


def judgement(
    predictions: Sequence[Prediction], judge: Judge, *, accept: float | None, seed: int
) -> tuple[Metrics, list[dict[str, float]]]:
    """How well the judge tells right answers from wrong ones (evaluation/judging.py), and its curve of errors."""
    scores = np.array([score for p in predictions for score in p["scores"]])
    right = np.array([label for p in predictions for label in p["labels"]])
    sizes = [len(p["labels"]) for p in predictions]
    questions = np.repeat(np.arange(len(predictions)), sizes).tolist()
    sources = [source for source, n in zip(sources_of(predictions), sizes, strict=True) for _ in range(n)]
    metrics = judge_metrics(
        scores, right, questions, sources=sources, threshold=accept, probability=judge.probability, seed=seed
    )
    return metrics, error_curve(scores, right)


def point(way: str, k: int, tokens: float, estimate: Estimate) -> Point:
    return {"way": way, "k": k, "tokens": tokens, "exact_match": estimate.value, "low": estimate.low} | {
        "high": estimate.high
    }


def at_tokens(points: Sequence[Point], way: str, tokens: float) -> float | None:
    """Exact match of a way at so many tokens a question, between its points on a straight line; None outside them."""
    curve = sorted((p["tokens"], p["exact_match"]) for p in points if p["way"] == way)
    if not curve or not curve[0][0] <= tokens <= curve[-1][0]:
        return None
    spent, right = np.array(curve).T
    return float(np.interp(tokens, spent, right))


def paired(
    values: Sequence[float], others: Sequence[float], predictions: Sequence[Prediction], *, seed: int
) -> Estimate:
    """Mean of the differences, question by question."""
    return difference_interval(np.array(values), np.array(others), sources=sources_of(predictions), seed=seed)
