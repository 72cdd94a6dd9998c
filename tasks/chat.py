"""task=chat: a conversation in the terminal; answers appear as they are written."""

import io
import json
import logging
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Literal

from omegaconf import DictConfig

from bounds import NonNegativeFloat, PositiveInt, PositiveShare, Text
from errors import RequestError
from launcher.jobs.run_folder import RunFolder
from models.base import LanguageModel
from models.generation import Memory, stream
from models.sampling import Sampling, check_drawn
from tasks import parts
from tasks.drafting import draft_of, tell
from tasks.gate import Gated, gate_of
from tasks.guiding.keys import guide_of
from tasks.hardware.choice import given_back
from tasks.hardware.reading import settle_reading
from tasks.narrowing import Text as Written
from tasks.narrowing import narrowed
from tasks.narrowing import tell as tell_narrow
from tasks.text import StopStrings, stream_text
from tasks.trainer import settle_torch
from tokenization.base import Tokenizer
from tokenization.chat import TURN_SPECIALS, ChatTemplate, Message, chat_template

log = logging.getLogger(__name__)

# of the keys and sections that every config has (launcher/config/reads.py)
READS = ("weights", "data.template", "trainer.accelerator", "trainer.products")

Style = Literal["auto", "chat", "alpaca", "plain", "seq2seq"]


@given_back()
def chat(
    cfg: DictConfig,
    run: RunFolder,
    *,
    system: Text,
    max_new_tokens: PositiveInt,
    temperature: NonNegativeFloat,
    top_k: PositiveInt | None,
    top_p: PositiveShare | None,
    tools: list[str],
    schema: str | None,
    regex: str | None,
    template: Style,
) -> None:
    """Reads a line, answers, until an empty line or the end of the input. Writes chat.json."""
    parts.needs_model(cfg, "task=chat")
    sampling = Sampling(temperature, top_k, top_p)
    check_drawn(sampling)
    settle_torch()
    tokenizer = parts.saved_tokenizer(cfg)
    style = parts.asking_style(cfg) if template == "auto" else template
    saved = tokenizer
    turns, tokenizer = opened(tokenizer, style)
    guide = guide_of(tokenizer, tools=tools, schema=schema, regex=regex, end=turns.end)
    model = parts.trained_model(cfg, tokenizer)
    settle_reading(cfg, model, run)
    draft = draft_of(cfg, model, saved)
    narrow = narrowed(cfg.generate.get("weights"), model, draft, cfg.generate.get("draft_weights"))
    texts: list[Written] = []
    opening: list[Message] = [{"role": "system", "content": system}] if system else []
    messages, shown = opening, Shown(tokenizer, [])
    gate, memory = gate_of(cfg, model, temperature), Memory()
    left_out = 0
    while question := _ask():
        # plain templates know one question at a time
        messages = [*(messages if style == "chat" else opening), {"role": "user", "content": question}]
        ids, messages, left = asked(turns, messages, opening, model.seq_len)
        if not ids:
            continue
        if left > left_out:
            print(left_out_in_words(left, model.seq_len))
        left_out = left
        answer: list[int] = []
        settings = {
            "max_new_tokens": max_new_tokens,
            "sampling": sampling,
            "seed": cfg.seed + len(messages),
            "stop_ids": [turns.end, tokenizer.eot],
            "guide": guide,
            "draft": draft,
        }
        if gate is None:
            stream_text(said(stream(model, ids, memory=memory, **settings), {turns.end, tokenizer.eot}, answer), shown)
            print()
        else:
            (verdict,) = gate.written(Gated(model, question, ids, StopStrings(tokenizer, []), settings), 1)
            answer = verdict.completion.ids[: -1 if verdict.completion.stopped else None]
            print(f"{shown.text(answer)}\n({verdict.words})")
        messages.append(turns.answer(answer))
        texts.append((ids, answer))
        (run.path / "chat.json").write_text(json.dumps(messages, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    tell(draft, run)
    tell_narrow(narrow, model, texts, run)


def opened(tokenizer: Tokenizer, template: Any) -> tuple[ChatTemplate, Tokenizer]:
    """The template, and the tokenizer to use with it. Raises RequestError where the model has never seen its turns."""
    missing = [name for name in TURN_SPECIALS if name not in tokenizer.specials]
    if template == "chat" and missing and not getattr(tokenizer, "chat_template", None):
        raise RequestError(
            f"this model's tokenizer has no {', '.join(missing)}: it was not trained on conversations.\n"
            "Train one with objective=sft, or type template=plain."
        )
    return chat_template(tokenizer, template)


def answer_to(
    model: LanguageModel, tokenizer: Tokenizer, turns: ChatTemplate, messages: Sequence[Message], **how: Any
) -> str:
    """The text of one answer. `how`: of models.generation. Raises RequestError for what the template refuses."""
    ids, left = fitting(turns, messages, model.seq_len)
    if left:
        log.warning(left_out_in_words(left, model.seq_len))
    answer: list[int] = []
    list(said(stream(model, ids, stop_ids=[turns.end, tokenizer.eot], **how), {turns.end, tokenizer.eot}, answer))
    return Shown(tokenizer, []).text(answer)


class Shown(StopStrings):
    """An answer as it is shown: with the names of the specials in it, which say what is thought and what is called."""

    def text(self, ids: Sequence[int]) -> str:
        return self.tokenizer.decode_after(self.context, ids)


def said(tokens: Iterable[Any], ends: set[int], answer: list[int]) -> Iterator[int]:
    """The ids of an answer as they come, without its end; `answer` takes them."""
    for token in tokens:
        if token.id not in ends:
            answer.append(token.id)
            yield token.id


def asked(
    turns: ChatTemplate, messages: list[Message], opening: list[Message], seq_len: int
) -> tuple[list[int], list[Message], int]:
    """Ids that ask for the answer, the conversation up to there, and how many of its messages are left out.

    Whatever a model answers, the chat goes on: a conversation that its template refuses begins anew with the question,
    and a question that cannot be asked is left out, with no ids.
    """
    try:
        ids, left = fitting(turns, messages, seq_len)
        return ids, messages, left
    except RequestError as error:
        print(error)
    anew = [*opening, messages[-1]]
    try:
        ids, left = fitting(turns, anew, seq_len)
        print("The conversation begins anew.")
        return ids, anew, left
    except RequestError:
        print("The question is left out.")
        return [], messages[:-1], 0


def fitting(turns: ChatTemplate, messages: Sequence[Message], seq_len: int) -> tuple[list[int], int]:
    """Ids of the conversation, its oldest turns left out as long as it does not fit; how many messages these are.

    Raises:
        RequestError: the question alone is too long.
    """
    kept = list(messages)
    while True:
        ids = [int(i) for i in turns.render_for_completion(kept)]
        if len(ids) < seq_len:
            return ids, len(messages) - len(kept)
        first = 1 if kept[0]["role"] == "system" else 0
        later = next((i for i in range(first + 1, len(kept)) if kept[i]["role"] == "user"), 0)
        if not later:
            raise RequestError(f"a question of {len(ids)} tokens is longer than the model's context of {seq_len}.")
        del kept[first:later]


def left_out_in_words(n: int, seq_len: int) -> str:
    return f"(the model no longer sees the {n} oldest messages: they do not fit into its context of {seq_len} tokens)"


def _ask() -> str:
    """What is typed; bytes that are no character, as a pipe may bring them, are shown to the model as unknown ones."""
    if isinstance(sys.stdin, io.TextIOWrapper) and sys.stdin.errors != "replace":  # before the first line
        sys.stdin.reconfigure(errors="replace")
    if sys.stdin is None:  # closed: nobody types
        return ""
    try:
        return input("> ").strip()
    except EOFError:
        return ""
