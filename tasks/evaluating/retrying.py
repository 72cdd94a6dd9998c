"""task=evaluate evaluate.retry=N: greedy first, what is rejected again; beside it what best-of-N gives instead."""

import math
from collections.abc import Sequence
from functools import partial

import numpy as np

from evaluation import answering, picking
from evaluation.answering import Metrics, Prediction
from evaluation.answers import Kind
from evaluation.intervals import Estimate
from evaluation.picking import Point
from evaluation.rerank import Answer, Calculator, Judge
from evaluation.retry import Attempts, retried
from evaluation.voting import sets
from launcher.jobs.run_folder import RunFolder
from models.generation import generate
from models.sampling import GREEDY
from tasks.evaluating.asking import Asked, Facts, Found, show, written


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
    show(facts, points, run, judge)
    return predictions, metrics, facts


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
    drawn = written(asked, samples=n, sampling=asked.sampling)
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
