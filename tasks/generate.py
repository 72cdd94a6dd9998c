"""task=generate: continue a prompt with a trained model; one sample goes to the screen as it comes."""

import json
from collections.abc import Iterator, Sequence
from typing import Any

from omegaconf import DictConfig

from bounds import NonNegativeFloat, PositiveFloat, PositiveInt, PositiveShare, Share, Text
from launcher.jobs.run_folder import RunFolder
from models.base import LanguageModel
from models.generation import Completion, Token, stream
from models.generation import generate as generate_tokens
from models.sampling import Sampling
from tasks import parts
from tasks.text import StopStrings, stream_text, typed
from tasks.trainer import set_number_formats
from tokenization.base import Tokenizer


def generate(
    cfg: DictConfig,
    run: RunFolder,
    *,
    prompt: Text,
    max_new_tokens: PositiveInt,
    temperature: NonNegativeFloat,
    top_k: PositiveInt | None,
    top_p: PositiveShare | None,
    min_p: Share | None,
    repetition_penalty: PositiveFloat,
    stop: list[str] | str | None,
    n: PositiveInt,
) -> None:
    """Prints the prompt and `n` continuations; the same `seed` gives the same text.

    Writes sample.txt, and samples.jsonl with the ids and the log-probability of each.
    """
    parts.needs_model(cfg, "task=generate")
    prompt, strings = typed(prompt), [typed(s) for s in ([stop] if isinstance(stop, str) else stop or [])]
    sampling = Sampling(temperature, top_k, top_p, min_p, repetition_penalty)
    set_number_formats()
    tokenizer = parts.saved_tokenizer(cfg)
    model = parts.trained_model(cfg, tokenizer)
    how: dict[str, Any] = {"max_new_tokens": max_new_tokens, "sampling": sampling, "seed": cfg.seed}
    if n == 1:
        ids, ends, ending = asked(tokenizer, prompt, strings)
        print(prompt, end="", flush=True)
        completions = [show(stream(model, ids, **how, **ending), tokenizer, ends)]
        texts = [ends.cut(ends.text(c.ids)) for c in completions]
    else:
        texts, completions = continuations(model, tokenizer, prompt, strings=strings, n=n, **how)
    if n > 1:
        print("\n\n".join(f"[{i}] {prompt}{text}" for i, text in enumerate(texts)))
    _write(run, prompt, texts, completions)
    run.results |= {"parameters": model.parameter_counts(), "tokenizer_fingerprint": tokenizer.fingerprint}


def asked(tokenizer: Tokenizer, prompt: str, strings: Sequence[str]) -> tuple[list[int], StopStrings, dict[str, Any]]:
    """Ids of the prompt, what ends its text, and both ends as models.generation takes them."""
    ids = list(map(int, tokenizer.encode(prompt))) or [tokenizer.eot]
    ends = StopStrings(tokenizer, strings, context=ids)
    return ids, ends, {"stop_ids": [tokenizer.eot], "stop": ends if ends.strings else None}


def continuations(
    model: LanguageModel, tokenizer: Tokenizer, prompt: str, *, strings: Sequence[str] = (), n: int = 1, **how: Any
) -> tuple[list[str], list[Completion]]:
    """`n` continuations as text, up to the first of the stop strings, and as ids. `how`: of models.generation."""
    ids, ends, ending = asked(tokenizer, prompt, strings)
    completions = generate_tokens(model, [ids], n=n, **how, **ending)[0]
    return [ends.cut(ends.text(c.ids)) for c in completions], completions


def show(tokens: Iterator[Token], tokenizer: Tokenizer, ends: StopStrings) -> Completion:
    """Prints the text of tokens as they come; returns them."""
    seen: list[Token] = []

    def ids() -> Iterator[int]:
        for token in tokens:
            seen.append(token)
            yield token.id

    stream_text(ids(), ends)
    print()
    new = [token.id for token in seen]
    return Completion(new, [token.logprob for token in seen], new[-1] == tokenizer.eot or ends(new))


def _write(run: RunFolder, prompt: str, texts: list[str], completions: list[Completion]) -> None:
    (run.path / "sample.txt").write_text("\n\n".join(prompt + text for text in texts) + "\n", encoding="utf-8")
    lines = [
        json.dumps({"prompt": prompt, "text": text, **completion._asdict()}, ensure_ascii=False)
        for text, completion in zip(texts, completions, strict=True)
    ]
    (run.path / "samples.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
