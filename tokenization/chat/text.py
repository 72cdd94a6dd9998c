"""One question, one answer, in plain text: for tokenizers without specials."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from errors import RequestError
from tokenization.base import Tokenizer
from tokenization.chat.messages import REASONING, Message, Tools, text_of
from tokenization.chat.specials import merge_system
from tokenization.chat.template import ChatTemplate, Segment

# Taori et al. 2023, Stanford Alpaca: headings of its prompt
STYLES = {"plain": ("", ""), "seq2seq": ("", ""), "alpaca": ("### Instruction:\n", "\n\n### Response:\n")}


class TextTemplate(ChatTemplate):
    """Headings and content, and the end-of-text token after the answer."""

    for_turns = "Type data.template=chat."  # what to type for conversations of several turns

    def __init__(self, tokenizer: Tokenizer, style: Literal["plain", "alpaca", "seq2seq"]):
        super().__init__(tokenizer)
        self.style, (self.before, self.between) = style, STYLES[style]

    @property
    def end(self) -> int:
        return self.tokenizer.eot

    def segments(self, messages: Sequence[Message], tools: Tools) -> list[Segment]:
        if messages[-1].get("tool_calls"):
            raise RequestError(f"data.template={self.style} knows no tool calls.\nType data.template=chat.")
        answer = self.tokenizer.encode(text_of(messages[-1]))
        return [*self.prompt_segments(messages[:-1], tools), Segment(answer, 1), Segment([self.end], 1)]

    def prompt_segments(self, messages: Sequence[Message], tools: Tools) -> list[Segment]:
        merged = merge_system(messages)
        if len(merged) != 1:
            raise RequestError(
                f"data.template={self.style} knows one question and one answer; this conversation has more turns.\n"
                f"{self.for_turns}"
            )
        return [Segment(self.tokenizer.encode(f"{self.before}{text_of(merged[0])}{self.between}"))]

    def not_rendered(self, messages: Sequence[Message], tools: Tools) -> list[str]:
        thoughts = [name for message in messages for name in REASONING if message.get(name) is not None]
        return [*super().not_rendered(messages, tools), *thoughts, *(["tools"] if tools else [])]
