"""task=chat: a conversation in the terminal; answers appear as they are written."""

import json
from typing import Any, Literal

from omegaconf import DictConfig

from bounds import NonNegativeFloat, PositiveInt, PositiveShare, Text
from errors import RequestError
from models.generation import stream
from models.sampling import Sampling
from tasks import parts
from tasks.text import StopStrings, stream_text
from tasks.trainer import set_number_formats
from tokenization.chat import CHAT_SPECIALS, chat_template


def chat(
    cfg: DictConfig,
    run: Any,
    *,
    system: Text,
    max_new_tokens: PositiveInt,
    temperature: NonNegativeFloat,
    top_k: PositiveInt | None,
    top_p: PositiveShare | None,
    template: Literal["chat", "alpaca", "plain", "seq2seq"],
) -> None:
    """Reads a line, answers, until an empty line or the end of the input. Writes chat.json."""
    parts.needs_model(cfg, "task=chat")
    sampling = Sampling(temperature, top_k, top_p)
    set_number_formats()
    tokenizer = parts.saved_tokenizer(cfg)
    missing = [name for name in CHAT_SPECIALS if name not in tokenizer.specials]
    if template == "chat" and missing and not getattr(tokenizer, "chat_template", None):
        raise RequestError(
            f"this model's tokenizer has no {', '.join(missing)}: it was not trained on conversations.\n"
            "Train one with objective=sft, or type template=plain."
        )
    turns, tokenizer = chat_template(tokenizer, template)
    model = parts.trained_model(cfg, tokenizer)
    opening = [{"role": "system", "content": system}] if system else []
    messages = opening
    while question := _ask():
        # plain templates know one question at a time
        messages = [*(messages if template == "chat" else opening), {"role": "user", "content": question}]
        ids = fitting(turns, messages, model.seq_len)
        tokens = stream(
            model,
            ids,
            max_new_tokens=max_new_tokens,
            sampling=sampling,
            seed=cfg.seed + len(messages),
            stop_ids=[turns.end, tokenizer.eot],
        )
        answer = stream_text((token.id for token in tokens), StopStrings(tokenizer, []))
        print()
        messages.append({"role": "assistant", "content": answer})
        (run.path / "chat.json").write_text(json.dumps(messages, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


def fitting(turns: Any, messages: list[dict[str, str]], seq_len: int) -> list[int]:
    """Ids of the conversation, its oldest turns left out as long as it does not fit.

    Raises:
        RequestError: the question alone is too long.
    """
    kept = list(messages)
    while True:
        ids = [int(i) for i in turns.render_for_completion(kept)]
        if len(ids) < seq_len:
            return ids
        first = 1 if kept[0]["role"] == "system" else 0
        if len(kept) - first < 3:
            raise RequestError(f"a question of {len(ids)} tokens is longer than the model's context of {seq_len}.")
        del kept[first : first + 2]


def _ask() -> str:
    try:
        return input("> ").strip()
    except EOFError:
        return ""
