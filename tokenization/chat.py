"""Conversations -> ids, and a mask of what is learned. One template for training, evaluation and chat (N15).

    <|bos|> <|user_start|> question <|user_end|> <|assistant_start|> answer <|assistant_end|> <|user_start|> ...
                                                                     ~~~~~~ ~~~~~~~~~~~~~~~ learned

A template cuts a conversation into segments, each either template (specials, headings) or content. Content goes through
`Tokenizer.encode`, which never yields a special, whatever it says (N13). The mask follows from the segments, never from
looking for text (S9). What a model is asked with (`render_for_completion`) is a prefix of what it was trained on.
"""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np

from errors import RequestError
from tokenization.base import Tokenizer

BOS = "<|bos|>"
USER_START, USER_END = "<|user_start|>", "<|user_end|>"
ASSISTANT_START, ASSISTANT_END = "<|assistant_start|>", "<|assistant_end|>"
CHAT_SPECIALS = (BOS, USER_START, USER_END, ASSISTANT_START, ASSISTANT_END)  # nanochat's names

# ScienceQA, the same words in training (datamodules/reading/formats.py) and in evaluation
# (evaluation/benchmarks/scienceqa.py)
TUTOR = "You are a helpful science tutor. Choose the right answer, then explain it."
CORRECT_ANSWER = "The correct answer is"

Message = Mapping[str, str]
Learn = Literal["assistant", "last", "all"]
ROLES = ("system", "user", "assistant")
NOBODY = 0  # the turn of a token that no assistant says


class Rendered(NamedTuple):
    """One conversation as tokens."""

    ids: np.ndarray  # (n,) int64
    mask: np.ndarray  # (n,) bool: True where the token is learned, that is predicted from those before it


class Segment(NamedTuple):
    """Tokens that belong together; `turn` is 1, 2, ... for what the assistant says in its turns, else NOBODY."""

    ids: Sequence[int] | np.ndarray
    turn: int = NOBODY


class ChatTemplate(ABC):
    """How conversations look as tokens. The tokenizer may be untrained until the first conversation is rendered."""

    def __init__(self, tokenizer: Tokenizer):
        self.tokenizer = tokenizer

    @property
    @abstractmethod
    def end(self) -> int:
        """The id with which the assistant ends a turn; generation stops there."""

    @abstractmethod
    def segments(self, messages: Sequence[Message]) -> list[Segment]:
        """The conversation in segments; `messages` were checked."""

    @abstractmethod
    def prompt_segments(self, messages: Sequence[Message]) -> list[Segment]:
        """The same up to where the assistant begins its next turn."""

    def render(self, messages: Sequence[Message], *, learn: Learn = "assistant") -> Rendered:
        """Ids and mask of a whole conversation, which ends with an assistant's turn.

        Args:
            learn: "assistant": all turns of the assistant, with their ends; "last": its last turn; "all": all tokens.

        Raises:
            RequestError: the messages are not a conversation (see `check_messages`).
        """
        check_messages(messages, complete=True)
        return masked(self.segments(messages), learn)

    def render_for_completion(self, messages: Sequence[Message]) -> np.ndarray:
        """(n,) int64: the ids after which the assistant is to speak. A last answer of the assistant is left out.

        Raises:
            RequestError: the messages are not a conversation.
        """
        asked = prompt_of(messages)
        check_messages(asked, complete=False)
        return masked(self.prompt_segments(asked), "all").ids


class SpecialsTemplate(ChatTemplate):
    """Specials of our own around each turn. The system message opens the first user turn, as in nanochat."""

    def __init__(self, tokenizer: Tokenizer):
        super().__init__(tokenizer)
        missing = [name for name in CHAT_SPECIALS if name not in names_of_specials(tokenizer)]
        if missing:
            raise RequestError(
                f"tokenizer={tokenizer.kind} has no {', '.join(missing)}: it cannot mark whose turn it is.\n"
                "Train with objective=sft, which adds them, or type data.template=alpaca."
            )

    @property
    def end(self) -> int:
        return self.tokenizer.specials[ASSISTANT_END]

    def segments(self, messages: Sequence[Message]) -> list[Segment]:
        specials, encode = self.tokenizer.specials, self.tokenizer.encode
        parts, turn = [Segment([specials[BOS]])], NOBODY
        for message in merge_system(messages):
            if message["role"] == "user":
                parts.append(Segment([specials[USER_START]]))
                parts.append(Segment(encode(message["content"])))
                parts.append(Segment([specials[USER_END]]))
            else:
                turn += 1
                parts.append(Segment([specials[ASSISTANT_START]]))
                parts.append(Segment(encode(message["content"]), turn))
                parts.append(Segment([self.end], turn))
        return parts

    def prompt_segments(self, messages: Sequence[Message]) -> list[Segment]:
        return [*self.segments(messages), Segment([self.tokenizer.specials[ASSISTANT_START]])]


# Taori et al. 2023, Stanford Alpaca: headings of its prompt
STYLES = {"plain": ("", ""), "alpaca": ("### Instruction:\n", "\n\n### Response:\n")}


class TextTemplate(ChatTemplate):
    """One question, one answer, in plain text that ends with the end-of-text token: for tokenizers without specials."""

    def __init__(self, tokenizer: Tokenizer, style: Literal["plain", "alpaca"]):
        super().__init__(tokenizer)
        self.style, (self.before, self.between) = style, STYLES[style]

    @property
    def end(self) -> int:
        return self.tokenizer.eot

    def segments(self, messages: Sequence[Message]) -> list[Segment]:
        answer = self.tokenizer.encode(messages[-1]["content"])
        return [*self.prompt_segments(messages[:-1]), Segment(answer, 1), Segment([self.end], 1)]

    def prompt_segments(self, messages: Sequence[Message]) -> list[Segment]:
        asked = single_question(messages, self.style)
        return [Segment(self.tokenizer.encode(f"{self.before}{asked}{self.between}"))]


def single_question(messages: Sequence[Message], style: str) -> str:
    """What is asked, a system message in front. Raises RequestError where there are more turns."""
    merged = merge_system(messages)
    if len(merged) != 1:
        raise RequestError(
            f"data.template={style} knows one question and one answer; this conversation has more turns.\n"
            "Type data.template=chat."
        )
    return merged[0]["content"]


PAD, BOS_TOKEN = "<pad>", "bos_token"


class Seq2SeqTemplate(ChatTemplate):
    """What an encoder-decoder of the Hub was trained on: source, end; a start token, the answer, end.

    T5, Pegasus   source </s> | <pad> answer </s>
    BART          <s> source </s> | </s> <s> answer </s>      whose tokenizer has a <s>, which it learns to say first
    """

    def __init__(self, tokenizer: Tokenizer):
        super().__init__(tokenizer)
        name = getattr(tokenizer, "roles", {}).get(BOS_TOKEN)
        self.bos = [] if name is None else [tokenizer.specials[name]]

    @property
    def start(self) -> int:
        """The id that the decoder begins with."""
        return self.end if self.bos else self.tokenizer.specials[PAD]

    @property
    def end(self) -> int:
        return self.tokenizer.eot

    def segments(self, messages: Sequence[Message]) -> list[Segment]:
        answer = self.tokenizer.encode(messages[-1]["content"])
        return [*self.prompt_segments(messages[:-1]), Segment([*self.bos, *answer.tolist(), self.end], 1)]

    def prompt_segments(self, messages: Sequence[Message]) -> list[Segment]:
        source = self.tokenizer.encode(single_question(messages, "seq2seq"))
        return [Segment(self.bos), Segment(source), Segment([self.end, self.start])]


def chat_template(
    tokenizer: Tokenizer, style: Literal["chat", "alpaca", "plain", "seq2seq"] = "chat"
) -> tuple[ChatTemplate, Tokenizer]:
    """The template for a tokenizer, and the tokenizer to use with it.

    Args:
        style: "chat": the tokenizer's own Jinja template if it brings one, else turns between our specials, which are
            added where they lack; "alpaca": its headings in text; "plain": prompt, completion, end; "seq2seq": what
            encoder-decoders of the Hub know.
    """
    if style == "seq2seq":
        tokenizer = with_specials(tokenizer, () if BOS_TOKEN in getattr(tokenizer, "roles", {}) else (PAD,))
        return Seq2SeqTemplate(tokenizer), tokenizer
    if style != "chat":
        return TextTemplate(tokenizer, style), tokenizer
    if getattr(tokenizer, "chat_template", None):
        from tokenization.jinja_template import JinjaTemplate  # only here is Jinja needed

        return JinjaTemplate(tokenizer), tokenizer
    tokenizer = with_specials(tokenizer, CHAT_SPECIALS)
    return SpecialsTemplate(tokenizer), tokenizer


def with_specials(tokenizer: Tokenizer, names: Sequence[str]) -> Tokenizer:
    """The tokenizer with specials of these names; new ones get the ids after all others, so that no id changes."""
    new = [name for name in names if name not in names_of_specials(tokenizer)]
    if not new:
        return tokenizer
    larger = copy.copy(tokenizer)
    larger.special_names = [*tokenizer.special_names, *new]
    return larger


def names_of_specials(tokenizer: Tokenizer) -> set[str]:
    """All of them, also of a tokenizer that is not trained yet and so knows no ids."""
    return {*tokenizer.special_names, *tokenizer.own_specials}


def masked(segments: Sequence[Segment], learn: Learn) -> Rendered:
    """Segments in one piece. With "last", also the ends of earlier turns are not learned (S10)."""
    ids = np.concatenate([np.asarray(segment.ids, dtype=np.int64) for segment in segments])  # (n,)
    turns = np.repeat([segment.turn for segment in segments], [len(segment.ids) for segment in segments])  # (n,)
    if learn == "all":
        return Rendered(ids, np.ones(len(ids), dtype=bool))
    return Rendered(ids, turns > NOBODY if learn == "assistant" else (turns == turns.max()) & (turns > NOBODY))


def prompt_of(messages: Sequence[Message]) -> Sequence[Message]:
    """The conversation without a last answer."""
    return messages[:-1] if messages and messages[-1].get("role") == "assistant" else messages


def merge_system(messages: Sequence[Message]) -> list[Message]:
    """A system message becomes the beginning of the first user turn."""
    if messages[0]["role"] != "system":
        return list(messages)
    first = {"role": "user", "content": f"{messages[0]['content']}\n\n{messages[1]['content']}"}
    return [first, *messages[2:]]


def check_messages(messages: Any, *, complete: bool) -> None:
    """Raises RequestError unless it is [system], user, assistant, user, ..., each with text.

    Args:
        complete: the last turn must be the assistant's (to learn from); else the user's (to answer).
    """
    if not isinstance(messages, Sequence) or isinstance(messages, str) or len(messages) == 0:
        raise RequestError("a conversation without messages: expected a list of {'role': ..., 'content': ...}.")
    for number, message in enumerate(messages, start=1):
        check_message(message, number)
    roles = [message["role"] for message in messages]
    turns = roles[1:] if roles[0] == "system" else roles
    expected = [("user", "assistant")[i % 2] for i in range(len(turns))]
    last = "assistant" if complete else "user"
    if turns != expected or not turns or turns[-1] != last:
        raise RequestError(
            f"roles are {', '.join(roles)}: expected user and assistant in turn, after at most one system message,"
            f" the last one {last}."
        )


def check_message(message: Any, number: int) -> None:
    if not isinstance(message, Mapping) or not {"role", "content"} <= message.keys():
        raise RequestError(f"message {number} is {message!r:.80}: expected {{'role': ..., 'content': ...}}.")
    role, content = message["role"], message["content"]
    if role not in ROLES:
        raise RequestError(f"message {number} has the role {role!r}: expected one of {', '.join(ROLES)}.")
    if not isinstance(content, str):
        raise RequestError(f"message {number} ({role}): content is {type(content).__name__}, expected text.")
    if not content.strip():
        raise RequestError(f"message {number} ({role}) is empty.")
