"""What several views look at: a model with its tokenizer, and a text for it to read."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from omegaconf import DictConfig

from batch import IGNORE
from datamodules.kinds.steps import StepDataModule
from errors import RequestError
from inspection.page import Cell
from models.base import LanguageModel
from tasks import parts
from tasks.trainer import set_number_formats
from tokenization.base import Tokenizer


class Subject(NamedTuple):
    """`ids`: at most inspect.tokens of the text. `where`: which text it is. `data`: None where the text was typed."""

    model: LanguageModel
    tokenizer: Tokenizer
    ids: list[int]
    where: str
    data: StepDataModule | None = None

    @property
    def ids_1T(self) -> torch.Tensor:
        return torch.tensor([self.ids], device=next(self.model.parameters()).device)


def load_model(cfg: DictConfig, view: str, tokenizer: Tokenizer | None = None) -> tuple[LanguageModel, Any]:
    """A trained model and its tokenizer. Raises RequestError where none is named."""
    if not (cfg.init_from or "path" in cfg.model):
        raise RequestError(
            f"inspect.view={view} looks into a trained model: type init_from=RUN_FOLDER (see outputs/),\n"
            "or model=hf model.path=<a folder or a Hub id>."
        )
    set_number_formats()
    tokenizer = parts.saved_tokenizer(cfg) if tokenizer is None else tokenizer
    return parts.trained_model(cfg, tokenizer).eval(), tokenizer


def load(cfg: DictConfig, view: str) -> Subject:
    """Model and text: inspect.text as it was typed, else the beginning of the validation data.

    Raises:
        RequestError: no model, or no text.
    """
    n, data = cfg.inspect.tokens, None
    if cfg.inspect.text is not None:
        model, tokenizer = load_model(cfg, view)
        ids, where = list(map(int, tokenizer.encode(str(cfg.inspect.text)))), "inspect.text"
    else:
        if not (cfg.init_from or "path" in cfg.model):
            load_model(cfg, view)  # says what is missing, before any data is prepared
        data = parts.build_data(cfg)
        model, tokenizer = load_model(cfg, view, data.tokenizer)
        ids, where = first_tokens(data), "the beginning of the validation data"
    ids = ids[: min(n, model.seq_len)]
    if len(ids) < 2:
        raise RequestError(f"inspect.text={cfg.inspect.text!r} is {len(ids)} token(s) long: expected at least 2.")
    return Subject(model, tokenizer, ids, where, data)


def first_tokens(data: StepDataModule) -> list[int]:
    """Of the first row of validation, without padding behind it."""
    if "pairs" in data.provides or "labels" in data.provides:
        raise RequestError(
            f"data={type(data).__name__} holds pairs, no text to begin with: type inspect.text='some words'."
        )
    row = data.val_dataset()[0]
    real = np.flatnonzero(row["targets"][0].numpy() != IGNORE)
    return row["ids"][0].tolist()[: int(real[-1]) + 1 if len(real) else None]


def labels(tokenizer: Tokenizer, ids: list[int]) -> list[str]:
    """Text of each token; of parts of characters, their number."""
    texts = [tokenizer.decode([i]) for i in ids]
    return [f"\u2039{i}\u203a" if "\ufffd" in text else text for i, text in zip(ids, texts, strict=True)]


def facts_of(subject: Subject) -> dict[str, object]:
    model = subject.model
    return {
        "model": f"{type(model).__name__}, {model.parameter_counts()['total']:,} parameters",
        "tokenizer": f"{subject.tokenizer.kind}, {subject.tokenizer.vocab_size:,} ids",
        "text": f"{len(subject.ids):,} tokens of {subject.where}",
    }


def shaded(share: float, words: str) -> Cell:
    """A cell of a table, the darker the larger its share of 1."""
    return Cell(words, "n shaded", min(max(share, 0.0), 1.0))
