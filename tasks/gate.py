"""`generate.verify`: answers are judged before they are shown, and written again where they are rejected.

The same judges as in evaluation (evaluation/rerank.py), for task=generate and task=chat. The best scored attempt is
shown, with its score, also where none was good enough.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

from omegaconf import DictConfig

from errors import RequestError
from evaluation.rerank import Answer, Judge
from models.base import LanguageModel
from models.generation import Completion, generate
from tasks.evaluating.judges import judge_named
from tasks.text import StopStrings

RETRIES = 4  # where the gate is asked for without a number


class Gated(NamedTuple):
    """What is asked. `settings`: of models.generation.generate."""

    model: LanguageModel
    question: str
    ids: list[int]
    ends: StopStrings
    settings: dict[str, Any]


@dataclass
class Verdict:
    """The best of some attempts."""

    completion: Completion
    text: str
    score: float
    accepted: bool
    attempts: int = 1

    @property
    def words(self) -> str:
        tries = "" if self.attempts == 1 else f", best of {self.attempts}"
        return f"score {self.score:.3f}{tries}{'' if self.accepted else ', rejected'}"

    @property
    def facts(self) -> dict[str, object]:
        return {"score": self.score, "accepted": self.accepted, "attempts": self.attempts}


class Gate(NamedTuple):
    judge: Judge
    accept: float
    retry: int

    def written(self, asked: Gated, n: int) -> list[Verdict]:
        """`n` answers; those that are rejected are drawn again, by (seed, answer, attempt)."""
        found = self._judged(asked, list(range(n)))
        for turn in range(1, 1 + self.retry):
            rejected = [i for i in range(n) if not found[i].accepted]
            again = self._judged(asked, [turn * n + i for i in rejected])
            for i, verdict in zip(rejected, again, strict=True):
                if verdict.score > found[i].score:
                    found[i] = verdict
                found[i].attempts = turn + 1
        return found

    def _judged(self, asked: Gated, numbers: list[int]) -> list[Verdict]:
        if not numbers:
            return []
        made = [c for (c,) in generate(asked.model, [asked.ids] * len(numbers), numbers=numbers, **asked.settings)]
        texts = [asked.ends.cut(asked.ends.text(c.ids)) for c in made]
        answers = [Answer(asked.question, t, asked.ids, c.ids, c.stopped) for t, c in zip(texts, made, strict=True)]
        scores = self.judge.scores(answers).tolist()
        return [Verdict(c, t, s, s >= self.accept) for c, t, s in zip(made, texts, scores, strict=True)]


def gate_of(cfg: DictConfig, model: LanguageModel, temperature: float) -> Gate | None:
    """The gate that `generate.verify` names. Raises RequestError where it cannot tell good from bad."""
    wanted = cfg.generate
    if wanted.verify is None:
        for key in ("retry", "accept"):
            if wanted[key] is not None:
                raise RequestError(f"generate.{key}={wanted[key]} is of generate.verify. Type generate.verify=RUN.")
        return None
    retry = RETRIES if wanted.retry is None else wanted.retry
    if retry and temperature == 0:
        raise RequestError(
            "temperature=0: each retry would say the same. Type temperature=0.8, or generate.retry=0, which only says "
            "the score."
        )
    judge = judge_named(wanted.verify, cfg, model, batch_size=32, lenient=True)
    accept = wanted.accept if wanted.accept is not None else judge.accept
    if accept is None:
        raise RequestError(
            f"generate.verify={wanted.verify} is a reward model, whose scores have no zero: none says that an answer "
            "is bad.\nType generate.accept=SCORE, or name a run of objective=verifier."
        )
    return Gate(judge, accept, retry)
