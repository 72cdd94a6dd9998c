"""Our own chat template: every turn between special tokens.

    <|bos|> <|user_start|> question <|user_end|> <|assistant_start|> answer <|assistant_end|> <|user_start|> ...
                                                                     ~~~~~~ ~~~~~~~~~~~~~~~~~ learned

With tools and thinking:

    <|bos|> <|tools_start|> one JSON object a line <|tools_end|> <|user_start|> question <|user_end|>
    <|assistant_start|> <|think_start|> thoughts <|think_end|> text <|call_start|> {"name": ..., "arguments": ...}
                        ~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~ learned
    <|call_end|> <|assistant_end|> <|tool_start|> result <|tool_end|> <|assistant_start|> answer <|assistant_end|>
    ~~~~~~~~~~~~ ~~~~~~~~~~~~~~~~~                                                        ~~~~~~ ~~~~~~~~~~~~~~~~~

The system message opens the first user turn, as in nanochat.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from errors import RequestError
from tokenization.base import Ids, Tokenizer
from tokenization.chat.messages import OPENING, Message, Tools, as_json, as_object, calls_of, reasoning_of, text_of
from tokenization.chat.template import NOBODY, ChatTemplate, Segment

BOS = "<|bos|>"
USER_START, USER_END = "<|user_start|>", "<|user_end|>"
ASSISTANT_START, ASSISTANT_END = "<|assistant_start|>", "<|assistant_end|>"
TURN_SPECIALS = (BOS, USER_START, USER_END, ASSISTANT_START, ASSISTANT_END)  # nanochat's names
TOOLS_START, TOOLS_END = "<|tools_start|>", "<|tools_end|>"  # the tools that there are
THINK_START, THINK_END = "<|think_start|>", "<|think_end|>"
CALL_START, CALL_END = "<|call_start|>", "<|call_end|>"
TOOL_START, TOOL_END = "<|tool_start|>", "<|tool_end|>"  # what a tool gave back
TOOL_SPECIALS = (TOOLS_START, TOOLS_END, THINK_START, THINK_END, CALL_START, CALL_END, TOOL_START, TOOL_END)
CHAT_SPECIALS = (*TURN_SPECIALS, *TOOL_SPECIALS)


class SpecialsTemplate(ChatTemplate):
    """A tokenizer that has only the specials of turns, as nanochat's, knows neither tools nor thinking."""

    def __init__(self, tokenizer: Tokenizer):
        super().__init__(tokenizer)
        missing = [name for name in TURN_SPECIALS if name not in names_of_specials(tokenizer)]
        if missing:
            raise RequestError(
                f"tokenizer={tokenizer.kind} has no {', '.join(missing)}: it cannot mark whose turn it is.\n"
                "Train with objective=sft, which adds them, or type data.template=alpaca."
            )
        self._ids: dict[str, int] = {}  # the specials', looked up once for each conversation

    @property
    def end(self) -> int:
        return self.tokenizer.specials[ASSISTANT_END]

    def segments(self, messages: Sequence[Message], tools: Tools) -> list[Segment]:
        self._ids = self.tokenizer.specials
        parts, turn = [self._special(BOS)], NOBODY
        if tools:
            parts += self._between(TOOLS_START, "\n".join(map(as_json, tools)), TOOLS_END)
        for message in merge_system(messages):
            if message["role"] == "assistant":
                turn += 1
                parts += self._answer(message, turn)
            elif message["role"] == "tool":
                parts += self._between(TOOL_START, text_of(message), TOOL_END)
            else:
                parts += self._between(USER_START, text_of(message), USER_END)
        return parts

    def prompt_segments(self, messages: Sequence[Message], tools: Tools) -> list[Segment]:
        return [*self.segments(messages, tools), self._special(ASSISTANT_START)]

    def answer(self, ids: Ids) -> Message:
        """Cut at its specials; those that are out of place stay in the text by their names."""
        content, thoughts, calls, rest = "", "", [], [int(i) for i in ids]
        specials = self.tokenizer.specials
        while rest:
            opening = {
                specials.get(THINK_START): specials.get(THINK_END),
                specials.get(CALL_START): specials.get(CALL_END),
            }
            start = next((n for n, i in enumerate(rest) if i in opening), len(rest))
            content += self.tokenizer.decode(rest[:start])
            if start == len(rest):
                break
            stop = next((n for n, i in enumerate(rest) if n > start and i == opening[rest[start]]), len(rest))
            inside = self.tokenizer.decode(rest[start + 1 : stop])
            if rest[start] == specials.get(THINK_START):
                thoughts += inside
            elif isinstance(call := as_object(inside), dict) and isinstance(call.get("name"), str):
                calls.append({"type": "function", "function": call})
            else:
                content += self.tokenizer.decode(rest[start : stop + 1])
            rest = rest[stop + 1 :]
        message = {"role": "assistant", "content": content}
        return (
            message | ({"reasoning_content": thoughts} if thoughts else {}) | ({"tool_calls": calls} if calls else {})
        )

    def _answer(self, message: Message, turn: int) -> Iterable[Segment]:
        yield self._special(ASSISTANT_START)
        if reasoning := reasoning_of(message):
            yield from self._between(THINK_START, reasoning, THINK_END, turn)
        yield Segment(self.tokenizer.encode(text_of(message)), turn)
        for call in calls_of(message):
            yield from self._between(CALL_START, as_json(call), CALL_END, turn)
        yield self._special(ASSISTANT_END, turn)

    def _between(self, start: str, text: str, end: str, turn: int = NOBODY) -> list[Segment]:
        return [self._special(start, turn), Segment(self.tokenizer.encode(text), turn), self._special(end, turn)]

    def _special(self, name: str, turn: int = NOBODY) -> Segment:
        found = self._ids.get(name)
        if found is None:
            raise RequestError(
                f"this tokenizer has no {name}: it was made for conversations without tools and thinking.\n"
                "Start from a model without a chat template, which gets all of them, or leave tools and thinking out."
            )
        return Segment([found], turn)


def with_specials(tokenizer: Tokenizer, names: Sequence[str]) -> Tokenizer:
    """The tokenizer with specials of these names; new ones get the ids after all others, so that no id changes."""
    new = [name for name in names if name not in names_of_specials(tokenizer)]
    return tokenizer.with_names(new) if new else tokenizer


def names_of_specials(tokenizer: Tokenizer) -> set[str]:
    """All of them, also of a tokenizer that is not trained yet and so knows no ids."""
    return {*tokenizer.special_names, *tokenizer.own_specials}


def merge_system(messages: Sequence[Message]) -> list[Message]:
    """System messages become the beginning of the first user turn; empty ones say nothing."""
    turns = [message for message in messages if message["role"] not in OPENING]
    system = [text for message in messages if message["role"] in OPENING and (text := text_of(message))]
    if not system or not turns:
        return turns
    return [{"role": "user", "content": "\n\n".join([*system, text_of(turns[0])])}, *turns[1:]]
