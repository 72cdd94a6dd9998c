"""task=evaluate evaluate.past_context=N: perplexity far past the context, for one run or several side by side."""

import copy
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from omegaconf import DictConfig, OmegaConf

from datamodules.kinds.tokens import TokenDataModule
from errors import RequestError
from evaluation.intervals import Estimate
from evaluation.past_context import Span, ropes, spans, streamed_nll, text_starts, ways
from evaluation.past_context_figure import draw
from launcher.config.inherit import read_run
from launcher.jobs.run_folder import RunFolder
from launcher.jobs.summary import plain
from models.base import LanguageModel
from tasks import parts
from tasks.hardware.reading import settle_reading
from tokenization.base import Tokenizer

MOST = 64  # texts


def evaluate_past_context(cfg: DictConfig, run: RunFolder, device: Any) -> None:
    """Prints a table and writes past_context.json and past_context.png.

    Raises:
        RequestError: runs with different tokenizers or contexts, or a validation side that is too short.
    """
    data = parts.build_data(cfg)
    if not isinstance(data, TokenDataModule) or data.streaming:
        raise RequestError("evaluate.past_context needs long text: data= must have token files, such as data=pydoc.")
    length, context = int(cfg.evaluate.past_context), int(cfg.model.seq_len)
    tokens = data.folder.val
    starts = text_starts(len(tokens), length=length, most=MOST, context=context)
    ids_BT = torch.from_numpy(tokens.read(starts, length + 1).astype(np.int64)).to(device)
    nll: dict[str, dict[str, np.ndarray]] = {}
    for name, config in runs_of(cfg, data.tokenizer, context).items():
        model = model_for(config, data.tokenizer.vocab_size, length=length).to(device)
        settle_reading(config, model, run)
        nll[name] = {way: streamed_nll(model, ids_BT, context=context, way=way) for way in ways(model)}
    found = {name: {way: spans(n, context=context, seed=cfg.seed) for way, n in by.items()} for name, by in nll.items()}
    about = f"{len(ids_BT)} texts of {length:,} tokens, context {context}"
    draw(nll, run.path / "past_context.png", context=context, about=about)
    as_json = {name: {way: [s._asdict() for s in of] for way, of in by.items()} for name, by in found.items()}
    report = {"texts": len(ids_BT), "length": length, "context": context, "perplexity": as_json}
    (run.path / "past_context.json").write_text(json.dumps(plain(report), indent=1) + "\n", encoding="utf-8")
    run.results |= {"metrics": {f"val/perplexity_past_context/{name}/{way}": of[-1].perplexity.value
                                for name, by in found.items() for way, of in by.items()}}  # fmt: skip
    print("\n".join(["", about, *table(found)]))
    print(f"  figure  {run.path / 'past_context.png'}\n  numbers {run.path / 'past_context.json'}")


def runs_of(cfg: DictConfig, tokenizer: Tokenizer, context: int) -> dict[str, DictConfig]:
    """The configs of `init_from` and of the runs beside it, by name. Raises RequestError where they do not compare."""
    found = {Path(cfg.init_from or cfg.model.path).name: cfg}
    for folder in cfg.evaluate.beside:
        other = copy.deepcopy(cfg)
        other.init_from = folder
        other.model = read_run(folder)[0].model
        theirs = parts.saved_tokenizer(other)
        if theirs.fingerprint != tokenizer.fingerprint or other.model.seq_len != context:
            raise RequestError(
                f"evaluate.beside: {folder} has a context of {other.model.seq_len} and tokenizer={theirs.kind}, "
                f"{cfg.init_from or cfg.model.path} one of {context} and {tokenizer.kind}; perplexities compare only "
                "where both are the same."
            )
        path = Path(folder)
        # jobs of two sweeps bear the same names
        name = path.name if path.name not in found else f"{path.parent.name}/{path.name}"
        if name in found:
            raise RequestError(f"evaluate.beside: {folder} is named twice.")
        found[name] = other
    return found


def model_for(cfg: DictConfig, vocab_size: int, *, length: int) -> LanguageModel:
    """The run's model; with room for `length` positions if it rotates them, which needs no new weights."""
    model = parts.language_model(cfg, vocab_size=vocab_size)
    if not model.has_cache:
        raise RequestError(
            f"{cfg.init_from or cfg.model.path}: this model works without a cache; there is nothing to measure past it."
        )
    if ropes(model) is not None:
        cfg = OmegaConf.create(OmegaConf.to_container(cfg))  # type: ignore[assignment]
        if "rope_trained_len" in cfg.model and cfg.model.rope_trained_len is None:
            cfg.model.rope_trained_len = cfg.model.seq_len
        cfg.model.seq_len = length
        model = parts.language_model(cfg, vocab_size=vocab_size)
    parts.load_start(model, cfg)
    return model


def table(found: dict[str, dict[str, list[Span]]]) -> list[str]:
    """Lines of perplexity by position; the second half of the 95 % interval's width behind each."""
    first = next(iter(next(iter(found.values())).values()))
    wide = max(len(name) for name in found)
    lines = [f"  {'':<{wide}}  {'':<7}" + "".join(f"{f'{s.start:,} to {s.end:,}':>18}" for s in first)]
    for name, by_way in found.items():
        for way, of in by_way.items():
            cells = [f"{s.perplexity.value:.4g}{half_width(s.perplexity)}" for s in of]
            lines.append(f"  {name:<{wide}}  {way:<7}" + "".join(f"{cell:>18}" for cell in cells))
    return lines


def half_width(estimate: Estimate) -> str:
    return "" if math.isnan(estimate.low) else f" ±{(estimate.high - estimate.low) / 2:.2g}"
