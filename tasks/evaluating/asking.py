"""Who is asked what, how answers are written, and what is said of them beside the metrics."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from omegaconf import DictConfig

from errors import RequestError
from evaluation import answering
from evaluation.answering import Metrics, Prediction
from evaluation.benchmarks.base import Question
from evaluation.compute_figure import draw
from evaluation.picking import Point
from evaluation.prompts import Prompt, Prompter
from evaluation.rerank import Answer, Judge
from evaluation.tool_use import tool_guide
from launcher.jobs.run_folder import RunFolder
from models.base import LanguageModel
from models.guides import MakeGuide
from models.sampling import Sampling
from tasks.text import StopStrings


class Asked(NamedTuple):
    """Who is asked what, and how. `room`: tokens of an answer at most."""

    model: LanguageModel
    prompter: Prompter
    prompts: list[Prompt]
    questions: list[Question]
    room: int
    seed: int
    settings: DictConfig

    @property
    def stop(self) -> Callable[[list[int]], bool] | None:
        return StopStrings(self.prompter.tokenizer, self.prompter.stop) if self.prompter.stop else None

    @property
    def guide(self) -> MakeGuide | None:
        return tool_guide(list(self.settings.tools), self.prompter.tokenizer)

    @property
    def sampling(self) -> Sampling:
        return Sampling(temperature=self.settings.temperature)


@dataclass
class Facts:
    """What is said beside the metrics. `json`: for evaluation.json."""

    json: dict[str, Any] = field(default_factory=dict)
    sentences: list[str] = field(default_factory=list)


Found = tuple[list[Prediction], Metrics, Facts]


def written(asked: Asked, *, samples: int, sampling: Sampling) -> list[list[Answer]]:
    return answering.written(
        asked.model,
        asked.prompter,
        asked.prompts,
        asked.questions,
        max_new_tokens=asked.room,
        sampling=sampling,
        samples=samples,
        seed=asked.seed,
        batch_size=asked.settings.batch_size,
        stop=asked.stop,
        beams=asked.settings.beams,
        length_penalty=asked.settings.length_penalty,
        guide=asked.guide,
    )


def or_keep(predictions: list[Prediction], run: RunFolder, score: Callable[[], None]) -> None:
    """Answers that cannot be judged are kept, and the request refused."""
    try:
        score()
    except RequestError as error:
        target = answering.write(predictions, run.path)
        raise RequestError(f"{error}\nThe answers are kept, with their labels: {target}") from None


def show(facts: Facts, points: list[Point], run: RunFolder, judge: Judge | None) -> None:
    """The one figure of exact match against tokens, and its numbers for evaluation.json."""
    facts.json["compute"] = points
    if judge is not None and judge.tokens_read:
        facts.json["judge_tokens"] = judge.tokens_read
    draw(points, facts.json.get("errors"), run.path / "compute.png", judge=None if judge is None else judge.name)
