"""task=evaluate benchmark=NAME with a judge: samples reranked, rejected answers retried, choices scored.

What came of it is beside exact match: every way to pick, at every number of samples, with the tokens that it took.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from omegaconf import DictConfig

from errors import RequestError
from evaluation import answering, picking
from evaluation.answering import Metrics, Prediction
from evaluation.answers import Kind
from evaluation.benchmarks.base import Benchmark, Question
from evaluation.compute_figure import draw
from evaluation.intervals import Estimate
from evaluation.picking import Point
from evaluation.prompts import Prompt, Prompter
from evaluation.rerank import Answer, Calculator, Judge
from evaluation.retry import Attempts, retried
from evaluation.tool_use import tool_guide
from evaluation.voting import sets
from launcher.jobs.run_folder import RunFolder
from models.base import LanguageModel
from models.generation import generate
from models.guides import MakeGuide
from models.sampling import GREEDY, Sampling
from tasks.evaluating.judges import judge_named, refuse_trained
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


# ---- before anything is asked ----------------------------------------------------------------------------------------


def check(settings: DictConfig, mode: str, *, summary: bool) -> None:
    """Raises RequestError for settings that do not go together."""
    rerank, retry, samples = settings.rerank, settings.retry, settings.samples
    if rerank and summary:
        raise RequestError("evaluate.rerank: summaries have no right answer that could be picked. Leave it out.")
    if rerank and mode == "generate" and samples == 1 and not retry:
        raise RequestError(
            f"evaluate.rerank={rerank}: there is one answer to each question, and nothing to pick from.\n"
            "Type evaluate.samples=8, or evaluate.retry=4."
        )
    if retry and mode == "choices":
        raise RequestError("evaluate.retry is for free answers: type evaluate.mode=generate.")
    if retry and not rerank:
        raise RequestError(f"evaluate.retry={retry}: who rejects an answer? Type evaluate.rerank=calculator, likelihood"
                           " or a RUN of objective=verifier.")  # fmt: skip
    if retry and samples > 1:
        raise RequestError(
            f"evaluate.retry={retry} and evaluate.samples={samples} do not go together: a retry follows one answer.\n"
            "Type evaluate.samples=1; what several samples are worth at equal tokens is told beside it."
        )
    if retry and settings.beams > 1:
        raise RequestError(f"evaluate.retry={retry} and evaluate.beams={settings.beams} do not go together: a retry is "
                           "drawn, beams are not.\nType evaluate.beams=1.")  # fmt: skip
    for name in ("accept", "retry_from"):
        if settings[name] is not None and not retry:
            raise RequestError(f"evaluate.{name}={settings[name]} is of evaluate.retry. Type evaluate.retry=4.")
    if settings.retry_from == "line" and rerank != "calculator":
        raise RequestError(
            f"evaluate.retry_from=line: evaluate.rerank={rerank} does not say which line is wrong; the calculator "
            "does.\nType evaluate.rerank=calculator, or evaluate.retry_from=start."
        )
    if retry and settings.temperature == 0:
        raise RequestError("evaluate.temperature=0: each retry would say the same. Type evaluate.temperature=0.7.")


def judge_of(cfg: DictConfig, model: LanguageModel, questions: Sequence[Question], *, words: str) -> Judge | None:
    """The judge that evaluate.rerank names. Raises RequestError where it cannot judge these questions."""
    name = cfg.evaluate.rerank
    if not name:
        return None
    judge = judge_named(name, cfg, model, words=words, batch_size=cfg.evaluate.batch_size)
    refuse_trained(name, questions)
    if cfg.evaluate.retry and judge.accept is None and cfg.evaluate.accept is None:
        raise RequestError(
            f"evaluate.rerank={name} is a reward model, whose scores have no zero: none says that an answer is "
            "wrong.\nType evaluate.rerank=<a run of objective=verifier>, or evaluate.samples=8 instead of a retry."
        )
    return judge


# ---- three ways ------------------------------------------------------------------------------------------------------


def choices(asked: Asked, judge: Judge | None) -> Found:
    """The likeliest choice; with a judge also the best scored one."""
    batch_size = asked.settings.batch_size
    predictions = answering.by_choices(asked.model, asked.prompts, asked.questions, batch_size=batch_size)
    metrics, facts = answering.choice_metrics(predictions, seed=asked.seed), Facts()
    if judge is None:
        return predictions, metrics, facts
    answers = [
        [
            Answer(question.ask, text, prompt.ids.tolist(), choice.tolist())
            for text, choice in zip(answering.led_choices(question), prompt.choices, strict=True)
        ]
        for question, prompt in zip(asked.questions, asked.prompts, strict=True)
    ]
    picking.add_scores(predictions, answers, judge)
    found, facts.json["errors"] = picking.judgement(predictions, judge, accept=judge.accept, seed=asked.seed)
    found = {f"judge_{name}" if name in metrics else name: value for name, value in found.items()}
    return predictions, found | metrics | picking.choice_gain(predictions, seed=asked.seed), facts


def samples(asked: Asked, judge: Judge | None, benchmark: Benchmark, run: RunFolder) -> Found:
    """Free answers, one or several to a question; with a judge every way to pick among them."""
    n, seed = asked.settings.samples, asked.seed
    answers = _written(asked, samples=n, sampling=asked.sampling if n > 1 else GREEDY)
    rows = zip(asked.prompts, asked.questions, answers, strict=True)
    predictions = [answering.free(prompt, question, made, benchmark.kind) for prompt, question, made in rows]
    metrics, facts = answering.generation_metrics(predictions, seed=seed, summary=benchmark.summary), Facts()
    if benchmark.summary:
        metrics |= answering.supported(predictions, seed=seed)
    if n == 1:
        return predictions, metrics, facts
    found: Metrics = {}
    if judge is not None:
        _or_keep(predictions, run, partial(picking.add_scores, predictions, answers, judge))
        found, facts.json["errors"] = picking.judgement(predictions, judge, accept=judge.accept, seed=seed)
    picked, points = picking.sample_metrics(predictions, judge, seed=seed)
    _show(facts, points, run, judge)
    return predictions, found | metrics | picked, facts


def retries(asked: Asked, judge: Judge, kind: Kind, run: RunFolder) -> Found:
    """Greedy first, rejected answers again; beside it what picking among as many anew gives, and at equal tokens."""
    settings, seed = asked.settings, asked.seed
    accept = settings.accept if settings.accept is not None else judge.accept
    assert accept is not None
    start = settings.retry_from or ("line" if isinstance(judge, Calculator) else "start")
    attempts = retried(
        partial(_again, asked),
        judge,
        len(asked.questions),
        retries=settings.retry,
        accept=accept,
        from_line=start == "line",
        decode=asked.prompter.tokenizer.decode,
    )
    rows = zip(asked.prompts, asked.questions, attempts, strict=True)
    predictions = [_attempted(answering.free(p, q, made.answers, kind), made, judge) for p, q, made in rows]
    metrics = answering.generation_metrics([_first_only(p) for p in predictions], seed=seed, summary=False)
    metrics = {name: metrics[name] for name in ("exact_match", "unparsed")} | _retry_metrics(predictions, seed=seed)
    facts = Facts({"accept": accept, "retry_from": start})
    beside, points = _best_of(asked, judge, attempts, kind)
    final = [float(p["right"]) for p in predictions]
    metrics |= {f"best_of@{k}": estimate for k, (estimate, _) in beside.items()}
    last = max(beside)
    metrics["gain_over_greedy"] = picking.paired(final, beside[1][1], predictions, seed=seed)
    metrics[f"gain_over_best_of@{last}"] = picking.paired(final, beside[last][1], predictions, seed=seed)
    tokens = metrics["tokens_per_question"].value
    points.append(picking.point(f"retry from the {start}", settings.retry, tokens, metrics["exact_match"]))
    facts.sentences.append(at_equal_tokens(points, start, last))
    _show(facts, points, run, judge)
    return predictions, metrics, facts


# ---- retries ---------------------------------------------------------------------------------------------------------


def _again(asked: Asked, which: Sequence[int], kept: Sequence[Sequence[int]], turn: int) -> list[Answer]:
    """Answers to these questions that begin with the ids kept; drawn from the second turn on, by (question, turn)."""
    retries = asked.settings.retry
    prompts = [asked.prompts[i].ids.tolist() for i in which]
    made = generate(
        asked.model,
        [[*prompt, *ids][-asked.model.seq_len :] for prompt, ids in zip(prompts, kept, strict=True)],
        max_new_tokens=asked.room,
        sampling=asked.sampling if turn else GREEDY,
        seed=asked.seed,
        stop_ids=asked.prompter.stop_ids,
        stop=asked.stop,
        batch_size=asked.settings.batch_size,
        guide=asked.guide,
        numbers=[i * retries + turn - 1 if turn else i for i in which],
    )
    found = []
    for i, prompt, ids, (completion,) in zip(which, prompts, kept, made, strict=True):
        left = asked.room - len(ids)  # what was kept takes of the room
        whole = [*ids, *completion.ids[:left]]
        text = answering.text_of(asked.prompter, whole)
        ended = completion.stopped and len(completion.ids) <= left
        found.append(Answer(asked.questions[i].ask, text, prompt, whole, ended))
    return found


def _attempted(prediction: Prediction, attempts: Attempts, judge: Judge) -> Prediction:
    """A line with all attempts; `chosen`: which one is the answer; `lengths`: new tokens of each."""
    chosen = attempts.best
    return prediction | {
        "lengths": attempts.new,
        "scores": attempts.scores,
        "kept_lines": attempts.kept_lines,
        "judge": judge.name,
        "chosen": chosen,
        "answer": prediction["read"][chosen],
        "right": prediction["labels"][chosen],
    }


def _first_only(p: Prediction) -> Prediction:
    """The chosen attempt as the only one: what is measured of single answers is measured of it."""
    i = p["chosen"]
    return p | {name: [p[name][i]] for name in ("texts", "read", "labels", "lengths", "stopped")}


def _retry_metrics(predictions: Sequence[Prediction], *, seed: int) -> Metrics:
    """tokens_per_question, retries, kept_lines: means over questions."""
    values = {
        "tokens_per_question": [sum(p["lengths"]) for p in predictions],
        "retries": [len(p["texts"]) - 1 for p in predictions],
        "kept_lines": [sum(p["kept_lines"]) for p in predictions],
    }
    return {name: answering.average(predictions, found, seed=seed) for name, found in values.items()}


def _best_of(
    asked: Asked, judge: Judge, attempts: Sequence[Attempts], kind: Kind
) -> tuple[dict[int, tuple[Estimate, list[float]]], list[Point]]:
    """What the best scored of k answers gives, the greedy one among them, for k = 1 ... 1 + retries.

    The draws are those of retries from the start; the mean is over all sets of k - 1 of them. By k: the estimate and
    each question's value.
    """
    n = asked.settings.retry
    drawn = _written(asked, samples=n, sampling=asked.sampling)
    answers = [[made.answers[0], *more] for made, more in zip(attempts, drawn, strict=True)]
    rows = zip(asked.prompts, asked.questions, answers, strict=True)
    predictions = [answering.free(*row, kind) for row in rows]
    picking.add_scores(predictions, answers, judge)
    greedy = float(np.mean([p["lengths"][0] for p in predictions]))
    one = float(np.mean([np.mean(p["lengths"][1:]) for p in predictions]))
    found, points = {}, []
    for k in range(1, n + 2):
        values = [best_of_first_and(p["scores"], p["labels"], k) for p in predictions]
        estimate = answering.average(predictions, values, seed=asked.seed)
        found[k] = estimate, values
        points.append(picking.point("best of", k, greedy + (k - 1) * one, estimate))
    return found, points


def best_of_first_and(scores: Sequence[float], labels: Sequence[bool], k: int) -> float:
    """Chance that the best scored of the first answer and k - 1 of the others is right; of equals the first is taken,
    and the others share, being as likely to come in any order."""
    if k == 1:
        return float(labels[0])
    scored, right = np.array(scores[1:]), np.array(labels[1:], np.float64)
    there = sets(len(scored), k - 1) > 0
    best = np.where(there, scored, -math.inf).max(1, keepdims=True)
    among = there & (scored == best)
    shared = (among @ right) / among.sum(1)
    return float(np.where(best[:, 0] > scores[0], shared, float(labels[0])).mean())


def at_equal_tokens(points: Sequence[Point], start: str, k: int) -> str:
    """What best-of-N gives at equal tokens, as a sentence."""
    retry = points[-1]
    said = (
        f"retry from the {start}: exact match {retry['exact_match']:.3f} with {retry['tokens']:.0f} tokens a question"
    )
    full = next(p for p in points if p["way"] == "best of" and p["k"] == k)
    said += f"; best of {k} anew: {full['exact_match']:.3f} with {full['tokens']:.0f}"
    at = picking.at_tokens(points, "best of", retry["tokens"])
    more = "more tokens than that were spent" if at is None else f"at equal tokens best-of-N gives {at:.3f}"
    return f"{said}; {more}. Tokens that the judge reads are not counted."


# ---- helpers ---------------------------------------------------------------------------------------------------------


def _written(asked: Asked, *, samples: int, sampling: Sampling) -> list[list[Answer]]:
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


def _or_keep(predictions: list[Prediction], run: RunFolder, score: Callable[[], None]) -> None:
    """Answers that cannot be judged are kept, and the request refused."""
    try:
        score()
    except RequestError as error:
        target = answering.write(predictions, run.path)
        raise RequestError(f"{error}\nThe answers are kept, with their labels: {target}") from None


def _show(facts: Facts, points: list[Point], run: RunFolder, judge: Judge | None) -> None:
    """The one figure of exact match against tokens, and its numbers for evaluation.json."""
    facts.json["compute"] = points
    if judge is not None and judge.tokens_read:
        facts.json["judge_tokens"] = judge.tokens_read
    draw(points, facts.json.get("errors"), run.path / "compute.png", judge=None if judge is None else judge.name)
