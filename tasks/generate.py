"""task=generate: continue a prompt with a trained model; the text goes to the screen as it comes."""

import sys
from typing import Any

import torch
from omegaconf import DictConfig

from errors import RequestError
from models.generation import generate as generate_tokens
from tasks import parts
from tasks.evaluate import torch_device
from tasks.trainer import set_number_formats


def generate(cfg: DictConfig, run: Any) -> None:
    """Prints the prompt and its continuation; the same `seed` gives the same text. Also written to sample.txt."""
    if not cfg.init_from:
        raise RequestError("task=generate needs a model: type init_from=RUN_FOLDER (see outputs/).")
    check_sampling(cfg)
    set_number_formats()
    tokenizer = parts.saved_tokenizer(cfg)
    model = parts.build_model(cfg, vocab_size=tokenizer.vocab_size)
    parts.load_weights(model, cfg.init_from)
    device = torch_device(cfg)
    ids = list(tokenizer.encode(cfg.prompt)) or [tokenizer.eot]
    tokens = generate_tokens(
        model.to(device),
        torch.tensor([ids], device=device),
        max_new_tokens=cfg.max_new_tokens,
        temperature=cfg.temperature,
        top_k=cfg.top_k,
        top_p=cfg.top_p,
        generator=torch.Generator(device=device).manual_seed(cfg.seed),
        stop=tokenizer.eot,
    )
    text = cfg.prompt + stream(tokens, tokenizer, prefix=cfg.prompt)
    (run.path / "sample.txt").write_text(text + "\n", encoding="utf-8")
    run.results |= {"parameters": model.parameter_counts(), "tokenizer_fingerprint": tokenizer.fingerprint}


def check_sampling(cfg: DictConfig) -> None:
    """Raises RequestError for settings that mean nothing."""
    rules = {
        "max_new_tokens": (cfg.max_new_tokens >= 1, "a positive number of tokens"),
        "temperature": (cfg.temperature >= 0, "0 (the likeliest token) or more"),
        "top_k": (cfg.top_k is None or cfg.top_k >= 1, "1 or more, or null"),
        "top_p": (cfg.top_p is None or 0 < cfg.top_p <= 1, "above 0 and at most 1, or null"),
    }
    for key, (holds, expected) in rules.items():
        if not holds:
            raise RequestError(f"{key}={cfg[key]}: expected {expected}.")


def stream(tokens: Any, tokenizer: Any, *, prefix: str) -> str:
    """Prints text as far as it is certain: the last bytes of an unfinished character wait for the rest."""
    sys.stdout.write(prefix)
    ids: list[int] = []
    shown = 0
    text = ""
    for token in tokens:
        ids.append(int(token))
        text = tokenizer.decode(ids, skip_specials=True)
        certain = len(text.rstrip("\ufffd"))
        sys.stdout.write(text[shown:certain])
        sys.stdout.flush()
        shown = max(shown, certain)
    sys.stdout.write(text[shown:] + "\n")
    return text
