"""task=generate: continue a prompt with a trained model; one sample goes to the screen as it comes."""

import json
from collections.abc import Iterator, Sequence
from typing import Any

from omegaconf import DictConfig

from bounds import NonNegativeFloat, PositiveFloat, PositiveInt, PositiveShare, Share, Text
from launcher.jobs.run_folder import RunFolder
from models.base import LanguageModel
from models.beams import beam_search, check_beams
from models.generation import Completion, Token, completed, stream
from models.generation import generate as generate_tokens
from models.sampling import Sampling, check_drawn
from tasks import parts
from tasks.drafting import draft_of, tell
from tasks.gate import Gated, gate_of
from tasks.guiding.keys import guide_of, say_unfinished
from tasks.hardware.choice import given_back
from tasks.hardware.reading import settle_reading
from tasks.narrowing import narrowed
from tasks.narrowing import tell as tell_narrow
from tasks.text import StopStrings, stops, stream_text, typed
from tasks.trainer import settle_torch
from tokenization.base import Tokenizer
from tokenization.chat import chat_template

# of the keys and sections that every config has (launcher/config/reads.py)
READS = ("weights", "data.template", "trainer.accelerator", "trainer.products")


@given_back()
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
    tools: list[str],
    schema: str | None,
    regex: str | None,
    n: PositiveInt,
    beams: PositiveInt,
    length_penalty: float,
) -> None:
    """Prints the prompt and `n` continuations; the same `seed` gives the same text. With `beams`, the `n` best found.

    With `generate.verify` each is judged before it is shown, and written again where it is rejected. Writes sample.txt,
    and samples.jsonl with the ids, the log-probability of each, and the places of those that a tool wrote.
    """
    parts.needs_model(cfg, "task=generate")
    prompt, strings = typed(prompt), stops(stop)
    sampling = Sampling(temperature, top_k, top_p, min_p, repetition_penalty)
    check_drawn(sampling)
    drawn = {"top_p and min_p are of drawing, beams are not drawn": top_p is not None or min_p is not None}
    drawn["tools, schema and regex guide what is drawn or greedy"] = bool(tools or schema or regex)
    drawn["a draft writes what is drawn or greedy"] = cfg.generate.get("draft") is not None
    drawn["nothing is drawn, so that a rejected text would come again"] = cfg.generate.verify is not None
    check_beams(beams, length_penalty, against=next((words for words, there in drawn.items() if there), None))
    settle_torch()
    tokenizer = parts.saved_tokenizer(cfg)
    parts.note_missing_bos(cfg, tokenizer)
    guide = guide_of(tokenizer, tools=tools, schema=schema, regex=regex, end=tokenizer.eot)
    model = parts.trained_model(cfg, tokenizer)
    settle_reading(cfg, model, run)
    how: dict[str, Any] = {"max_new_tokens": max_new_tokens, "sampling": sampling, "seed": cfg.seed, "guide": guide}
    draft = how["draft"] = draft_of(cfg, model, tokenizer)
    narrow = narrowed(cfg.generate.get("weights"), model, draft, cfg.generate.get("draft_weights"))
    gate, verdicts = gate_of(cfg, model, temperature), None
    ids, ends, ending = asked(model, tokenizer, prompt, strings, cfg)
    before = f"{prompt}\n" if model.encodes_source else prompt  # an answer is no continuation of its question
    if gate is not None:
        found = gate.written(Gated(model, prompt, ids, ends, how | ending), n)
        completions, verdicts = [verdict.completion for verdict in found], [verdict.facts for verdict in found]
        marks = [verdict.words for verdict in found]
    elif beams > 1:
        settings = ending | {"beams": beams, "length_penalty": length_penalty, "repetition_penalty": repetition_penalty}
        completions = beam_search(model, [ids], n=n, max_new_tokens=max_new_tokens, **settings)[0]
        marks = [f"score {made.score:.4f}" for made in completions]
    elif n == 1:
        print(before, end="", flush=True)
        completions, marks = [show(stream(model, ids, **how, **ending), set(ending["stop_ids"]), ends)], []
    else:
        completions = generate_tokens(model, [ids], n=n, **how, **ending)[0]
        marks = [str(i) for i in range(n)]
    texts = [ends.cut(ends.text(made.ids)) for made in completions] if gate is None else [v.text for v in found]
    if marks:
        print("\n\n".join(f"[{mark}] {before}{text}" for mark, text in zip(marks, texts, strict=True)))
    (run.path / "sample.txt").write_text("\n\n".join(before + text for text in texts) + "\n", encoding="utf-8")
    _write(run, prompt, texts, completions, verdicts)
    tell(draft, run)
    tell_narrow(narrow, model, [(ids, made.ids) for made in completions], run)
    if schema or regex:
        say_unfinished(completions, max_new_tokens)
    if tools:
        run.results["forced_tokens"] = sum(len(c.forced) for c in completions)
    run.results |= {"parameters": model.parameter_counts(), "tokenizer_fingerprint": tokenizer.fingerprint}


def asked(
    model: LanguageModel, tokenizer: Tokenizer, prompt: str, strings: Sequence[str], cfg: DictConfig
) -> tuple[list[int], StopStrings, dict[str, Any]]:
    """Ids of the prompt, what ends its text, and both ends as models.generation takes them.

    To an encoder-decoder the prompt is a question, which its template asks; what is written is the answer.
    """
    ids, end = list(map(int, tokenizer.encode(prompt))) or [tokenizer.eot], tokenizer.eot
    context: Sequence[int] = ids
    if model.encodes_source:
        turns, tokenizer = chat_template(tokenizer, parts.asking_style(cfg))
        ids, end = turns.render_for_completion([{"role": "user", "content": prompt}]).tolist(), turns.end
        context = []
    ends = StopStrings(tokenizer, strings, context=context)
    return ids, ends, {"stop_ids": sorted({end, tokenizer.eot}), "stop": ends if ends.strings else None}


def continuations(
    model: LanguageModel,
    tokenizer: Tokenizer,
    prompt: str,
    cfg: DictConfig,
    *,
    strings: Sequence[str] = (),
    n: int = 1,
    **how: Any,
) -> tuple[list[str], list[Completion]]:
    """`n` continuations as text, up to the first of the stop strings, and as ids. `how`: of models.generation."""
    ids, ends, ending = asked(model, tokenizer, prompt, strings, cfg)
    completions = generate_tokens(model, [ids], n=n, **how, **ending)[0]
    return [ends.cut(ends.text(c.ids)) for c in completions], completions


def show(tokens: Iterator[Token], end_ids: set[int], ends: StopStrings) -> Completion:
    """Prints the text of tokens as they come; returns them."""
    seen: list[Token] = []

    def ids() -> Iterator[int]:
        for token in tokens:
            seen.append(token)
            yield token.id

    stream_text(ids(), ends)
    print()
    new = [token.id for token in seen]
    return completed(seen, new[-1] in end_ids or ends(new))


def _write(
    run: RunFolder,
    prompt: str,
    texts: list[str],
    completions: list[Completion],
    verdicts: list[dict[str, object]] | None = None,
) -> None:
    lines = [
        json.dumps({"prompt": prompt, "text": text, **_facts(completion), **verdict}, ensure_ascii=False)
        for text, completion, verdict in zip(texts, completions, verdicts or [{}] * len(texts), strict=True)
    ]
    (run.path / "samples.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")


def _facts(completion: Completion) -> dict[str, Any]:
    """All of it; the score is that of beams."""
    return {name: value for name, value in completion._asdict().items() if value is not None}
