"""task=evaluate: loss, perplexity and bits per byte of a run on its validation split, or on other data.

On conversations also the exact match of answers, on pairs how often the chosen answer is preferred.
"""

import json
from collections import defaultdict
from typing import Any, Literal, TypedDict

import numpy as np
import torch
from omegaconf import DictConfig

from batch import IGNORE
from bounds import NonNegativeFloat, NonNegativeInt, PositiveInt
from commands import run_py
from datamodules.judged import JudgedDataModule
from datamodules.kinds.conversations import ConversationDataModule
from datamodules.kinds.steps import StepDataModule
from datamodules.preference import PairDataModule
from errors import RequestError
from evaluation.answers import is_right
from evaluation.intervals import Estimate, in_words, mean_interval, mean_of_sources, text_metrics
from evaluation.metrics import summary_scores
from evaluation.tool_use import tool_guide, tools_named
from launcher.jobs.run_folder import RunFolder
from launcher.jobs.summary import plain
from lightning_modules.sums import text_sums
from models.beams import check_beams, written
from models.generation import evaluating
from models.heads import RewardModel
from progress import shown
from tasks import parts
from tasks.evaluating.benchmark import run_benchmark
from tasks.evaluating.lm_eval import run_lm_eval
from tasks.evaluating.pairs import label_metrics, pair_metrics
from tasks.evaluating.past_context import evaluate_past_context
from tasks.evaluating.used_keys import check_answers, check_keys_are_used
from tasks.evaluating.verifiers import verifier_metrics
from tasks.hardware.choice import given_back
from tasks.hardware.reading import settle_reading
from tasks.trainer import settle_torch
from tokenization.chat.messages import answer_of

# of the keys and sections that every config has (launcher/config/reads.py)
READS = ("weights", "data", "objective", "benchmark", "trainer.accelerator", "trainer.products")

NO_ANSWERS = "no question is answered: this data has no right answers (data.answers), or none at all"
Asked = ConversationDataModule | PairDataModule


class Evaluate(TypedDict):
    """The section `evaluate`."""

    mode: Literal["choices", "generate"] | None
    shots: NonNegativeInt | None
    limit: PositiveInt | None
    samples: PositiveInt
    temperature: NonNegativeFloat
    beams: PositiveInt
    length_penalty: float
    max_new_tokens: PositiveInt | None
    template: Literal["auto", "chat", "plain", "completion", "alpaca", "seq2seq"]
    tools: list[str]
    batch_size: PositiveInt
    harness: Literal["lm_eval"] | None
    tasks: list[str]
    tasks_path: str | None
    rerank: str | None
    retry: NonNegativeInt
    accept: float | None
    retry_from: Literal["line", "start"] | None
    past_context: PositiveInt | None
    beside: list[str]


@given_back()
def evaluate(cfg: DictConfig, run: RunFolder) -> None:
    """Prints each metric with its 95 % interval and writes evaluation.json."""
    parts.needs_model(cfg, "task=evaluate")
    settle_torch()
    check_tools(cfg)
    check_keys_are_used(cfg)
    if cfg.get("benchmark") or cfg.evaluate.harness:
        evaluate_questions(cfg, run)
        return
    if cfg.evaluate.past_context is not None:
        evaluate_past_context(cfg, run, parts.torch_device(cfg))
        return
    data = parts.build_data(cfg)
    if cfg.evaluate.tools and not (isinstance(data, Asked) and data.answers is not None):
        raise RequestError("evaluate.tools write in answers, and this data asks nothing.\nType evaluate.tools=[]")
    if "tokens" in data.provides:
        parts.note_missing_bos(cfg, data.tokenizer)
    answers = data.answers if isinstance(data, Asked) else None
    check_beams(cfg.evaluate.beams, cfg.evaluate.length_penalty, against=None if answers else NO_ANSWERS)
    model = parts.build_model(cfg, vocab_size=data.tokenizer.vocab_size)
    if model.encodes_source and not isinstance(data, Asked):
        raise RequestError(
            "task=evaluate measures what an encoder-decoder answers, and this data is plain text: nothing in it is "
            "asked.\nThe validation loss of span corruption stands in its run's summary.json. Tune it, then evaluate: "
            f"{run_py('objective=sft', f'init_from={cfg.init_from}', 'optimizer=adamw_t5')}"
        )
    if answers is None or isinstance(data, JudgedDataModule) or isinstance(model, RewardModel):
        check_answers(
            cfg.evaluate, why_none=NO_ANSWERS if answers is None else "this model judges, and answers nothing"
        )
    if cfg.init_from:
        parts.check_start(cfg, data)
    source, device = parts.load_start(model, cfg), parts.torch_device(cfg)
    settle_reading(cfg, model, run)
    metrics, counted, more = measured(model.to(device), data, device, cfg)
    run.results |= {
        "parameters": model.parameter_counts(),
        "metrics": {f"val/{name}": estimate.value for name, estimate in metrics.items()},
        "data_fingerprint": data.fingerprint,
        "tokenizer_fingerprint": data.tokenizer.fingerprint,
    }
    unit, n, words = counted
    report = {name: estimate._asdict() for name, estimate in metrics.items()}
    report |= more
    target = run.path / "evaluation.json"
    target.write_text(json.dumps(plain({"checkpoint": str(source), "unit": unit, "n": n} | report), indent=2) + "\n")
    print(f"\n{source}: {words}")
    for name, estimate in metrics.items():
        over = "question" if name.startswith(("exact_match", "rouge", "answer_")) else unit
        print(f"  {name:<24}{estimate.value:.4f}   {in_words(estimate, over=over, n=n)}")
    print(f"  written to {target}")


def measured(
    model: Any, data: StepDataModule, device: torch.device, cfg: DictConfig
) -> tuple[dict[str, Estimate], tuple[str, int, str], dict[str, Any]]:
    """Metrics; what their intervals are over, how many of these there are, and in words what was measured; what else
    evaluation.json holds."""
    metrics: dict[str, Estimate] = {}
    if isinstance(data, JudgedDataModule):
        metrics, n, errors = verifier_metrics(model, data, device, seed=cfg.seed)
        asked = len(data.table("val").asked)
        return metrics, ("question", asked, f"{n:,} answers to {asked:,} questions"), {"errors": errors}
    if "pairs" in data.provides:
        metrics, n = pair_metrics(model, data, device, seed=cfg.seed)
        unit, words = "pair", f"{n:,} pairs"
    elif "labels" in data.provides:
        metrics, n = label_metrics(model, data, device, seed=cfg.seed)
        unit, words = "completion", f"{n:,} labelled completions"
    else:
        unit, totals = unit_totals(model, data, device)
        metrics, n = text_metrics(*totals.T, seed=cfg.seed), len(totals)
        words = f"{int(totals[:, 1].sum()):,} tokens in {n:,} {unit}s"
    if isinstance(data, Asked) and data.answers is not None and not isinstance(model, RewardModel):
        found, said = answer_metrics(model, data, cfg)
        metrics, words = metrics | found, words + said
    return metrics, (unit, n, words), {}


def answer_metrics(model: Any, data: Asked, cfg: DictConfig) -> tuple[dict[str, Estimate], str]:
    """exact_match of the answers to held-out questions, or ROUGE of summaries; and in words what was asked."""
    scores, sources = answers_scored(model, data, cfg.evaluate)
    metrics = {name: mean_interval(np.array(v), sources=sources, seed=cfg.seed) for name, v in scores.items()}
    words = f", {len(sources):,} questions answered"
    if len(set(sources)) < len(sources):
        words += f" about {len(set(sources)):,} sources"
    if len(set(sources)) < len(sources) and "exact_match" in scores:
        right = np.array(scores["exact_match"])
        metrics["exact_match_per_source"] = mean_of_sources(right, sources, seed=cfg.seed)
    return metrics, words


def answers_scored(model: Any, data: Asked, settings: DictConfig) -> tuple[dict[str, list[float]], list[str]]:
    """Scores, one a held-out question, of the greedy answer or the best of beams; what each question is about.

    exact_match by the rule of the data, or of summaries ROUGE and length.
    """
    questions, kind = data.questions(settings.limit or 256), data.answers
    if not questions or kind is None:  # none leaves room for an answer
        return {}, []
    longest = max(q.tokens or len(data.tokenizer.encode(q.expected)) for q in questions)
    found = written(
        model,
        [question.prompt.tolist() for question in questions],
        beams=settings.beams,
        length_penalty=settings.length_penalty,
        max_new_tokens=longest + longest // 4 + 1,
        stop_ids=[data.end],
        batch_size=settings.batch_size,
        guide=tool_guide(list(settings.tools), data.tokenizer),
    )
    answers = [answer_of(data.template.answer(c.ids[:-1] if c.stopped else c.ids)) for (c, *_) in found]
    expected, sources = [q.expected for q in questions], [q.source or q.asked for q in questions]
    if kind == "summary":
        return summary_scores(answers, expected, [len(c.ids) - c.stopped for (c, *_) in found]), sources
    pairs = zip(answers, expected, strict=True)
    return {"exact_match": [float(is_right(answer, wanted, kind)) for answer, wanted in pairs]}, sources


def check_tools(cfg: DictConfig) -> None:
    """Raises RequestError for unknown tools, and where nothing is written that they could write in."""
    settings = cfg.evaluate
    tools_named(list(settings.tools))
    reads = "evaluate.harness" if settings.harness else "evaluate.past_context" if settings.past_context else None
    if settings.tools and reads:
        raise RequestError(f"evaluate.tools and {reads}: tools write in free answers only. Leave one of them out.")


def evaluate_questions(cfg: DictConfig, run: RunFolder) -> None:
    """Questions with known answers instead of text; needs nothing of the run's own data."""
    tokenizer = parts.saved_tokenizer(cfg)
    model = parts.trained_model(cfg, tokenizer)
    settle_reading(cfg, model, run)
    run.results |= {"parameters": model.parameter_counts(), "tokenizer_fingerprint": tokenizer.fingerprint}
    if cfg.evaluate.harness:
        parts.note_missing_bos(cfg, tokenizer)
    ask = run_lm_eval if cfg.evaluate.harness else run_benchmark
    ask(cfg, run, model, tokenizer)


@torch.no_grad()
def unit_totals(model: Any, data: StepDataModule, device: torch.device) -> tuple[str, np.ndarray]:
    """Sums over each document, or over each window where all is one document.

    Returns:
        "document" or "window", and (n, 4) float64: nats, tokens, nats of text, bytes of text of each.
    """
    token_bytes = torch.from_numpy(data.tokenizer.token_bytes())
    dataset = data.val_dataset()
    windows: list[np.ndarray] = []
    documents: dict[int, np.ndarray] = defaultdict(lambda: np.zeros(4))
    with evaluating(model):
        for i in shown(range(len(dataset)), "evaluating", unit="batches"):
            batch = {name: value.to(device) for name, value in dataset[i].items()}
            nll_BT, targets_BT = model(**model.inputs_of(batch)).nll_BT, batch["targets"]
            windows += [text_sums(*row, token_bytes).numpy() for row in zip(nll_BT, targets_BT, strict=True)]
            for index in set(batch["document_index"].unique().tolist()) - {-1}:  # -1: padding
                outside_BT = batch["document_index"] != index
                inside = targets_BT.masked_fill(outside_BT, IGNORE)
                documents[index] += text_sums(nll_BT, inside, token_bytes).numpy()
    unit, rows = ("document", list(documents.values())) if len(documents) > 1 else ("window", windows)
    totals = np.array(rows, dtype=np.float64)
    return unit, totals[totals[:, 1] > 0]  # without padding rows
