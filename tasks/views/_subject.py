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
from models.generation import generate
from models.sampling import GREEDY
from models.sources import cropped, source_lengths
from tasks import parts
from tasks.hardware.reading import settle_reading
from tasks.trainer import settle_torch
from tokenization.base import Tokenizer
from tokenization.chat import chat_template


class Subject(NamedTuple):
    """`ids`: at most inspect.tokens of the text. `where`: which text it is. `data`: None where the text was typed.
    `source`: how many of the ids an encoder reads; 0 for a decoder."""

    model: LanguageModel
    tokenizer: Tokenizer
    ids: list[int]
    where: str
    data: StepDataModule | None = None
    source: int = 0

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
    settle_torch()
    tokenizer = parts.saved_tokenizer(cfg) if tokenizer is None else tokenizer
    model = parts.trained_model(cfg, tokenizer).eval()
    settle_reading(cfg, model)
    return model, tokenizer


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
    if model.encodes_source:
        return question_and_answer(cfg, model, tokenizer, data, n)
    ids = ids[: min(n, model.seq_len)]
    if len(ids) < 2:
        raise RequestError(f"inspect.text={cfg.inspect.text!r} is {len(ids)} token(s) long: expected at least 2.")
    return Subject(model, tokenizer, ids, where, data)


def question_and_answer(
    cfg: DictConfig, model: LanguageModel, tokenizer: Any, data: StepDataModule | None, n: int
) -> Subject:
    """For an encoder-decoder: inspect.text and the greedy answer to it, or the first row of validation; at most n
    tokens, of each side half at least."""
    if data is None:
        turns, tokenizer = chat_template(tokenizer, parts.asking_style(cfg))
        prompt = turns.render_for_completion([{"role": "user", "content": str(cfg.inspect.text)}]).tolist()
        prompt = [*prompt[: model.seq_len - 2], prompt[-1]] if len(prompt) > model.seq_len else prompt
        most = min(n, model.seq_len)
        made = generate(model, [prompt], max_new_tokens=most, sampling=GREEDY, stop_ids=[turns.end, tokenizer.eot])
        source, answer, where = prompt[:-1], [prompt[-1], *made[0][0].ids], "inspect.text and the answer to it"
    else:
        row = data.val_dataset()[0]
        first = int(source_lengths(row["targets"][:1])[0])
        ids = first_tokens(data)
        source, answer, where = ids[:first], ids[first:], "the first question of the validation data"
    shown = cropped(source, answer, n)
    if shown.cut:
        where += f", cut from {len(shown.ids) + shown.cut} tokens"
    return Subject(model, tokenizer, shown.ids, where, data, shown.source)


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
    texts = list(map(tokenizer.texts_of_ids(), ids))
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
