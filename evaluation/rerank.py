"""Judges: what scores each of several answers to a question, so that the best can be picked or a bad one refused.

    calculator    1 where a calculator finds every sum of the working to hold (evaluation/checking.py), else 0
    likelihood    the log-probability of an answer's least likely token under the model that gave it, or another one
    verifier      the probability that it is right (objective=verifier)
    reward        a score without a zero (objective=reward): it ranks, and cannot refuse

Verifiers, reward models and other language models judge text, with a tokenizer and a template of their own.
Shapes: B rows, T tokens.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch

from errors import RequestError
from evaluation.checking import check, has_marks
from evaluation.likelihood import Pair, continuation_scores
from models.base import LanguageModel
from models.generation import evaluating
from models.heads import RewardModel, Scored, Verifier, at_end, judge, score

CONFIDENT = -1.0  # nats of the least likely token: a working reached by tokens of 37 % and more


class Answer(NamedTuple):
    """An answer to a question: as text, and as ids behind those of its prompt, its end included.

    `forced`: tokens that a tool wrote; None where there was none.
    """

    question: str
    text: str
    prompt: Sequence[int]
    ids: Sequence[int]
    stopped: bool = True
    forced: int | None = None

    @property
    def length(self) -> int:
        """Tokens, without the end."""
        return len(self.ids) - self.stopped


Encode = Callable[[str, str], Pair]  # question and answer -> ids of both, the end of the answer included


class Judge(ABC):
    """`accept`: the score from which an answer is taken, None where scores have no zero; `name` is for messages."""

    name: str
    accept: float | None
    probability = False  # whether a score is the probability of being right
    tokens_read = 0  # so far

    @abstractmethod
    def scores(self, answers: Sequence[Answer]) -> np.ndarray:
        """(n,) float64. Raises RequestError where they cannot be judged."""

    def weights(self, scores: np.ndarray) -> np.ndarray | None:
        """(n,) what each answer's vote counts, at least 0; None where scores say nothing of that."""
        return None


class Calculator(Judge):
    """Args: lenient: answers without marks are rejected, also where none has any."""

    name, accept = "calculator", 0.5

    def __init__(self, *, lenient: bool = False):
        self.seen_marks = lenient

    def scores(self, answers: Sequence[Answer]) -> np.ndarray:
        self.seen_marks |= any(has_marks(answer.text) for answer in answers)
        if answers and not self.seen_marks:
            raise RequestError(
                "rerank=calculator: none of the answers holds a mark such as <<12+7=19>>: there is nothing to check.\n"
                "Train on workings with marks (data=arithmetic, data=gsm8k), or type evaluate.rerank=likelihood."
            )
        return np.array([check(answer.text, ended=answer.stopped).holds for answer in answers], np.float64)

    def weights(self, scores: np.ndarray) -> np.ndarray:
        return scores


class Likelihood(Judge):
    """Args: encode: how another model reads the answers; None: as the ids that they are."""

    accept = CONFIDENT

    def __init__(self, model: LanguageModel, *, name: str, batch_size: int, encode: Encode | None = None):
        self.model, self.name, self.batch_size, self.encode = model, name, batch_size, encode

    def scores(self, answers: Sequence[Answer]) -> np.ndarray:
        pairs = encoded(answers, self.encode)
        check_lengths(pairs, self.model.seq_len + 1, self.name)
        self.tokens_read += sum(len(prompt) + len(ids) for prompt, ids in pairs)
        return np.array([found.least for found in continuation_scores(self.model, pairs, batch_size=self.batch_size)])

    def weights(self, scores: np.ndarray) -> np.ndarray:
        return np.exp(scores)


class Learned(Judge):
    """A verifier or a reward model, read at the end of the answer."""

    def __init__(self, model: Scored, *, name: str, batch_size: int, encode: Encode):
        self.model, self.name, self.batch_size, self.encode = model, name, batch_size, encode
        self.probability = isinstance(model, Verifier)
        self.accept = 0.5 if self.probability else None

    def scores(self, answers: Sequence[Answer]) -> np.ndarray:
        pairs = encoded(answers, self.encode)
        check_lengths(pairs, self.model.seq_len, self.name)
        self.tokens_read += sum(len(prompt) + len(ids) for prompt, ids in pairs)
        order = np.argsort([len(prompt) + len(ids) for prompt, ids in pairs], kind="stable")  # little padding
        found = np.zeros(len(pairs))
        with evaluating(self.model), torch.no_grad():
            for rows in np.split(order, range(self.batch_size, len(order), self.batch_size)):
                found[rows] = self._batch([pairs[i] for i in rows])
        return found

    def _batch(self, pairs: Sequence[Pair]) -> np.ndarray:
        if not pairs:
            return np.zeros(0)
        ids_BT, real_BT, answer_BT = (tensor.to(self.model.head.weight.device) for tensor in rows_of(pairs))
        if isinstance(self.model, Verifier):
            logits_BT = judge(self.model, ids_BT, real_BT, answer_BT)[0]
            return at_end(logits_BT, real_BT).double().sigmoid().cpu().numpy()
        assert isinstance(self.model, RewardModel)
        return score(self.model, ids_BT, real_BT)[0].double().cpu().numpy()

    def weights(self, scores: np.ndarray) -> np.ndarray | None:
        return scores if self.probability else None


def encoded(answers: Sequence[Answer], encode: Encode | None) -> list[Pair]:
    if encode is None:
        return [(np.asarray(answer.prompt), np.asarray(answer.ids)) for answer in answers]
    return [encode(answer.question, answer.text) for answer in answers]


def check_lengths(pairs: Sequence[Pair], most: int, name: str) -> None:
    """Raises RequestError where an answer with its question is longer than what the judge can read."""
    long = [n for prompt, ids in pairs if (n := len(prompt) + len(ids)) > most]
    if long:
        raise RequestError(
            f"{name}: {len(long):,} of {len(pairs):,} answers take more tokens with their questions than it can read "
            f"({max(long):,}, of {most:,}).\nType a smaller evaluate.max_new_tokens, or name a judge with a longer "
            "context."
        )


def rows_of(pairs: Sequence[Pair]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """ids (B, T), padded on the right; (B, T) True at real tokens; True at those of the answer."""
    T = max(len(prompt) + len(ids) for prompt, ids in pairs)
    ids_BT = torch.zeros(len(pairs), T, dtype=torch.long)
    real_BT, answer_BT = torch.zeros_like(ids_BT, dtype=torch.bool), torch.zeros_like(ids_BT, dtype=torch.bool)
    for row, (prompt, ids) in enumerate(pairs):
        n, end = len(prompt), len(prompt) + len(ids)
        ids_BT[row, :n], ids_BT[row, n:end] = torch.from_numpy(prompt), torch.from_numpy(ids)
        real_BT[row, :end], answer_BT[row, n:end] = True, True
    return ids_BT, real_BT, answer_BT
