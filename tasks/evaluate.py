"""task=evaluate: loss, perplexity and bits per byte of a run on its validation split, or on other data."""

import json
import math
from typing import Any

import numpy as np
import torch
from omegaconf import DictConfig
from tqdm import tqdm

from errors import RequestError
from evaluation.intervals import Estimate, text_metrics
from lightning_modules.base import token_totals
from models.generation import evaluating
from tasks import parts
from tasks.trainer import resolve_accelerator, set_number_formats


def evaluate(cfg: DictConfig, run: Any) -> None:
    """Prints each metric with its 95 % interval and writes evaluation.json."""
    if not cfg.init_from:
        raise RequestError("task=evaluate needs a model: type init_from=RUN_FOLDER (see outputs/).")
    set_number_formats()
    data = parts.build_data(cfg)
    model = parts.build_model(cfg, vocab_size=data.tokenizer.vocab_size)
    source = parts.load_weights(model, cfg.init_from)
    device = torch_device(cfg)
    blocks = block_totals(model.to(device), data, device)
    metrics = text_metrics(*blocks.T, seed=cfg.seed)
    run.results |= {
        "parameters": model.parameter_counts(),
        "metrics": {f"val/{name}": estimate.value for name, estimate in metrics.items()},
        "data_fingerprint": data.fingerprint,
        "tokenizer_fingerprint": data.tokenizer.fingerprint,
        "tokens_seen": 0,
    }
    report = {name: estimate._asdict() for name, estimate in metrics.items()}
    (run.path / "evaluation.json").write_text(json.dumps(report | {"blocks": len(blocks)}, indent=2) + "\n")
    print(
        f"\n{source} on {len(blocks):,} blocks of at most {cfg.data.seq_len} tokens, {int(blocks[:, 1].sum()):,} tokens"
    )
    for name, estimate in metrics.items():
        print(f"  {name:<11}{_shown(estimate)}")
    print(f"  written to {run.path / 'evaluation.json'}")


def torch_device(cfg: DictConfig) -> torch.device:
    return torch.device({"gpu": "cuda", "mps": "mps", "cpu": "cpu"}[resolve_accelerator(cfg.trainer.accelerator)])


@torch.no_grad()
def block_totals(model: Any, data: Any, device: torch.device) -> np.ndarray:
    """(n, 4) float64: nats, tokens, nats of text, bytes of text of each validation window."""
    token_bytes = torch.from_numpy(data.tokenizer.token_bytes())
    rows = []
    with evaluating(model):
        for batch in tqdm(data.val_dataloader(), desc="evaluate", unit="batch", disable=None):
            ids, targets = batch["ids"].to(device), batch["targets"].to(device)
            documents = batch["documents"].to(device) if "documents" in batch else None
            nll_BT = model(ids, targets_BT=targets, documents_BT=documents).nll_BT
            rows += [token_totals(nll, target, token_bytes) for nll, target in zip(nll_BT, targets, strict=True)]
    blocks = np.array(rows, dtype=np.float64)
    return blocks[blocks[:, 1] > 0]  # without padding rows


def _shown(estimate: Estimate) -> str:
    if math.isnan(estimate.low):
        return f"{estimate.value:.4f}   (one block: no interval)"
    return f"{estimate.value:.4f}   95 % interval {estimate.low:.4f} to {estimate.high:.4f}"
