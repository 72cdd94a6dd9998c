"""task=evaluate benchmark=NAME with a judge: samples reranked, choices scored; what goes together.

What came of it is beside exact match: every way to pick, at every number of samples, with the tokens that it took.
"""

from collections.abc import Sequence
from functools import partial

from omegaconf import DictConfig

from errors import RequestError
from evaluation import answering, picking
from evaluation.answering import Metrics
from evaluation.benchmarks.base import Benchmark, Question
from evaluation.rerank import Answer, Judge
from launcher.jobs.run_folder import RunFolder
from models.base import LanguageModel
from models.sampling import GREEDY
from tasks.evaluating.asking import Asked, Facts, Found, or_keep, show, written
from tasks.evaluating.judges import judge_named, refuse_trained

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


# ---- two ways --------------------------------------------------------------------------------------------------------


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
    answers = written(asked, samples=n, sampling=asked.sampling if n > 1 else GREEDY)
    rows = zip(asked.prompts, asked.questions, answers, strict=True)
    predictions = [answering.free(prompt, question, made, benchmark.kind) for prompt, question, made in rows]
    metrics, facts = answering.generation_metrics(predictions, seed=seed, summary=benchmark.summary), Facts()
    if benchmark.summary:
        metrics |= answering.supported(predictions, seed=seed)
    if n == 1:
        return predictions, metrics, facts
    found: Metrics = {}
    if judge is not None:
        or_keep(predictions, run, partial(picking.add_scores, predictions, answers, judge))
        found, facts.json["errors"] = picking.judgement(predictions, judge, accept=judge.accept, seed=seed)
    picked, points = picking.sample_metrics(predictions, judge, seed=seed)
    show(facts, points, run, judge)
    return predictions, found | metrics | picked, facts
