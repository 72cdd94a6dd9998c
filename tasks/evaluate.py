"""task=evaluate: loss, perplexity and bits per byte of a run on its validation split, or on other data.

On conversations also the exact match of answers, on pairs how often the chosen answer is preferred.
"""

import json
from collections import defaultdict
from typing import Any, Literal, TypedDict

import numpy as np
import torch
from omegaconf import DictConfig
from tqdm import tqdm

from batch import IGNORE
from bounds import NonNegativeFloat, NonNegativeInt, PositiveInt
from datamodules.kinds.conversations import ConversationDataModule
from datamodules.kinds.steps import StepDataModule
from datamodules.preference import PairDataModule
from evaluation.answers import is_right
from evaluation.intervals import Estimate, in_words, mean_interval, mean_of_sources, text_metrics
from launcher.jobs.run_folder import RunFolder
from launcher.jobs.summary import plain
from lightning_modules.sums import text_sums
from models.generation import evaluating, generate
from models.heads import RewardModel
from models.sampling import Sampling
from tasks import parts
from tasks.evaluating.benchmark import run_benchmark
from tasks.evaluating.lm_eval import run_lm_eval
from tasks.evaluating.pairs import label_metrics, pair_metrics
from tasks.evaluating.past_context import evaluate_past_context
from tasks.trainer import set_number_formats
from tokenization.chat.messages import answer_of

Asked = ConversationDataModule | PairDataModule


class Evaluate(TypedDict):
    """The section `evaluate`."""

    mode: Literal["choices", "generate"] | None
    shots: NonNegativeInt
    limit: PositiveInt | None
    samples: PositiveInt
    temperature: NonNegativeFloat
    max_new_tokens: PositiveInt | None
    template: Literal["auto", "chat", "plain", "completion", "alpaca", "seq2seq"]
    batch_size: PositiveInt
    harness: Literal["lm_eval"] | None
    tasks: list[str]
    tasks_path: str | None
    past_context: PositiveInt | None
    beside: list[str]


def evaluate(cfg: DictConfig, run: RunFolder) -> None:
    """Prints each metric with its 95 % interval and writes evaluation.json."""
    parts.needs_model(cfg, "task=evaluate")
    set_number_formats()
    if cfg.get("benchmark") or cfg.evaluate.harness:
        evaluate_questions(cfg, run)
        return
    if cfg.evaluate.past_context is not None:
        evaluate_past_context(cfg, run, parts.torch_device(cfg))
        return
    data = parts.build_data(cfg)
    model = parts.build_model(cfg, vocab_size=data.tokenizer.vocab_size)
    if cfg.init_from:
        parts.check_start(cfg, data)
    source, device = parts.load_start(model, cfg), parts.torch_device(cfg)
    metrics, counted = measured(model.to(device), data, device, cfg)
    run.results |= {
        "parameters": model.parameter_counts(),
        "metrics": {f"val/{name}": estimate.value for name, estimate in metrics.items()},
        "data_fingerprint": data.fingerprint,
        "tokenizer_fingerprint": data.tokenizer.fingerprint,
    }
    unit, n, words = counted
    report = {name: estimate._asdict() for name, estimate in metrics.items()}
    target = run.path / "evaluation.json"
    target.write_text(json.dumps(plain({"checkpoint": str(source), "unit": unit, "n": n} | report), indent=2) + "\n")
    print(f"\n{source}: {words}")
    for name, estimate in metrics.items():
        over = "question" if name.startswith("exact_match") else unit
        print(f"  {name:<24}{estimate.value:.4f}   {in_words(estimate, over=over, n=n)}")
    print(f"  written to {target}")


def measured(
    model: Any, data: StepDataModule, device: torch.device, cfg: DictConfig
) -> tuple[dict[str, Estimate], tuple[str, int, str]]:
    """Metrics; what their intervals are over, how many of these there are, and in words what was measured."""
    metrics: dict[str, Estimate] = {}
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
        right, sources = answers_right(model, data, limit=cfg.evaluate.limit or 256, batch_size=cfg.evaluate.batch_size)
        words += f", {len(right):,} questions answered"
        if len(right):
            metrics["exact_match"] = mean_interval(right, sources=sources, seed=cfg.seed)
        if len(set(sources)) < len(right):
            words += f" about {len(set(sources)):,} sources"
            metrics["exact_match_per_source"] = mean_of_sources(right, sources, seed=cfg.seed)
    return metrics, (unit, n, words)


def answers_right(model: Any, data: Asked, *, limit: int, batch_size: int) -> tuple[np.ndarray, list[str]]:
    """(n,) 1.0 where the greedy answer to a held-out question is the expected one, by the rule of the data; sources."""
    questions, kind = data.questions(limit), data.answers
    if not questions or kind is None:  # none leaves room for an answer
        return np.zeros(0), []
    longest = max(q.tokens or len(data.tokenizer.encode(q.expected)) for q in questions)
    found = generate(
        model,
        [question.prompt.tolist() for question in questions],
        max_new_tokens=longest + longest // 4 + 1,
        sampling=Sampling(temperature=0),
        stop_ids=[data.end],
        batch_size=batch_size,
    )
    answers = [answer_of(data.template.answer(c.ids[:-1] if c.stopped else c.ids)) for (c, *_) in found]
    pairs = zip(answers, questions, strict=True)
    right = [is_right(answer, question.expected, kind) for answer, question in pairs]
    return np.array(right, dtype=float), [question.source or question.asked for question in questions]


def evaluate_questions(cfg: DictConfig, run: RunFolder) -> None:
    """Questions with known answers instead of text; needs nothing of the run's own data."""
    tokenizer = parts.saved_tokenizer(cfg)
    model = parts.trained_model(cfg, tokenizer)
    run.results |= {"parameters": model.parameter_counts(), "tokenizer_fingerprint": tokenizer.fingerprint}
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
        for i in tqdm(range(len(dataset)), desc="evaluate", unit="batch", disable=None):
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
