"""task=evaluate benchmark=NAME: questions with known answers, put to a model; or texts to predict."""

import json
import math
from functools import partial
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from datamodules.reading.ignored import Ignored
from datamodules.reading.problems import make_problem
from errors import RequestError
from evaluation import answering, mistakes
from evaluation.benchmarks.base import Benchmark, Question, draw_shots
from evaluation.benchmarks.texts import Texts
from evaluation.intervals import Estimate, in_words
from evaluation.mistakes import answer_in, class_of, counted
from evaluation.prompts import Prompt, Prompter
from launcher.config.instantiate import build
from launcher.jobs.run_folder import RunFolder
from launcher.jobs.summary import plain
from models.beams import check_beams
from progress import shown
from tasks import parts
from tasks.evaluating import reranking
from tasks.evaluating.asking import Asked, Facts
from tasks.evaluating.benchmark_data import rows_of, told_ignored
from tasks.evaluating.benchmark_texts import run_texts
from tasks.evaluating.retrying import retries
from tasks.evaluating.used_keys import check_drawn
from tokenization.base import Tokenizer

EXAMPLES = 2  # of each class of wrong answers, in evaluation.json
LEAST_ROOM = 16  # tokens for an answer: "The answer is positive." is longer than "positive"


def run_benchmark(cfg: DictConfig, run: RunFolder, model: Any, tokenizer: Tokenizer) -> None:
    """Asks, reads, counts; writes predictions.jsonl and evaluation.json, and prints each metric with its interval."""
    benchmark, settings = build(cfg.benchmark), cfg.evaluate
    name = Path(str(cfg.benchmark._target_).rsplit(".", 1)[0].replace(".", "/")).name
    if isinstance(benchmark, Texts):
        run_texts(cfg, run, model, tokenizer, name=name, benchmark=benchmark)
        return
    ignored = Ignored()
    questions = load(benchmark, benchmark.split, settings.limit, ignored, first=benchmark.first)
    mode = settings.mode or ("choices" if questions[0].choices else "generate")
    check(benchmark, questions, mode, settings)
    trained = cfg.data.get("template") if "data" in cfg else None
    prompter = Prompter(tokenizer, style=settings.template, context=model.seq_len, trained=trained)
    if prompter.template is None:
        parts.note_missing_bos(cfg, tokenizer)
    judge = reranking.judge_of(cfg, model, questions, words=benchmark.words)
    print(f"asked as {prompter.style} (evaluate.template)", flush=True)
    room = answer_room(prompter, questions, settings.max_new_tokens) if mode == "generate" else 0
    prompts = ask(prompter, benchmark, questions, settings, room=room, seed=cfg.seed)
    asked = Asked(model, prompter, prompts, questions, room, cfg.seed, settings)
    if mode == "choices":
        predictions, metrics, facts = reranking.choices(asked, judge)
    elif settings.retry:
        assert judge is not None
        predictions, metrics, facts = retries(asked, judge, benchmark.kind, run)
    else:
        predictions, metrics, facts = reranking.samples(asked, judge, benchmark, run)
    told_ignored(run, ignored)
    facts.json |= faults(predictions, seed=cfg.seed)
    record(run, name, mode, metrics, predictions, cut=sum(prompt.cut > 0 for prompt in prompts), more=facts)


def load(
    benchmark: Benchmark, split: str, limit: int | None, ignored: Ignored | None = None, *, first: int = 0
) -> list[Question]:
    """Questions of a split, from number `first` on; what is there beside is counted.

    Raises RequestError where the data is missing: what to fetch, where to put it.
    """
    ignored = Ignored() if ignored is None else ignored
    rows = benchmark.rows(split, limit, read=partial(rows_of, ignored=ignored), make=make_problem, first=first)
    questions = benchmark.questions(rows)
    for row, _ in rows:
        ignored.beside(benchmark.known(row), row)
    return questions


def check(benchmark: Benchmark, questions: list[Question], mode: str, settings: DictConfig) -> None:
    """Raises RequestError for settings that do not go together."""
    if mode == "choices" and not all(question.choices for question in questions):
        raise RequestError("evaluate.mode=choices: these questions have no choices.\nType evaluate.mode=generate.")
    if mode == "choices" and settings.samples > 1:
        raise RequestError(
            "evaluate.samples is for evaluate.mode=generate; the likelihood of a choice is always the same."
        )
    if mode == "choices" and settings.max_new_tokens is not None:
        raise RequestError(
            f"evaluate.max_new_tokens={settings.max_new_tokens} is of free answers; choices are there already.\n"
            "Type evaluate.mode=generate, or leave it out."
        )
    if mode == "choices" and settings.tools:
        raise RequestError("evaluate.tools write in free answers.\nType evaluate.mode=generate, or leave them out.")
    reasons = {
        "the likelihood of choices needs none": mode == "choices",
        "evaluate.samples are drawn, beams are not": settings.samples > 1,
        "evaluate.tools write in greedy or drawn answers": bool(settings.tools),
    }
    against = next((words for words, there in reasons.items() if there), None)
    check_beams(settings.beams, settings.length_penalty, against=against)
    if settings.samples > 1 and benchmark.summary:
        raise RequestError("evaluate.samples: summaries are compared one by one. Type evaluate.samples=1.")
    reranking.check(settings, mode, summary=benchmark.summary)
    check_drawn(settings)


def answer_room(prompter: Prompter, questions: list[Question], wanted: int | None) -> int:
    """Tokens that are kept free for an answer: as `wanted`, or by the longest expected one.

    Raises:
        RequestError: none would be left for the question.
    """
    if wanted is None:
        longest = max(len(prompter.tokenizer.encode(question.led_answer)) for question in questions)
        return min(max(LEAST_ROOM, longest + longest // 4 + 1), prompter.context // 2)
    if wanted >= prompter.context:
        raise RequestError(
            f"evaluate.max_new_tokens={wanted} leaves nothing of the model's context, {prompter.context} tokens, "
            "for the question.\nType fewer, or leave it out: a quarter more than the longest expected answer is taken."
        )
    return wanted


def ask(
    prompter: Prompter, benchmark: Benchmark, questions: list[Question], settings: DictConfig, *, room: int, seed: int
) -> list[Prompt]:
    pool = load(benchmark, benchmark.shots_split, None) if settings.shots else []
    prompts = []
    for number, question in enumerate(shown(questions, "writing prompts", unit="questions")):
        shots = draw_shots(pool, settings.shots or 0, seed=seed, asked=question, number=number)
        prompts.append(prompter.prompt(question, shots, words=benchmark.words, room=room))
    return prompts


def faults(predictions: list[dict[str, Any]], *, seed: int) -> dict[str, Any]:
    """What is wrong with the wrong answers, by class, with examples chosen by seed; each line learns its class."""
    for prediction in predictions:
        prediction["fault"] = class_of(prediction)
    examples = [
        {"fault": name, "question": p["question"], "expected": p["expected"], "answer": answer_in(p)}
        for name, members in mistakes.examples(predictions, EXAMPLES, seed=seed).items()
        for p in members
    ]
    return {"faults": counted(predictions), "fault_examples": examples}


def record(
    run: RunFolder,
    name: str,
    mode: str,
    metrics: dict[str, Estimate],
    predictions: list[dict[str, Any]],
    *,
    cut: int,
    more: Facts,
) -> None:
    """evaluation.json, predictions.jsonl, a figure where there is something to compare; and the same on the screen."""
    run.results["metrics"] = {f"test/{name}/{key}": estimate.value for key, estimate in metrics.items()}
    facts = {"benchmark": name, "mode": mode, "n": len(predictions), "prompts_cut": cut}
    sources = len(set(answering.sources_of(predictions)))
    facts |= {"sources": sources} | answering.unread(predictions)
    if "rouge1" in metrics:
        facts["rouge_words"] = "stemmed words of any script; Han, kana, Thai, Lao, Khmer and Myanmar letter by letter"
    facts |= {"ignored": run.results.get("ignored", {})}
    facts |= {key: estimate._asdict() for key, estimate in metrics.items()} | more.json
    (run.path / "evaluation.json").write_text(json.dumps(plain(facts), indent=2) + "\n", encoding="utf-8")
    target = answering.write(predictions, run.path)
    about = f" about {sources:,} sources" if sources < len(predictions) else ""
    print(f"\n{name}, by {mode}: {len(predictions):,} questions{about}"
          f"{f', {cut:,} prompts cut at the front' if cut else ''}")  # fmt: skip
    for key, estimate in metrics.items():
        if math.isnan(estimate.value):
            print(f"  {key:<22}-        (too few questions with right and wrong answers)")
            continue
        print(
            f"  {key:<22}{estimate.value:.4f}   {in_words(estimate, over='source' if about else 'question', n=sources)}"
        )
    if facts.get("unread"):
        print(f"  {facts['unread']:,} answers could not be read; ten of them are in evaluation.json")
    for sentence in more.sentences:
        print(f"  {sentence}")
    print(f"  written to {target}")
