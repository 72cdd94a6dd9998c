"""From tokens to what OpenAI's clients read: text that grows, log-probabilities, whole answers, pieces of a stream."""

import json
import math
import time
import uuid
from codecs import getincrementaldecoder
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from models.continuous import Request, Written
from tasks.serving.shelf import Loaded
from tasks.text import StopStrings
from tokenization.chat.specials import CALL_END, CALL_START

IMPOSSIBLE = -9999.0  # OpenAI's number for log 0, which JSON has no word for
SPOKEN = ("content", "reasoning_content")


def finite(logprob: float) -> float:
    return logprob if math.isfinite(logprob) else IMPOSSIBLE


def piece(run: Loaded, id: int) -> tuple[str, list[int]]:
    """Text of one token, as it stands among others, and its bytes; a control token's is its name."""
    raw = run.pieces[id]
    if raw is None:
        raw = run.tokenizer.decode([id]).encode("utf-8", "replace")
    return raw.decode("utf-8", "replace"), list(raw)


# a growing text ----------------------------------------------------------------------------------------------------


@dataclass
class Writing:
    """One continuation. `fields` holds its text so far: "text" of a completion, what is said and thought in a chat."""

    run: Loaded
    request: Request
    stop: StopStrings
    chat: bool
    tokens: list[Written] = field(default_factory=list)
    shown: dict[str, int] = field(default_factory=dict)

    @property
    def ended(self) -> str | None:
        return self.tokens[-1].ended if self.tokens else None

    @property
    def ids(self) -> list[int]:
        return [token.id for token in self.tokens]

    def message(self) -> dict[str, Any]:
        """What is said, thought and called so far; of a completion its text."""
        if not self.chat:
            return {"text": self.stop.cut(self.stop.text(self.ids))}
        ids = [id for id in self.ids if id not in self.request.stop_ids]
        if not self.ended:
            ids = self._without_begun_call(ids)
        assert self.run.turns is not None
        message = dict(self.run.turns.answer(ids))
        return message | {"content": self.stop.cut(message.get("content") or "")}

    def _without_begun_call(self, ids: list[int]) -> list[int]:
        """A call is read as a whole, or it is no call."""
        start, end = (self.run.tokenizer.specials.get(name) for name in (CALL_START, CALL_END))
        if start not in ids:
            return ids
        last = len(ids) - 1 - ids[::-1].index(start)
        return ids if end in ids[last:] else ids[:last]

    def delta(self) -> dict[str, Any]:
        """What is certain and has not been handed on yet, by field."""
        message, new = self.message(), {}
        for name in ("text", *SPOKEN):
            text, done = message.get(name) or "", self.shown.get(name, 0)
            certain = len(text) if self.ended else self.stop.certain(text.rstrip("\ufffd"))
            if certain > done:
                new[name], self.shown[name] = text[done:certain], certain
        if self.ended and message.get("tool_calls"):
            new["tool_calls"] = [{"index": i} | call for i, call in enumerate(calls(message["tool_calls"]))]
        return new

    def finish(self) -> str | None:
        return "tool_calls" if self.ended and self.chat and self.message().get("tool_calls") else self.ended

    def whole(self) -> dict[str, Any]:
        """The message as OpenAI's clients expect it."""
        message = self.message() | {"refusal": None}
        if message.get("tool_calls"):
            message |= {"tool_calls": calls(message["tool_calls"]), "content": message["content"] or None}
        return message


def calls(called: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Calls of tools with arguments as text, each with a name of its own."""
    return [
        {
            "id": f"call_{uuid.uuid4().hex[:24]}",
            "type": "function",
            "function": {
                "name": call["function"]["name"],
                "arguments": json.dumps(call["function"].get("arguments", {}), ensure_ascii=False),
            },
        }
        for call in called
    ]


# log-probabilities --------------------------------------------------------------------------------------------------


def chat_logprobs(run: Loaded, tokens: Sequence[Written]) -> dict[str, Any]:
    def entry(id: int, logprob: float) -> dict[str, Any]:
        text, raw = piece(run, id)
        return {"token": text, "logprob": finite(logprob), "bytes": raw}

    content = [entry(t.id, t.logprob) | {"top_logprobs": [entry(*pair) for pair in t.top]} for t in tokens]
    return {"content": content, "refusal": None}


class Offsets:
    """Where each token begins in a text that grows, in characters; a part of a character begins where that does.

    Args:
        at: characters before. alone: the text of ids that begin this one; a text has lost its first blank, maybe.
    """

    def __init__(self, run: Loaded, at: int = 0, *, alone: Callable[[list[int]], str] | None = None):
        self.run, self.at, self.alone = run, at, alone or run.tokenizer.decode
        self.characters, self.first = getincrementaldecoder("utf-8")("replace"), True

    def __call__(self, id: int) -> int:
        begin, raw = self.at, self.run.pieces[id]
        if raw is None:  # a control token: by its name, or not at all
            self.at += len(self.characters.decode(b"", final=True)) + len(self.alone([id]))
        elif self.first and "\ufffd" not in raw.decode("utf-8", "replace"):
            self.at += len(self.alone([id]))
        else:
            self.at += len(self.characters.decode(raw))
        self.first = raw is None
        return begin


def completion_logprobs(
    run: Loaded, tokens: Sequence[Written | None], first: int | None, offsets: Offsets
) -> dict[str, list[Any]]:
    """Lists side by side. `first`: the id of a first token that nothing is said of. `offsets`: goes on."""
    ids: list[int] = [first if token is None else token.id for token in tokens]  # type: ignore[misc]
    return {
        "tokens": [named(run, id) for id in ids],
        "token_logprobs": [None if token is None else finite(token.logprob) for token in tokens],
        "top_logprobs": [None if token is None or not token.request.top else top_of(run, token) for token in tokens],
        "text_offset": [offsets(id) for id in ids],
    }


def top_of(run: Loaded, token: Written) -> dict[str, float]:
    """{text: log-probability}, the token itself among them; of tokens that look the same the likeliest."""
    found: dict[str, float] = {}
    for id, logprob in [*token.top, (token.id, token.logprob)]:
        found.setdefault(named(run, id), finite(logprob))
    return found


def named(run: Loaded, id: int) -> str:
    """The token's text; ids that are no text of their own are told apart by their number."""
    text, raw = piece(run, id)
    return text if list(text.encode()) == raw else f"id:{id}"


# OpenAI's objects ---------------------------------------------------------------------------------------------------


class Envelope:
    """What every object of one answer shares."""

    def __init__(self, run: Loaded, *, chat: bool):
        self.chat, self.model = chat, run.name
        self.id = f"{'chatcmpl' if chat else 'cmpl'}-{uuid.uuid4().hex[:24]}"
        self.created = int(time.time())

    def __call__(self, choices: list[dict[str, Any]], *, piece: bool = False, **more: Any) -> dict[str, Any]:
        kind = ("chat.completion.chunk" if piece else "chat.completion") if self.chat else "text_completion"
        head = {"id": self.id, "object": kind, "created": self.created, "model": self.model}
        return head | {"choices": choices} | more


def usage(prompts: Sequence[Sequence[int]], written: int) -> dict[str, int]:
    read = sum(map(len, prompts))
    return {"prompt_tokens": read, "completion_tokens": written, "total_tokens": read + written}


def error_body(words: str, *, kind: str, param: str | None = None, code: str | None = None) -> dict[str, Any]:
    return {"error": {"message": words, "type": kind, "param": param, "code": code}}


def event(data: Any) -> bytes:
    """One event of a stream."""
    return b"data: " + json.dumps(data, ensure_ascii=False, allow_nan=False).encode("utf-8", "replace") + b"\n\n"


DONE = b"data: [DONE]\n\n"
