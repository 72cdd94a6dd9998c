"""Conversations -> ids and masks. `messages.py`: what a message may hold; `template.py`: what every template does;
`specials.py`: our own; `text.py`: in plain text; `jinja.py`: a Hugging Face tokenizer's own, rendered by `sandbox.py`,
which follows with `traced.py` what came from the data."""

from __future__ import annotations

from typing import Literal

from tokenization.base import Tokenizer
from tokenization.chat.messages import Message, Tools, check_messages, prompt_of
from tokenization.chat.seq2seq import PAD, Seq2SeqTemplate, with_start
from tokenization.chat.specials import (
    ASSISTANT_END,
    ASSISTANT_START,
    BOS,
    CHAT_SPECIALS,
    TURN_SPECIALS,
    SpecialsTemplate,
    names_of_specials,
    with_specials,
)
from tokenization.chat.template import ChatTemplate, Learn, Rendered, Segment
from tokenization.chat.text import TextTemplate

__all__ = [
    "ASSISTANT_END", "ASSISTANT_START", "BOS", "CHAT_SPECIALS", "PAD", "TURN_SPECIALS", "ChatTemplate", "Learn",
    "Message", "Rendered", "Segment", "Seq2SeqTemplate", "SpecialsTemplate", "TextTemplate", "Tools", "chat_template",
    "check_messages", "prompt_of", "with_specials",
]  # fmt: skip


def chat_template(
    tokenizer: Tokenizer, style: Literal["chat", "alpaca", "plain", "seq2seq"] = "chat"
) -> tuple[ChatTemplate, Tokenizer]:
    """The template for a tokenizer, and the tokenizer to use with it.

    Args:
        style: "chat": the tokenizer's own Jinja template if it brings one (that of our exports says what our own turns
            are), else turns between our specials, which are added where those of turns lack; "alpaca": its headings
            in text; "plain": prompt, completion, end; "seq2seq": what encoder-decoders of the Hub were trained on.
    """
    if style == "seq2seq":
        tokenizer = with_start(tokenizer)
        return Seq2SeqTemplate(tokenizer), tokenizer
    if style != "chat":
        return TextTemplate(tokenizer, style), tokenizer
    if getattr(tokenizer, "chat_template", None):
        from tokenization.chat.jinja import JinjaTemplate  # only here is Jinja needed
        from tokenization.exporting import is_ours

        return (SpecialsTemplate if is_ours(tokenizer) else JinjaTemplate)(tokenizer), tokenizer
    if not names_of_specials(tokenizer).issuperset(TURN_SPECIALS):
        tokenizer = with_specials(tokenizer, CHAT_SPECIALS)  # a model that has learned its turns keeps its vocabulary
    return SpecialsTemplate(tokenizer), tokenizer
