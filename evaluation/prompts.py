"""Questions as token ids: in the chat template where the tokenizer has one (its own, or specials), else as plain text.

Plain: question, line break, "Answer:"; a choice or an answer follows after a space. Examples come before, with an empty
line between them. Completion and alpaca: one question as data.template=plain and alpaca render it in training; no
examples. What does not fit the context is cut at the front, and counted.
"""

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import numpy as np

from errors import RequestError
from evaluation.benchmarks.base import Question
from tokenization.base import Tokenizer
from tokenization.chat import ASSISTANT_START, ChatTemplate, chat_template

Style = Literal["auto", "chat", "plain", "completion", "alpaca", "seq2seq"]
TRAINED = {
    "plain": "completion",
    "alpaca": "alpaca",
    "seq2seq": "seq2seq",
}  # data.template -> how such a model is asked


class Prompt(NamedTuple):
    """`ids`: what is asked. `choices`: ids of each possible answer, as it would follow. `text`: for the reader."""

    ids: np.ndarray
    choices: list[np.ndarray]
    text: str
    cut: int  # tokens that did not fit


class Prompter:
    """Renders questions for one tokenizer. `stop_ids` and `stop` say where an answer ends.

    Args:
        style: auto asks as the model was trained. trained: data.template of that training, None where it had none.
    """

    def __init__(self, tokenizer: Tokenizer, *, style: Style, context: int, trained: str | None = None):
        can_chat = ASSISTANT_START in tokenizer.specials or bool(getattr(tokenizer, "chat_template", None))
        if style == "auto":
            style = TRAINED.get(trained or "", "chat" if can_chat else "plain")  # type: ignore[assignment]
        if style == "chat" and not can_chat:
            raise RequestError(
                "evaluate.template=chat: this model's tokenizer has no chat template and none of its tokens, so the "
                "model never saw a turn of a conversation.\nType evaluate.template=plain."
            )
        self.tokenizer, self.context, self.style = tokenizer, context, style
        self.template: ChatTemplate | None = None
        self.stop_ids, self.stop = [tokenizer.eot], ["\n\n"] if style == "plain" else []
        if style != "plain":
            rendering: Any = {"completion": "plain"}.get(style, style)
            self.template, self.tokenizer = chat_template(tokenizer, rendering)
            self.stop_ids = [self.template.end, tokenizer.eot]

    def prompt(self, question: Question, shots: Sequence[Question], *, words: str, room: int) -> Prompt:
        """The question after its examples; `room` tokens of the context stay free for an answer, 0: choices follow.

        Raises:
            RequestError: examples for a model that was trained on single questions.
        """
        if shots and self.style in TRAINED.values():
            raise RequestError(
                f"evaluate.shots={len(shots)}: this model was trained on single questions ({self.style}).\n"
                "Type evaluate.shots=0, or evaluate.template=plain."
            )
        if self.template is not None:
            lead = question.lead if room == 0 else ""
            ids, text = self._chat(question, shots, words, lead)
            choices = [self._behind(lead, choice) for choice in question.choices]
        else:
            text = plain_text(question, shots, words)
            ids = self.tokenizer.encode(text)
            choices = [self.plain_answer(question, choice) for choice in question.choices]
        most = max(1, self.context - max([room, *(len(choice) for choice in choices)]))
        return Prompt(ids[-most:], choices, text, max(0, len(ids) - most))

    def plain_answer(self, question: Question, answer: str) -> np.ndarray:
        """(n,) ids of an answer to `question` in plain text, as they stand in an example."""
        return self._behind(plain_text(question, [], ""), answer)

    def _behind(self, before: str, answer: str) -> np.ndarray:
        return self.tokenizer.encode_behind(before, f" {answer}") if before else self.tokenizer.encode(answer)

    def _chat(self, question: Question, shots: Sequence[Question], words: str, lead: str) -> tuple[np.ndarray, str]:
        assert self.template is not None
        messages = [{"role": "system", "content": words}] if words else []
        for shot in shots:
            messages += [{"role": "user", "content": shot.ask}, {"role": "assistant", "content": shot.led_answer}]
        messages.append({"role": "user", "content": question.ask})
        ids = self.template.render_for_completion(messages)
        if lead:
            ids = np.concatenate([ids, self.tokenizer.encode(lead)])
        return ids, self.tokenizer.decode(ids)


def plain_text(question: Question, shots: Sequence[Question], words: str) -> str:
    blocks = [words] if words else []
    blocks += [f"{shot.ask}\nAnswer: {shot.answer}" for shot in shots]
    return "\n\n".join([*blocks, f"{question.ask}\nAnswer:"])
