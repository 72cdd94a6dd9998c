"""A judge by its name: `calculator`, `likelihood`, or the folder of a run."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from omegaconf import DictConfig

from datamodules.judged import judged_ids, question_hash
from errors import RequestError
from evaluation.benchmarks.base import Question
from evaluation.likelihood import Pair
from evaluation.prompts import Prompter
from evaluation.rerank import Calculator, Encode, Judge, Learned, Likelihood
from launcher.config.inherit import read_run
from models.base import LanguageModel
from models.heads import Scored
from strict_json import object_in
from tasks import parts
from tokenization.chat import chat_template


def judge_named(
    name: str, cfg: DictConfig, model: LanguageModel, *, words: str = "", batch_size: int, lenient: bool = False
) -> Judge:
    """Args:
    model: the one that answers. words: that a benchmark puts before each question; other language models see them.
    lenient: see `Calculator`.

    Raises:
        RequestError: no such judge; a run that cannot be read.
    """
    if name == "calculator":
        return Calculator(lenient=lenient)
    if name == "likelihood":
        return Likelihood(model, name=name, batch_size=batch_size)
    if not Path(name).expanduser().exists():
        raise RequestError(
            f"{name}: no such judge. Expected calculator, likelihood, or the folder of a run of objective=verifier, "
            "objective=reward, or a language model."
        )
    theirs = read_run(name)[0]
    judging, tokenizer = parts.other_model(cfg, name)
    style = theirs.get("data", {}).get("template")
    if isinstance(judging, Scored):
        return Learned(judging, name=name, batch_size=batch_size, encode=as_trained(tokenizer, style or "chat"))
    prompter = Prompter(tokenizer, style="auto", context=judging.seq_len, trained=style)
    return Likelihood(judging, name=name, batch_size=batch_size, encode=as_asked(prompter, words))


def as_trained(tokenizer: Any, style: str) -> Encode:
    """As a verifier or a reward model saw its answers: the question alone, and the answer up to its end."""
    template, _ = chat_template(tokenizer, style)  # type: ignore[arg-type]

    def encode(question: str, text: str) -> Pair:
        ids, mask = judged_ids(question, text, template)
        n = int(mask.argmax())
        return ids[:n], ids[n:-1]

    return encode


def as_asked(prompter: Prompter, words: str) -> Encode:
    """As a language model is asked by a benchmark, and would have answered."""

    def encode(question: str, text: str) -> Pair:
        asked = Question(question, text)
        prompt = prompter.prompt(asked, [], words=words, room=0).ids
        if prompter.template is None:  # it was never told how an answer ends
            return prompt, prompter.plain_answer(asked, text)
        return prompt, np.append(prompter.tokenizer.encode(text), prompter.template.end)

    return encode


def refuse_trained(name: str, questions: Sequence[Question]) -> None:
    """Raises RequestError where a verifier is asked to judge answers to questions that it was trained on."""
    try:
        summary = object_in(Path(name).expanduser() / "summary.json")
        known = set(summary.get("judged_questions") or ())
    except (OSError, ValueError, AttributeError, TypeError):
        return  # no judge of ours, or one that was stopped before it wrote any
    seen = [question.ask for question in questions if question_hash(question.ask) in known]
    if seen:
        raise RequestError(
            f"evaluate.rerank={name}: {len(seen):,} of {len(questions):,} questions are among those that it was "
            f"trained on, first {seen[0][:100]!r}: it knows their answers.\n"
            "Ask others: benchmark.split=..., or benchmark.first=N."
        )
