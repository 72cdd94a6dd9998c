"""What answers are worth. Pure: arrays and texts in, numbers out."""

import re
import string
from collections import Counter
from collections.abc import Sequence
from math import comb

import numpy as np

from evaluation.words import Words

NO_PUNCTUATION = str.maketrans("", "", string.punctuation)
SENTENCE_END = re.compile(r"(?<=[.!?])\s+|(?<=[\u3002\uff01\uff1f])")
Rouge = dict[str, float]
ROUGES = ("rouge1", "rouge2", "rougeL", "rougeLsum")
SUMMARY_METRICS = (*ROUGES, "answer_tokens")


def macro_f1(predicted: Sequence[int], expected: Sequence[int], classes: int) -> float:
    """Mean of the F1 score over the classes that occur or are predicted, as torchmetrics and scikit-learn average it.

    A class that does neither has no F1; counted as 0 it would punish a model for what was not asked, as the fifth
    letter of questions with four choices.
    """
    import torch  # with torchmetrics, seconds to import
    from torchmetrics.functional.classification import multiclass_f1_score

    known = torch.tensor([p if 0 <= p < classes else -1 for p in predicted])
    target = torch.tensor(list(expected))
    # an answer that is none of the choices is wrong for every class: an extra class that is not averaged
    scores = multiclass_f1_score(
        torch.where(known < 0, classes, known), target, num_classes=classes + 1, average="none"
    )
    there = torch.bincount(target, minlength=classes) + torch.bincount(known[known >= 0], minlength=classes)
    return float(scores[:classes][there > 0].mean())


def calibration_error(confidences: np.ndarray, right: np.ndarray, *, bins: int = 10) -> float:
    """Expected calibration error: |confidence - accuracy| over equal bins, weighted (Guo et al. 2017, 1706.04599).

    Args:
        confidences: (n,) probability given to the answer that was chosen. right: (n,) whether it was right.
    """
    import torch
    from torchmetrics.functional.classification import binary_calibration_error

    return float(
        binary_calibration_error(
            torch.from_numpy(np.asarray(confidences, dtype=np.float64)),
            torch.from_numpy(np.asarray(right, dtype=np.int64)),
            n_bins=bins,
        )
    )


def pass_at_k(n: int, right: int, k: int) -> float:
    """Chance that one of k answers, drawn from n of which `right` are right, is right (Chen et al. 2021, 2107.03374).

    Unbiased, unlike 1 - (1 - right/n)^k. Raises ValueError for k > n.
    """
    if k > n:
        raise ValueError(f"pass@{k} needs at least {k} answers to each question, there are {n}")
    return 1.0 - comb(n - right, k) / comb(n, k)


def majority(answers: Sequence[str | None]) -> str | None:
    """The most frequent answer that could be read, the first of equals (self-consistency, 2203.11171)."""
    read = [answer for answer in answers if answer is not None]
    return Counter(read).most_common(1)[0][0] if read else None


def rouge(predictions: Sequence[str], references: Sequence[str]) -> list[Rouge]:
    """ROUGE-1, -2, -L, -Lsum F-measures of each pair, by Google's rouge-score over stemmed words of any script.

    Lsum compares sentence by sentence; they end with a line, or with . ! ? before a space.
    """
    from rouge_score.rouge_scorer import RougeScorer

    scorer = RougeScorer(list(ROUGES), tokenizer=Words())
    pairs = zip(predictions, references, strict=True)
    scores = [scorer.score(by_sentence(reference), by_sentence(made)) for made, reference in pairs]
    return [{name: value.fmeasure for name, value in score.items()} for score in scores]


def summary_scores(
    predictions: Sequence[str], references: Sequence[str], lengths: Sequence[int]
) -> dict[str, list[float]]:
    """ROUGE of each summary, and beside it `answer_tokens`: scores of other lengths do not compare."""
    scores = rouge(predictions, references)
    return {name: [score[name] for score in scores] for name in ROUGES} | {"answer_tokens": list(map(float, lengths))}


def by_sentence(text: str) -> str:
    """One sentence a line."""
    return SENTENCE_END.sub("\n", text.strip())


def squad_words(text: str) -> list[str]:
    """Words as SQuAD's evaluation counts them (Rajpurkar et al. 2016, 1606.05250).

    Lower case, ASCII punctuation taken out (not made a space), then a, an and the left out, then split at spaces.
    """
    bare = text.lower().translate(NO_PUNCTUATION)
    return re.sub(r"\b(a|an|the)\b", " ", bare).split()


def squad_exact(made: str, references: Sequence[str]) -> float:
    """1.0 where an answer has the words of one of the right ones, in order."""
    return float(any(squad_words(made) == squad_words(reference) for reference in references))


def squad_f1(made: str, references: Sequence[str]) -> float:
    """F1 of the words that an answer shares with a right one, the best of these; 1.0 where both have none."""
    return max(_shared(squad_words(made), squad_words(reference)) for reference in references)


def _shared(made: list[str], wanted: list[str]) -> float:
    if not made or not wanted:
        return float(made == wanted)
    return 2 * sum((Counter(made) & Counter(wanted)).values()) / (len(made) + len(wanted))
