"""Questions answered by a model in two ways, and what that is worth.

- choices: the likeliest of the given choices, by its log-probability, and by that per byte (longer ones are at a loss
  otherwise; both as in EleutherAI's harness, where the second is called acc_norm);
- generate: a free answer, read by the rule of the benchmark; what cannot be read is wrong, and counted apart.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from evaluation.answers import READERS, Kind, choice
from evaluation.benchmarks.base import Question
from evaluation.intervals import Estimate, mean_interval, statistic_interval
from evaluation.likelihood import continuation_logprobs
from evaluation.metrics import calibration_error, macro_f1, majority, pass_at_k, rouge
from evaluation.prompts import Prompt, Prompter
from models.base import LanguageModel
from models.generation import generate
from models.sampling import Sampling

Prediction = dict[str, Any]  # one line of predictions.jsonl
Metrics = dict[str, Estimate]


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
    per_byte = logprobs / [max(1, len(choice.encode())) for choice in question.choices]
    expected, picked, normed = question.choices.index(question.answer), int(logprobs.argmax()), int(per_byte.argmax())
    odds = np.exp(logprobs - logprobs.max())
    return {
        "question": question.ask,
        "prompt": prompt.text,
        "choices": list(question.choices),
        "expected": question.answer,
        "answer": question.choices[picked],
        "right": picked == expected,
        "right_per_byte": normed == expected,
        "logprobs": logprobs.tolist(),
        "confidence": float(odds.max() / odds.sum()),
    }


def choice_metrics(predictions: Sequence[Prediction], *, seed: int) -> Metrics:
    """accuracy, accuracy_per_byte, ece; macro_f1 where all questions have the same choices: then they are classes."""
    right = np.array([p["right"] for p in predictions], dtype=np.float64)
    confidence = np.array([p["confidence"] for p in predictions])
    metrics = {
        "accuracy": mean_interval(right, seed=seed),
        "accuracy_per_byte": mean_interval(
            np.array([p["right_per_byte"] for p in predictions], dtype=np.float64), seed=seed
        ),
        "ece": statistic_interval(lambda i: calibration_error(confidence[i], right[i]), len(right), seed=seed),
    }
    return metrics | class_metrics(predictions, seed=seed)


def class_metrics(predictions: Sequence[Prediction], *, seed: int) -> Metrics:
    classes = predictions[0]["choices"]
    if not classes or any(p["choices"] != classes for p in predictions):
        return {}
    index = {choice: i for i, choice in enumerate(classes)}
    made = np.array([index.get(p["answer"], -1) for p in predictions])
    expected = np.array([index[p["expected"]] for p in predictions])

    def f1(i: np.ndarray) -> float:
        return macro_f1(made[i].tolist(), expected[i].tolist(), len(classes))

    return {"macro_f1": statistic_interval(f1, len(made), seed=seed)}


def by_generation(
    model: LanguageModel,
    prompter: Prompter,
    prompts: Sequence[Prompt],
    questions: Sequence[Question],
    *,
    kind: Kind,
    max_new_tokens: int,
    sampling: Sampling,
    samples: int,
    seed: int,
    batch_size: int,
    stop: Callable[[list[int]], bool] | None,
) -> list[Prediction]:
    """`samples` free answers to each question, read by `kind`."""
    completions = generate(
        model,
        [prompt.ids.tolist() for prompt in prompts],
        max_new_tokens=max_new_tokens,
        sampling=sampling,
        n=samples,
        seed=seed,
        stop_ids=prompter.stop_ids,
        stop=stop,
        batch_size=batch_size,
    )
    decode = prompter.tokenizer.decode
    return [
        _free(prompt, question, [cut(decode(c.ids, skip_specials=True), prompter.stop) for c in made], kind)
        | {"stopped": [c.stopped for c in made]}
        for prompt, question, made in zip(prompts, questions, completions, strict=True)
    ]


def cut(text: str, ends: Sequence[str]) -> str:
    """Text before the first of `ends`, without spaces around it."""
    at = [found for end in ends if (found := text.find(end)) >= 0]
    return text[: min(at, default=len(text))].strip()


def _free(prompt: Prompt, question: Question, texts: list[str], kind: Kind) -> Prediction:
    wanted, read = read_answers(question, texts, kind)
    chosen = majority(read)
    return {
        "question": question.ask,
        "prompt": prompt.text,
        "choices": list(question.choices),
        "expected": question.answer,
        "texts": texts,
        "read": read,
        "answer": chosen,
        "right": read[0] is not None and read[0] == wanted,
        "rights": sum(r is not None and r == wanted for r in read),
        "right_by_majority": chosen is not None and chosen == wanted,
    }


def read_answers(question: Question, texts: Sequence[str], kind: Kind) -> tuple[str | None, list[str | None]]:
    """What a right answer reads as, and what each text reads as; None where nothing can be read from it."""
    if kind == "text" and question.choices:
        return question.answer, [choice(text, question.choices) for text in texts]
    return READERS[kind](question.answer), [READERS[kind](text) for text in texts]


def generation_metrics(predictions: Sequence[Prediction], *, seed: int, summary: bool) -> Metrics:
    """exact_match, unparsed; with several samples pass@k and self_consistency; for summaries ROUGE instead."""

    def average(values: Sequence[float]) -> Estimate:
        return mean_interval(np.array(values, dtype=np.float64), seed=seed)

    if summary:
        scores = rouge([p["texts"][0] for p in predictions], [p["expected"] for p in predictions])
        return {name: average([score[name] for score in scores]) for name in scores[0]}
    metrics = {
        "exact_match": average([p["right"] for p in predictions]),
        "unparsed": average([p["read"][0] is None for p in predictions]),
    }
    samples = len(predictions[0]["read"])
    if samples > 1:
        powers = [k for k in (1, 2, 4, 8, 16, 32, 64) if k <= samples]
        for k in powers:
            metrics[f"pass@{k}"] = average([pass_at_k(samples, p["rights"], k) for p in predictions])
        metrics["self_consistency"] = average([p["right_by_majority"] for p in predictions])
    return metrics | class_metrics(predictions, seed=seed)
