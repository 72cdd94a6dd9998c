"""Conversations -> ids, and a mask of what is learned. One template for training, evaluation and chat (N15).

A template cuts a conversation into segments, each either template (specials, headings) or content. Content goes through
`Tokenizer.encode`, which never yields a special, whatever it says (N13). The mask follows from the segments, never from
looking for text (S9). What a model is asked with (`render_for_completion`) is a prefix of what it was trained on.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np

from tokenization.base import Ids, Tokenizer
from tokenization.chat.messages import FIELDS, NOTHING, Message, Tools, check_messages, is_learned, prompt_of

Learn = Literal["assistant", "last", "all"]
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
    def segments(self, messages: Sequence[Message], tools: Tools) -> list[Segment]:
        """The conversation in segments; `messages` were checked."""

    @abstractmethod
    def prompt_segments(self, messages: Sequence[Message], tools: Tools) -> list[Segment]:
        """Ids up to where the assistant begins its next turn."""

    def answer(self, ids: Ids) -> Message:
        """What the assistant said with these ids (its end not among them), as a message."""
        return {"role": "assistant", "content": self.tokenizer.decode(ids)}

    def not_rendered(self, messages: Sequence[Message], tools: Tools) -> list[str]:
        """Fields of these messages, once for each message, that this template does not show to the model."""
        return [name for message in messages for name in message if name not in FIELDS and message[name] not in NOTHING]

    def render(self, messages: Sequence[Message], *, learn: Learn = "assistant", tools: Tools = ()) -> Rendered:
        """Ids and mask of a whole conversation, which ends with an assistant's turn.

        Args:
            learn: "assistant": all turns of the assistant, with their ends; "last": its last turn; "all": all tokens.
                Turns of weight 0 (see `messages.FLAGS`) are never learned, nor are their ends.
            tools: descriptions of the tools that the assistant may call, as JSON schemas.

        Raises:
            RequestError: the messages are not a conversation (see `check_messages`).
        """
        check_messages(messages, complete=True)
        learned = [is_learned(message) for message in messages if message["role"] == "assistant"]
        return masked(self.segments(messages, tools), learn, learned)

    def render_for_completion(self, messages: Sequence[Message], *, tools: Tools = ()) -> np.ndarray:
        """(n,) int64: the ids after which the assistant is to speak. A last answer of the assistant is left out.

        Raises:
            RequestError: the messages are not a conversation.
        """
        asked = prompt_of(messages)
        check_messages(asked, complete=False)
        return joined(self.prompt_segments(asked, tools))


def joined(segments: Sequence[Segment]) -> np.ndarray:
    return np.concatenate([np.asarray(segment.ids, dtype=np.int64) for segment in segments])  # (n,)


def turns_of(segments: Sequence[Segment]) -> np.ndarray:
    """(n,) the turn of each token."""
    return np.repeat([segment.turn for segment in segments], [len(segment.ids) for segment in segments])


def masked(segments: Sequence[Segment], learn: Learn, learned: Sequence[bool]) -> Rendered:
    """Segments in one piece. With "last", also the ends of earlier turns are not learned (S10).

    Args:
        learned: for each turn of the assistant, whether it may be learned at all.
    """
    turns = turns_of(segments)  # (n,)
    of_assistant = turns > NOBODY
    chosen = {"all": turns >= NOBODY, "assistant": of_assistant, "last": of_assistant & (turns == turns.max())}[learn]
    return Rendered(joined(segments), chosen & np.array([True, *learned])[turns])
