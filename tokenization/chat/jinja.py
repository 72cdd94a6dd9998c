"""A Hugging Face tokenizer's own chat template (Jinja), with the mask of what the assistant says.

Where the template marks it (`{% generation %}`), the marks decide. Else a turn is what the template writes while its
loop is at that message, without the heading that it also writes where the assistant is asked to speak, and without
what follows the token that ends the turn. A template that does not go through the messages is rendered up to the
question and up to the answer: the turn is what is added. Never a search for the answer's text, which may also stand in
the question (S9). Where none of this tells what the assistant says, it is refused (S7).

The text is that of transformers' `apply_chat_template`. Control tokens in it are only those that the template wrote:
`traced.py` knows of every character whether it came from a message or a tool (N13). The rendering is cut where a turn
of the assistant begins, and each part is encoded by itself: what the model is asked with has the ids that it was
trained on (N15).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import cached_property
from itertools import pairwise
from typing import NamedTuple

from errors import RequestError
from tokenization.base import Tokenizer
from tokenization.chat.messages import FLAGS, NOTHING, REASONING, Message, Tools, reasoning_of, text_of
from tokenization.chat.sandbox import Rendering, Turn, compiled
from tokenization.chat.template import NOBODY, ChatTemplate, Segment
from tokenization.chat.traced import DATA, LEARNED, Traced, traced

# runs of flags: of what is marked as learned, of what is the template's own
MARKED, TEMPLATES = re.compile(b"[%c%c]+" % (LEARNED, LEARNED | DATA)), re.compile(b"[%c%c]+" % (0, LEARNED))
PROBE = ({"role": "user", "content": "a"}, {"role": "assistant", "content": "b"})


class Span(NamedTuple):
    """text[start:stop] is what the assistant says in its `turn`: 1, 2, ..."""

    start: int
    stop: int
    turn: int


class JinjaTemplate(ChatTemplate):
    """`tokenizer` has `chat_template`, the Jinja text, `roles`: {"bos_token": "<s>", ...}, and perhaps `moment`."""

    def __init__(self, tokenizer: Tokenizer):
        super().__init__(tokenizer)
        self.roles: dict[str, str] = getattr(tokenizer, "roles", {})
        names = sorted(filter(None, tokenizer.specials), key=len, reverse=True)
        self._control = re.compile("|".join(map(re.escape, names)))
        text, moment = str(getattr(tokenizer, "chat_template", "")), getattr(tokenizer, "moment", None)
        self._sandbox, self._template, self._names = compiled(text, moment)

    @cached_property
    def _end_name(self) -> str | None:
        """The control token that the template puts after an answer, if any."""
        text, spans = self._spans(PROBE, ())
        start, stop, _ = spans[-1]
        inside = [found for found in self._controls(text) if start <= found.start() < stop]
        if inside and not text[inside[-1].end() : stop].strip():
            return inside[-1][0]
        return next((found[0] for found in self._controls(text) if found.start() >= stop), None)

    @property
    def end(self) -> int:
        return self.tokenizer.eot if self._end_name is None else self.tokenizer.specials[self._end_name]

    def segments(self, messages: Sequence[Message], tools: Tools) -> list[Segment]:
        self._check_known(messages)
        text, spans = self._spans(messages, tools)
        parts = self._cut(text, spans)
        if self._end_name is None:  # nothing would teach the model to stop (N27)
            parts.append(Segment([self.end], spans[-1].turn))
        return parts

    def prompt_segments(self, messages: Sequence[Message], tools: Tools) -> list[Segment]:
        text = self._render(messages, tools, ask=True).text
        asked = next((i for i in range(len(messages), 0, -1) if messages[i - 1]["role"] == "assistant"), 0)
        spans = self._spans(messages[:asked], tools)[1] if asked else []  # cut where training cuts
        return [Segment(part.ids) for part in self._cut(text, spans)]

    def not_rendered(self, messages: Sequence[Message], tools: Tools) -> list[str]:
        names = [
            name for m in messages for name, value in m.items() if value not in NOTHING and name not in self._names
        ]
        known = () if self._names.isdisjoint(REASONING) else REASONING  # they stand for each other
        return [
            *(n for n in names if n not in (*FLAGS, *known, "tool_call_id")),
            *(["tools"] if tools and not self._tools else []),
        ]

    # Where turns are ------------------------------------------------------------------------------------------------

    def _spans(self, messages: Sequence[Message], tools: Tools) -> tuple[Traced, list[Span]]:
        """The whole rendering, and where in it each turn of the assistant is, its end included."""
        text, places = self._render(messages, tools, ask=False)
        turns = {i: n for n, i in enumerate(answers_in(messages), start=1)}
        written = [(a, b, turns[i]) for a, b, i in stretches(places) if i in turns]
        if MARKED.search(text._flags):
            return text, self._marked(text, written, len(turns))
        if {turn for _, _, turn in written} == set(turns.values()):
            # asked by the user and by a tool's result may look different
            last = {messages[i - 1]["role"]: i for i in turns}
            headings = {role: self._heading(messages[:i], tools) for role, i in last.items()}
            before = {turn: headings[messages[i - 1]["role"]] for i, turn in turns.items()}
            return text, [self._spoken(text, *part, heading=before[part[2]]) for part in written]
        return text, [self._added_by(messages, tools, i, text, turn) for i, turn in turns.items()]

    def _marked(self, text: Traced, written: list[tuple[int, int, int]], n_turns: int) -> list[Span]:
        """Where `{% generation %}` was."""
        runs = [found.span() for found in MARKED.finditer(text._flags)]
        of = [next((turn for a, b, turn in written if a <= start < b), n) for n, (start, _) in enumerate(runs, start=1)]
        if sorted(set(of)) != list(range(1, n_turns + 1)):
            raise RequestError(
                f"the chat template marks {len(set(of))} turns of the assistant in a conversation that has {n_turns}."
            )
        return [Span(start, stop, turn) for (start, stop), turn in zip(runs, of, strict=True)]

    def _heading(self, asked: Sequence[Message], tools: Tools) -> str:
        """What the template writes behind these messages, and where the assistant is asked to speak."""
        without = plain(self._render(asked, tools, ask=False).text)
        found = self._render(asked, tools, ask=True)
        asking, behind = plain(found.text), found.places[-1][0] if found.places else len(found.text)
        if asking.startswith(without):
            return asking[min(behind, len(without)) :]
        same = next((n for n, (a, b) in enumerate(zip(without, asking, strict=False)) if a != b), len(asking))
        cut = [name.start() for name in self._control.finditer(asking) if name.start() < same < name.end()]
        return asking[min(behind, *cut, same) :]

    def _spoken(self, text: Traced, start: int, stop: int, turn: int, *, heading: str) -> Span:
        """A turn without its heading, or the part of it that ends with a control token, and without what follows its
        own last control token, where that is white space only."""
        ends = [len(heading), *(found.end() for found in reversed(list(self._control.finditer(heading))))]
        own = re.match(rb"\0*", text._flags[start:stop])
        room = own.end() if own else 0
        start += next((n for n in ends if n <= room and text.startswith(heading[:n], start)), 0)
        inside = [found.end() for found in self._controls(text) if start <= found.start() and found.end() <= stop]
        return Span(start, inside[-1] if inside and not text[inside[-1] : stop].strip() else stop, turn)

    def _added_by(self, messages: Sequence[Message], tools: Tools, i: int, text: Traced, turn: int) -> Span:
        """Where answer `i` is in the rendering of the whole: what it adds to the question before it."""
        asked = self._render(messages[:i], tools, ask=True).text
        answered = self._render(messages[: i + 1], tools, ask=False).text
        if not (answered.startswith(asked) and text.startswith(answered)):
            raise RequestError(
                "the tokenizer's chat template renders the beginning of a conversation differently once it goes\n"
                f"on (turn {i + 1}), and has no {{% generation %}} marks: no telling what the assistant says in it.\n"
                "Put {% generation %} ... {% endgeneration %} around it in the template, or type data.template=alpaca."
            )
        return self._spoken(text, len(asked), len(answered), turn, heading="")

    # Rendering ------------------------------------------------------------------------------------------------------

    @cached_property
    def _tools(self) -> bool:
        """Whether the template writes the tools that there are."""
        from jinja2.meta import find_undeclared_variables

        return "tools" in find_undeclared_variables(self._sandbox.parse(str(self.tokenizer.chat_template)))  # type: ignore[attr-defined]

    def _check_known(self, messages: Sequence[Message]) -> None:
        """A call that is left out would teach the model to end its turn where it should call."""
        if any(message.get("tool_calls") for message in messages) and "tool_calls" not in self._names:
            raise RequestError(
                "the tokenizer's chat template knows no tool_calls: the assistant would learn to end its turn where"
                " it should call a tool.\nLeave those conversations out, or give the tokenizer another template."
            )

    def _render(self, messages: Sequence[Message], tools: Tools, *, ask: bool) -> Rendering:
        """Raises RequestError where the template refuses the conversation, or wants too much."""
        variables = {"tools": traced(list(tools)) or None, "documents": None, "add_generation_prompt": ask}
        developer = self._developer if any(message["role"] == "developer" for message in messages) else ""
        turns = [turn_of(message, i, developer=developer) for i, message in enumerate(messages)]
        try:
            return self._sandbox.rendering(self._template, self.roles | variables | {"messages": turns})
        except Exception as error:  # Jinja's, and whatever the template's own code raises
            raise RequestError(f"the tokenizer's chat template refuses this conversation: {error}") from None

    @cached_property
    def _developer(self) -> str:
        """The role of a developer's message: its own, or the system's where the template drops or refuses it."""
        turns = [Turn(role="developer", content="instructions"), Turn(role="user", content="a")]
        for i, turn in enumerate(turns):
            turn._index = i
        with suppress(Exception):
            text = self._sandbox.rendering(self._template, self.roles | {"messages": turns}).text
            return "developer" if "instructions" in text else "system"
        return "system"

    def _controls(self, text: Traced) -> list[re.Match[str]]:
        """Control tokens that the template wrote, no character of which is from the data."""
        own = TEMPLATES.finditer(text._flags)
        return [found for run in own for found in self._control.finditer(plain(text), *run.span())]

    def _cut(self, text: Traced, spans: Sequence[Span]) -> list[Segment]:
        """The rendering with each turn of the assistant apart."""
        parts: list[Segment] = []
        at = 0
        for start, stop, turn in spans:
            parts += [*self._encoded(text[at:start], NOBODY), *self._encoded(text[start:stop], turn)]
            at = stop
        return [*parts, *self._encoded(text[at:], NOBODY)]

    def _encoded(self, text: Traced, turn: int) -> list[Segment]:
        """Text and control tokens of a part of the rendering, in their order."""
        parts, at = [], 0
        for found in self._controls(text):
            parts += [self._plain(text[at : found.start()], turn), Segment([self.tokenizer.specials[found[0]]], turn)]
            at = found.end()
        return [part for part in [*parts, self._plain(text[at:], turn)] if len(part.ids)]

    def _plain(self, text: str, turn: int) -> Segment:
        return Segment(self.tokenizer.encode(plain(text)), turn)


def plain(text: str) -> str:
    """Without flags."""
    return str.__str__(text)


def answers_in(messages: Sequence[Message]) -> list[int]:
    return [i for i, message in enumerate(messages) if message["role"] == "assistant"]


def turn_of(message: Message, i: int, *, developer: str) -> Turn:
    """A message as transformers hands it to a template: no empty fields, thoughts under all their names; here also
    parts of text in one piece, and no flags of training."""
    given = {key: value for key, value in message.items() if value is not None and key not in FLAGS}
    if "content" in given:
        given["content"] = text_of(message)
    if thoughts := reasoning_of(message):
        given = {"thinking": thoughts, **given, "reasoning_content": thoughts}
    turn = Turn(traced(given))
    turn["role"] = developer if message["role"] == "developer" else message["role"]  # checked, so the template's own
    turn._index = i
    return turn


def stretches(places: Sequence[tuple[int, int | None]]) -> Iterator[tuple[int, int, int]]:
    """(start, stop, index of the message) of each piece of text that was written at one message."""
    for (start, index), (stop, _) in pairwise(places):
        if index is not None and start < stop:
            yield start, stop, index
