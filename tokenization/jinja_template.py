"""A Hugging Face tokenizer's own chat template (Jinja), with the mask of what the assistant says.

Where the template marks it (`{% generation %}`), the marks decide. Else a turn is what a longer rendering adds to a
shorter one: the conversation up to where the assistant is asked to speak, and the same with its answer. Never a search
for the answer's text, which may also stand in the question (S9). A template that renders the beginning of a
conversation differently once it goes on, and has no marks, cannot be masked and is refused (S7).

Names of control tokens inside a message are broken by a character that is none, so that only the template can make
control tokens (N13). The rendering is cut where a turn of the assistant begins, and each part is encoded by itself:
what the model is asked with has the ids that it was trained on (N15).
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from datetime import datetime
from functools import cached_property
from typing import Any

from errors import RequestError
from tokenization.base import Tokenizer
from tokenization.chat import NOBODY, ChatTemplate, Message, Segment

BEGIN, END, BREAK = "\ufdd0", "\ufdd1", "\ufdd2"  # Unicode's non-characters: no text has them
PROBE = ({"role": "user", "content": "a"}, {"role": "assistant", "content": "b"})


class JinjaTemplate(ChatTemplate):
    """`tokenizer` has `chat_template`, the Jinja text, and `roles`: {"bos_token": "<s>", ...}."""

    def __init__(self, tokenizer: Tokenizer):
        super().__init__(tokenizer)
        self.roles: dict[str, str] = getattr(tokenizer, "roles", {})
        names = sorted(tokenizer.specials, key=len, reverse=True)
        self._control = re.compile("|".join(map(re.escape, names)))
        self._template = compiled(str(getattr(tokenizer, "chat_template", "")))

    @cached_property
    def _end_name(self) -> str | None:
        """The control token that the template puts after an answer, if any."""
        text, spans = self._spans(list(PROBE))
        found = self._control.findall(text[spans[-1][0] :])
        return found[0] if found else None

    @property
    def end(self) -> int:
        return self.tokenizer.eot if self._end_name is None else self.tokenizer.specials[self._end_name]

    def segments(self, messages: Sequence[Message]) -> list[Segment]:
        text, spans = self._spans(messages)
        parts = self._cut(text, spans)
        if self._end_name is None:  # nothing would teach the model to stop (N27)
            parts.append(Segment([self.end], len(spans)))
        return parts

    def prompt_segments(self, messages: Sequence[Message]) -> list[Segment]:
        text = without_marks(self._render(messages, ask=True))
        spans = self._spans(messages[:-1])[1] if len(messages) > 2 else []  # cut where training cuts
        return [Segment(part.ids) for part in self._cut(text, spans)]

    def _cut(self, text: str, spans: Sequence[tuple[int, int]]) -> list[Segment]:
        """The rendering with each turn of the assistant apart."""
        parts, at = [], 0
        for turn, (start, stop) in enumerate(spans, start=1):
            parts += [*self._encoded(text[at:start], NOBODY), *self._encoded(text[start:stop], turn)]
            at = stop
        return [*parts, *self._encoded(text[at:], NOBODY)]

    def _spans(self, messages: Sequence[Message]) -> tuple[str, list[tuple[int, int]]]:
        """The whole rendering, and where in it each turn of the assistant is, its end included."""
        marked = self._render(messages, ask=False)
        text = without_marks(marked)
        turns = [i for i, message in enumerate(messages) if message["role"] == "assistant"]
        if BEGIN in marked:
            spans = marks_in(marked)
            if len(spans) == len(turns):
                return text, spans
            raise RequestError(
                f"the chat template marks {len(spans)} turns of the assistant in a conversation that has {len(turns)}."
            )
        return text, [self._added_by(messages, i, text) for i in turns]

    def _added_by(self, messages: Sequence[Message], i: int, text: str) -> tuple[int, int]:
        """Where answer `i` is in the rendering of the whole: what it adds to the question before it."""
        asked, answered = self._render(messages[:i], ask=True), self._render(messages[: i + 1], ask=False)
        if not (answered.startswith(asked) and text.startswith(answered)):
            raise RequestError(
                "the tokenizer's chat template renders the beginning of a conversation differently once it goes\n"
                f"on (turn {i + 1}), and has no {{% generation %}} marks: no telling what the assistant says in it.\n"
                "Put {% generation %} ... {% endgeneration %} around it in the template, or type data.template=alpaca."
            )
        last = [found.end() for found in self._control.finditer(answered, len(asked))]
        stop = last[-1] if last and not answered[last[-1] :].strip() else len(answered)  # a line break after the end
        return len(asked), stop

    def _render(self, messages: Sequence[Message], *, ask: bool) -> str:
        """Control names in messages are broken. Raises RequestError where the template refuses the conversation."""
        safe = [{**message, "content": self._broken(message["content"])} for message in messages]
        try:
            return self._template.render(messages=safe, add_generation_prompt=ask, **self.roles)
        except Exception as error:  # Jinja's, and whatever the template's own code raises
            raise RequestError(f"the tokenizer's chat template refuses this conversation: {error}") from None

    def _broken(self, content: str) -> str:
        for sign in (BEGIN, END, BREAK):
            content = content.replace(sign, "")
        return self._control.sub(lambda found: found[0][0] + BREAK + found[0][1:], content)

    def _encoded(self, text: str, turn: int) -> list[Segment]:
        """Text and control tokens of a part of the rendering, in their order."""
        parts, at = [], 0
        for found in self._control.finditer(text):
            parts += [self._plain(text[at : found.start()], turn), Segment([self.tokenizer.specials[found[0]]], turn)]
            at = found.end()
        return [part for part in [*parts, self._plain(text[at:], turn)] if len(part.ids)]

    def _plain(self, text: str, turn: int) -> Segment:
        return Segment(self.tokenizer.encode(text.replace(BREAK, "")), turn)


def without_marks(marked: str) -> str:
    return marked.replace(BEGIN, "").replace(END, "")


def marks_in(marked: str) -> list[tuple[int, int]]:
    """[(start, stop)] of what lies between marks, counted without the marks."""
    spans: list[tuple[int, int]] = []
    for i, found in enumerate(re.finditer(f"{BEGIN}([^{END}]*){END}", marked)):
        start = found.start() - 2 * i
        spans.append((start, start + len(found[1])))
    return spans


def compiled(text: str) -> Any:
    """The template, in Jinja's sandbox with what transformers offers to templates."""
    from jinja2 import TemplateSyntaxError, nodes
    from jinja2.ext import Extension, loopcontrols
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    class Generation(Extension):
        tags = {"generation"}  # noqa: RUF012 - Jinja's own way

        def parse(self, parser: Any) -> Any:
            line = next(parser.stream).lineno
            body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
            return nodes.CallBlock(self.call_method("_mark"), [], [], body).set_lineno(line)

        def _mark(self, caller: Any) -> str:
            return f"{BEGIN}{caller()}{END}"

    def refuse(message: str) -> None:
        raise RequestError(message)

    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, loopcontrols]
    )
    environment.filters["tojson"] = lambda value, indent=None: json.dumps(value, ensure_ascii=False, indent=indent)
    environment.globals |= {"raise_exception": refuse, "strftime_now": lambda form: datetime.now().strftime(form)}
    try:
        return environment.from_string(text)
    except TemplateSyntaxError as error:
        raise RequestError(f"the tokenizer's chat template cannot be read, line {error.lineno}: {error}") from None
