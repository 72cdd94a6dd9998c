"""task=generate: continue a prompt with a trained model; one sample goes to the screen as it comes."""

import json
from collections.abc import Iterator

from omegaconf import DictConfig

from bounds import NonNegativeFloat, PositiveFloat, PositiveInt, PositiveShare, Share, Text
from launcher.jobs.run_folder import RunFolder
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
    ids = list(map(int, tokenizer.encode(prompt))) or [tokenizer.eot]
    ends = StopStrings(tokenizer, strings, context=ids)
    settings = {
        "max_new_tokens": max_new_tokens,
        "sampling": sampling,
        "seed": cfg.seed,
        "stop_ids": [tokenizer.eot],
        "stop": ends if ends.strings else None,
    }
    if n == 1:
        print(prompt, end="", flush=True)
        completions = [show(stream(model, ids, **settings), tokenizer, ends)]
    else:
        completions = generate_tokens(model, [ids], n=n, **settings)[0]
    texts = [ends.cut(ends.text(c.ids)) for c in completions]
    if n > 1:
        print("\n\n".join(f"[{i}] {prompt}{text}" for i, text in enumerate(texts)))
    _write(run, prompt, texts, completions)
    run.results |= {"parameters": model.parameter_counts(), "tokenizer_fingerprint": tokenizer.fingerprint}


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
