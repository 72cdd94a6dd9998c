"""Questions answered by a model in two ways, and what that is worth.

- choices: the likeliest of the given choices, by its log-probability; and by that per character (acc_norm) and per byte
  (acc_bytes), as longer ones are at a loss otherwise. Names and lengths are those of EleutherAI's harness;
- generate: a free answer, read by the rule of the benchmark; what cannot be read is wrong, and counted apart.
"""

import json
import math
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from evaluation.answers import READERS, Kind, choice
from evaluation.benchmarks.base import Question
from evaluation.facts import unsupported
from evaluation.intervals import Estimate, mean_interval, mean_of_sources, statistic_interval
from evaluation.likelihood import continuation_logprobs
from evaluation.metrics import calibration_error, macro_f1, majority, pass_at_k, squad_f1, summary_scores
from evaluation.prompts import Prompt, Prompter
from evaluation.rerank import Answer
from evaluation.voting import powers, vote_at_k
from models.base import LanguageModel
from models.beams import beam_search
from models.generation import generate
from models.guides import MakeGuide
from models.sampling import Sampling

Prediction = dict[str, Any]  # one line of predictions.jsonl
Metrics = dict[str, Estimate]


def write(predictions: Sequence[Prediction], folder: Path) -> Path:
    """predictions.jsonl in a folder."""
    target = folder / "predictions.jsonl"
    with target.open("w", encoding="utf-8") as lines:
        lines.writelines(json.dumps(prediction, ensure_ascii=False) + "\n" for prediction in predictions)
    return target


def by_choices(
    model: LanguageModel, prompts: Sequence[Prompt], questions: Sequence[Question], *, batch_size: int
) -> list[Prediction]:
    """Log-probability of every choice after its prompt; one prediction a question."""
    pairs = [(prompt.ids, choice) for prompt in prompts for choice in prompt.choices]
    logprobs = continuation_logprobs(model, pairs, batch_size=batch_size)
    ends = np.cumsum([len(prompt.choices) for prompt in prompts])[:-1]
    return [
        _choice(prompt, question, found)
        for prompt, question, found in zip(prompts, questions, np.split(logprobs, ends), strict=True)
    ]


def _choice(prompt: Prompt, question: Question, logprobs: np.ndarray) -> Prediction:
    expected, picked = question.choices.index(question.answer), int(logprobs.argmax())
    by_length = {
        "right_per_character": [len(choice) for choice in question.choices],
        "right_per_byte": [len(choice.encode()) for choice in question.choices],
    }
    odds = np.exp(logprobs - logprobs.max())
    return {
        **_asked(prompt, question),
        "answer": question.choices[picked],
        "right": picked == expected,
        **{name: int((logprobs / np.maximum(1, n)).argmax()) == expected for name, n in by_length.items()},
        "logprobs": logprobs.tolist(),
        "confidence": float(odds.max() / odds.sum()),
        "kind": "choice",
        "texts": list(led_choices(question)),
        "labels": [choice == question.answer for choice in question.choices],
        "lengths": [len(choice) for choice in prompt.choices],
    }


def led_choices(question: Question) -> list[str]:
    """Each choice as an answer that a model gives, with its lead."""
    return [f"{question.lead} {choice}" if question.lead else choice for choice in question.choices]


def _asked(prompt: Prompt, question: Question) -> Prediction:
    asked = {"question": question.ask, "prompt": prompt.text, "choices": list(question.choices)}
    return asked | {"expected": question.answer, "source": question.source or question.ask}


def choice_metrics(predictions: Sequence[Prediction], *, seed: int) -> Metrics:
    """accuracy, acc_norm, acc_bytes, ece; macro_f1 where all questions have the same choices: then they are classes.

    ece has no interval: of few answers it is too large on average (Kumar et al. 2019, 1909.10155), and resamples of
    them are more so; an interval around it would not hold the truth.
    """
    metrics = {
        name: average(predictions, [p[key] for p in predictions], seed=seed)
        for name, key in (("accuracy", "right"), ("acc_norm", "right_per_character"), ("acc_bytes", "right_per_byte"))
    }
    metrics |= by_sources("accuracy", predictions, [p["right"] for p in predictions], seed=seed)
    right = np.array([p["right"] for p in predictions], dtype=np.float64)
    ece = calibration_error(np.array([p["confidence"] for p in predictions]), right)
    return metrics | {"ece": Estimate(ece, math.nan, math.nan)} | class_metrics(predictions, seed=seed)


def average(predictions: Sequence[Prediction], values: Sequence[float], *, seed: int) -> Estimate:
    """The mean over questions; its interval is over what they are about."""
    return mean_interval(np.array(values, np.float64), sources=sources_of(predictions), seed=seed)


def sources_of(predictions: Sequence[Prediction]) -> list[Any]:
    """What each question is about; one that does not say is about something of its own."""
    return [prediction.get("source", number) for number, prediction in enumerate(predictions)]


def by_sources(name: str, predictions: Sequence[Prediction], values: Sequence[float], *, seed: int) -> Metrics:
    """`<name>_per_source`, in which each source counts once; nothing where each has one question."""
    sources = sources_of(predictions)
    if len(set(sources)) == len(sources):
        return {}
    return {f"{name}_per_source": mean_of_sources(np.array(values, np.float64), sources, seed=seed)}


def class_metrics(predictions: Sequence[Prediction], *, seed: int) -> Metrics:
    classes = predictions[0]["choices"]
    if not classes or any(p["choices"] != classes for p in predictions):
        return {}
    index = {choice: i for i, choice in enumerate(classes)}
    made = np.array([index.get(p["answer"], -1) for p in predictions])
    expected = np.array([index[p["expected"]] for p in predictions])

    def f1(i: np.ndarray) -> float:
        return macro_f1(made[i].tolist(), expected[i].tolist(), len(classes))

    return {"macro_f1": statistic_interval(f1, len(made), sources=sources_of(predictions), seed=seed)}


def unread(predictions: Sequence[Prediction], most: int = 10) -> dict[str, Any]:
    """How many first answers could not be read, and the first ten of them; nothing where answers are not read."""
    if not all("read" in prediction for prediction in predictions):
        return {}
    found = [p for p in predictions if p["read"][0] is None]
    shown = [{"question": p["question"], "expected": p["expected"], "answer": p["texts"][0]} for p in found[:most]]
    return {"unread": len(found), "unread_answers": shown}


def by_generation(
    model: LanguageModel,
    prompter: Prompter,
    prompts: Sequence[Prompt],
    questions: Sequence[Question],
    *,
    kind: Kind,
    **how: Any,
) -> list[Prediction]:
    """Free answers to each question (`how`: see `written`), read by `kind`."""
    answers = written(model, prompter, prompts, questions, **how)
    return [free(*asked, kind) for asked in zip(prompts, questions, answers, strict=True)]


def written(
    model: LanguageModel,
    prompter: Prompter,
    prompts: Sequence[Prompt],
    questions: Sequence[Question],
    *,
    max_new_tokens: int,
    sampling: Sampling,
    samples: int,
    seed: int,
    batch_size: int,
    stop: Callable[[list[int]], bool] | None,
    beams: int = 1,
    length_penalty: float = 1.0,
    guide: MakeGuide | None = None,
) -> list[list[Answer]]:
    """`samples` answers to each question, or with more than one beam the best found.

    Args:
        stop: says of an answer's ids so far whether it ends here. guide: a tool that writes in the answers.
    """
    ids = [prompt.ids.tolist() for prompt in prompts]
    settings: dict[str, Any] = {"max_new_tokens": max_new_tokens, "batch_size": batch_size}
    settings |= {"stop_ids": prompter.stop_ids, "stop": stop}
    if beams > 1:
        completions = beam_search(model, ids, beams=beams, length_penalty=length_penalty, **settings)
    else:
        completions = generate(model, ids, sampling=sampling, n=samples, seed=seed, guide=guide, **settings)
    return [
        [
            Answer(
                question.ask,
                text_of(prompter, c.ids),
                prompt.ids.tolist(),
                c.ids,
                c.stopped,
                None if guide is None else len(c.forced),
            )
            for c in made
        ]
        for prompt, question, made in zip(prompts, questions, completions, strict=True)
    ]


def text_of(prompter: Prompter, ids: Sequence[int]) -> str:
    """What an answer says."""
    return cut(prompter.tokenizer.decode(ids, skip_specials=True), prompter.stop)


def cut(text: str, ends: Sequence[str]) -> str:
    """Text before the first of `ends`, without spaces around it."""
    at = [found for end in ends if (found := text.find(end)) >= 0]
    return text[: min(at, default=len(text))].strip()


def free(prompt: Prompt, question: Question, answers: Sequence[Answer], kind: Kind) -> Prediction:
    """A line of predictions.jsonl. `labels`: whether each of `texts` is right; `lengths`: tokens, the end left out."""
    texts = [answer.text for answer in answers]
    accepted, read = read_answers(question, texts, kind)
    chosen = majority(read)
    spans = {"f1": squad_f1(texts[0], [question.answer, *question.others])} if kind == "span" else {}
    labels = [r in accepted for r in read]
    return {
        **_asked(prompt, question),
        "others": list(question.others),
        "kind": kind,
        "texts": texts,
        "read": read,
        "labels": labels,
        "lengths": [answer.length for answer in answers],
        "answer": chosen,
        "right": labels[0],
        "rights": sum(labels),
        "right_by_majority": chosen in accepted,
        **spans,
        "stopped": [answer.stopped for answer in answers],
        **({} if answers[0].forced is None else {"forced": [answer.forced for answer in answers]}),
    }


def read_answers(question: Question, texts: Sequence[str], kind: Kind) -> tuple[set[str], list[str | None]]:
    """What right answers read as, and what each text reads as; None where nothing can be read from it."""
    if kind == "text" and question.choices:
        return {question.answer}, [choice(text, question.choices) for text in texts]
    accepted = {READERS[kind](answer) for answer in (question.answer, *question.others)} - {None}
    return accepted, [READERS[kind](text) for text in texts]  # type: ignore[return-value]


def generation_metrics(predictions: Sequence[Prediction], *, seed: int, summary: bool) -> Metrics:
    """exact_match, unparsed; with tools forced, the share of tokens that they wrote; f1 of spans; of several samples
    pass@k, majority@k, self_consistency and tokens_per_question, all that were written; ROUGE of summaries."""

    mean = partial(average, predictions, seed=seed)
    if summary:
        texts, lengths = [p["texts"][0] for p in predictions], [p["lengths"][0] for p in predictions]
        scores = summary_scores(texts, [p["expected"] for p in predictions], lengths)
        return {name: mean(values) for name, values in scores.items()}
    metrics = {
        "exact_match": mean([p["right"] for p in predictions]),
        "unparsed": mean([p["read"][0] is None for p in predictions]),
    }
    if "forced" in predictions[0]:
        shares = [sum(p["forced"]) / max(1, sum(p["lengths"])) for p in predictions]
        metrics["forced"] = mean(shares)
    if "f1" in predictions[0]:
        metrics["f1"] = mean([p["f1"] for p in predictions])
    samples = len(predictions[0]["read"])
    if samples > 1:
        for k in powers(samples):
            metrics[f"pass@{k}"] = mean([pass_at_k(samples, p["rights"], k) for p in predictions])
        for k in powers(samples):
            metrics[f"majority@{k}"] = mean([vote_at_k(p["read"], p["labels"], k) for p in predictions])
        metrics["tokens_per_question"] = mean([sum(p["lengths"]) for p in predictions])
        metrics["self_consistency"] = mean([p["right_by_majority"] for p in predictions])
    metrics |= by_sources("exact_match", predictions, [p["right"] for p in predictions], seed=seed)
    return metrics | class_metrics(predictions, seed=seed)


def supported(predictions: Sequence[Prediction], *, seed: int) -> Metrics:
    """unsupported: the share of summaries with a number or a name that their source lacks; each line gets these words.

    A rule of thumb (evaluation/facts.py).
    """
    for p in predictions:
        p["unsupported"] = unsupported(p["texts"][0], p["question"])
    return {"unsupported": average(predictions, [bool(p["unsupported"]) for p in predictions], seed=seed)}
