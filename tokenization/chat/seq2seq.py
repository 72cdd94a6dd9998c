"""What encoder-decoders of the Hub were trained on: source, end; a start token, the answer, end.

T5, Pegasus   source </s> | <pad> answer </s>
BART          <s> source </s> | </s> <s> answer </s>      whose tokenizer has a <s>, which it learns to say first
"""

from __future__ import annotations

from collections.abc import Sequence

from tokenization.base import Tokenizer
from tokenization.chat.messages import Message, Tools
from tokenization.chat.specials import with_specials
from tokenization.chat.template import Segment
from tokenization.chat.text import TextTemplate

PAD, BOS_ROLE = "<pad>", "bos_token"


class Seq2SeqTemplate(TextTemplate):
    """One question, one answer, between the tokens of an encoder-decoder."""

    for_turns = (
        "Give rows of one question and one answer each; or type data.template=chat data.learn=last: all before the "
        "last\nanswer is then the source, with tokens between its turns that weights of the Hub have yet to learn."
    )

    def __init__(self, tokenizer: Tokenizer):
        super().__init__(tokenizer, "seq2seq")
        name = getattr(tokenizer, "roles", {}).get(BOS_ROLE)
        self.bos = [] if name is None else [tokenizer.specials[name]]

    @property
    def start(self) -> int:
        """The id that the decoder begins with."""
        return self.end if self.bos else self.tokenizer.specials[PAD]

    def segments(self, messages: Sequence[Message], tools: Tools) -> list[Segment]:
        *asked, answer, end = super().segments(messages, tools)
        return [*asked, *([Segment(self.bos, 1)] if self.bos else []), answer, end]

    def prompt_segments(self, messages: Sequence[Message], tools: Tools) -> list[Segment]:
        return [Segment(self.bos), *super().prompt_segments(messages, tools), Segment([self.end, self.start])]


def with_start(tokenizer: Tokenizer) -> Tokenizer:
    """The tokenizer with a token that starts answers, where it has neither that nor a beginning of texts."""
    return tokenizer if BOS_ROLE in getattr(tokenizer, "roles", {}) else with_specials(tokenizer, (PAD,))
