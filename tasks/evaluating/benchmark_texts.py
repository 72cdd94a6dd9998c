"""task=evaluate benchmark=wikitext2: perplexity of given texts, with any tokenizer comparable by words and by bytes."""

import json
import math
from itertools import islice
from typing import Any

import numpy as np
from omegaconf import DictConfig

from datamodules.reading.ignored import Ignored
from errors import RequestError
from evaluation.benchmarks.texts import Document, Texts
from evaluation.intervals import Estimate, in_words, ratio_interval
from evaluation.likelihood import continuation_logprobs, rolling_pairs
from launcher.jobs.run_folder import RunFolder
from launcher.jobs.summary import plain
from progress import shown
from tasks import parts
from tasks.evaluating.benchmark_data import rows_of, told_ignored
from tasks.evaluating.used_keys import check_texts
from tokenization.base import Tokenizer

Counts = dict[str, Any]  # of one document: nats, tokens, words, bytes, and where it stands


def run_texts(
    cfg: DictConfig, run: RunFolder, model: Any, tokenizer: Tokenizer, *, name: str, benchmark: Texts
) -> None:
    """Reads, measures; writes predictions.jsonl and evaluation.json, and prints each metric with its interval."""
    check_texts(cfg.evaluate)
    parts.note_missing_bos(cfg, tokenizer)
    ignored = Ignored()
    documents = load(benchmark, cfg.evaluate.limit, ignored)
    told_ignored(run, ignored)
    counted = [
        measure(model, tokenizer, document, batch_size=cfg.evaluate.batch_size)
        for document in shown(documents, name, unit="documents")
    ]
    metrics = text_metrics(counted, seed=cfg.seed)
    run.results["metrics"] = {f"test/{name}/{key}": estimate.value for key, estimate in metrics.items()}
    facts = {"benchmark": name, "mode": "text", "n": len(counted), "tokens": sum(c["tokens"] for c in counted)}
    facts |= {"ignored": run.results.get("ignored", {})}
    facts |= {key: estimate._asdict() for key, estimate in metrics.items()}
    (run.path / "evaluation.json").write_text(json.dumps(plain(facts), indent=2) + "\n", encoding="utf-8")
    target = run.path / "predictions.jsonl"
    target.write_text("".join(json.dumps(c, ensure_ascii=False) + "\n" for c in counted), encoding="utf-8")
    print(f"\n{name}: {facts['tokens']:,} tokens in {len(counted):,} documents")
    for key, estimate in metrics.items():
        print(f"  {key:<18}{estimate.value:.4f}   {in_words(estimate, over='document', n=len(counted))}")
    print(f"  written to {target}")


def load(benchmark: Texts, limit: int | None, ignored: Ignored | None = None) -> list[Document]:
    """The first `limit` documents; columns beside the text are counted in all rows that were read.

    Raises RequestError where the data is missing or holds no text.
    """
    ignored = Ignored() if ignored is None else ignored
    rows = rows_of(benchmark, benchmark.split, None, ignored)
    for row, _ in rows:
        ignored.beside(benchmark.needs, row)
    found = list(islice(benchmark.documents(rows), limit))
    if not found:
        raise RequestError(f"benchmark.path={benchmark.path}: no text in split {benchmark.split}.")
    return found


def measure(model: Any, tokenizer: Tokenizer, document: Document, *, batch_size: int) -> Counts:
    """Each token is predicted once; a text begins as after the end of another."""
    ids = tokenizer.encode(document.text)
    pairs = rolling_pairs(np.asarray(ids), tokenizer.eot, model.seq_len)
    nats = -float(continuation_logprobs(model, pairs, batch_size=batch_size).sum())
    words, size = len(document.text.split()), len(document.text.encode())
    return {"where": document.where, "nats": nats, "tokens": len(ids), "words": words, "bytes": size}


def text_metrics(counted: list[Counts], *, seed: int) -> dict[str, Estimate]:
    """Per token (of one tokenizer), per word and per byte (of any), each with its interval over documents."""
    nats, tokens, words, size = (np.array([c[k] for c in counted], float) for k in ("nats", "tokens", "words", "bytes"))
    loss, per_word = ratio_interval(nats, tokens, seed=seed), ratio_interval(nats, words, seed=seed)
    bpb = ratio_interval(nats / math.log(2), size, seed=seed)
    perplexity, word_perplexity = (Estimate(*(math.exp(min(v, 700.0)) for v in e)) for e in (loss, per_word))
    return {"loss": loss, "perplexity": perplexity, "word_perplexity": word_perplexity, "bpb": bpb}
