"""Rows of preference data -> prompt, chosen and rejected answer. The formats that TRL documents, and Anthropic's.

    {"prompt": text or messages, "chosen": text or messages, "rejected": text or messages}
    {"chosen": whole conversation, "rejected": whole conversation}      the prompt is what both share (implicit)

as text or as messages, with what an assistant thinks and which tools it calls; `margin`, or a pair of scores, may stand
beside, `system`, and `tools`. A row that is no pair is dropped and counted; a column that is not used is counted, or
refused where it would change what is learned.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from datamodules.reading.cells import with_messages
from datamodules.reading.formats import TOOLS, tools_of, turn
from datamodules.reading.ignored import Field, Fields, Ignored, check_fields
from errors import RequestError
from tokenization.chat import Message, check_messages
from tokenization.chat.messages import FIELDS, REASONING, answer_of, check_message, is_learned, reasoning_of

Row = Mapping[str, Any]
TURN = re.compile(r"\n\n(Human|Assistant):[ \t]?")  # how hh-rlhf marks turns in its text
SPEAKER = {"Human": "user", "Assistant": "assistant"}
AT_LINE = re.compile(r"(?:\n|(?:^|\n)(?:Human|Assistant):[ \t]*)$")  # where a prompt ends that the answers repeat
# scripts that are written without spaces: South-East Asian, kana, ideographs, their punctuation
UNSPACED = re.compile(
    "[\u0e00-\u0fff\u1000-\u109f\u1780-\u17ff\u3000-\u30ff\u3400-\u9fff\uf900-\ufaff\uff00-\uffef\U00020000-\U0003ffff]"
)
PROMPTS = ("prompt", "question", "instruction", "query", "conversations", "messages")  # the first of them counts

READS: Fields = {"system": Field((str,), "stands before the prompt")} | TOOLS
KNOWN = {*PROMPTS, "chosen", "rejected", "margin", *READS}
REFUSED = {
    **dict.fromkeys(("input", "context"), Field((), "text that belongs to the prompt")),
    **dict.fromkeys(REASONING, Field((), "thoughts before an answer; they belong into its message")),
    "documents": Field((), "what a template may show beside the messages"),
    "chat_template_kwargs": Field((), "how a template is to render the row"),
    "history": Field((), "turns before the prompt"),
    "weight": Field((), "how much a pair counts"),
    **dict.fromkeys(("image", "images"), Field((), "pictures of the prompt")),
}
KNOWN_IN_MESSAGE = {*FIELDS, "from", "value", "function_call"}


class Preference(NamedTuple):
    """A conversation that ends with the user's turn, and two answers to it: all that they say, as text.

    Args:
        messages: both answers, where they are more than text. tools: what the assistant may call.
    """

    prompt: Sequence[Message]
    chosen: str
    rejected: str
    margin: float | None = None
    messages: tuple[Message, Message] | None = None
    tools: Sequence[Any] = ()

    @property
    def answers(self) -> tuple[Message, Message]:
        """Both answers as messages."""
        return self.messages or (said_by_assistant(self.chosen), said_by_assistant(self.rejected))


class UnusableError(ValueError):
    """Why a row is no pair, in a few words; rows are counted by them."""


def preferences(
    rows: Iterable[tuple[Row, str]],
    dropped: Counter[str],
    *,
    scores: Sequence[str] = (),
    ignored: Ignored | None = None,
) -> Iterator[Preference]:
    """The pairs among `rows`, each with the place where it stands; what is none is counted in `dropped` by its reason.

    Args:
        scores: names of the columns with the scores of chosen and rejected; their difference is the margin.
        ignored: counts the columns and the keys of messages that are not used.

    Raises:
        RequestError: a row has no columns "chosen" and "rejected", a margin that is no number, or a column that would
            change what is learned; names the row.
    """
    ignored = Ignored() if ignored is None else ignored
    known = frozenset({*KNOWN, *scores} - ({"margin"} if scores else set()))
    for row, where in rows:
        if not {"chosen", "rejected"} <= row.keys():
            raise RequestError(
                f"{where}: the columns are {', '.join(map(repr, row))}; expected 'chosen' and 'rejected'"
                " (and 'prompt', where they do not begin with it)."
            )
        row = with_messages(row, (*PROMPTS, "chosen", "rejected"), where)
        prompt = prompt_column(row)
        check_row(row, known - set(PROMPTS) | {prompt}, where, ignored, (prompt, "chosen", "rejected"))
        try:
            yield read_row(row, where, scores)
        except UnusableError as reason:
            dropped[str(reason)] += 1


def check_row(row: Row, known: frozenset[str], where: str, ignored: Ignored, columns: Sequence[str]) -> None:
    """Counts what is not used, in the row and in the messages of `columns`. Raises RequestError for what is refused."""
    check_fields(row, READS, REFUSED, where)
    ignored.beside(known, row)
    for column in columns:
        value: Any = [row[column]] if isinstance(row.get(column), Mapping) else row.get(column)
        if is_messages(value):
            for message in value:
                ignored.beside(KNOWN_IN_MESSAGE, message, "a message's")


def prompt_column(row: Row) -> str:
    """Whole conversations need no prompt beside them: `messages` is one of them once more then."""
    names = PROMPTS[:-1] if is_messages(row["chosen"]) and len(row["chosen"]) > 1 else PROMPTS
    return next((name for name in names if row.get(name) is not None), "prompt")


def read_row(row: Row, where: str, scores: Sequence[str] = ()) -> Preference:
    """Raises UnusableError where the row is no pair, RequestError for a margin that is no number."""
    prompt, chosen, rejected = (as_turns(row.get(name)) for name in (prompt_column(row), "chosen", "rejected"))
    if isinstance(chosen, str) and isinstance(rejected, str):
        pair = text_pair(prompt, chosen, rejected)
    elif is_messages(chosen) and is_messages(rejected):
        pair = message_pair(prompt, chosen, rejected)
    else:
        raise UnusableError("chosen or rejected is neither text nor messages")
    if not pair.chosen.strip() or not pair.rejected.strip():
        raise UnusableError("an answer is empty")
    if pair.chosen == pair.rejected:
        raise UnusableError("chosen and rejected are the same")
    if row.get("system"):
        pair = pair._replace(prompt=[{"role": "system", "content": row["system"]}, *pair.prompt])
    try:
        check_messages(pair.prompt, complete=False)
    except RequestError:
        raise UnusableError("the prompt is not a conversation that ends with the user") from None
    return pair._replace(margin=margin_of(row, scores, where), tools=tools_in(row, where))


def as_turns(value: Any) -> Any:
    """Messages under today's names, one alone too; anything else as it is."""
    value = [value] if isinstance(value, Mapping) else value
    return [*map(turn, value)] if is_messages(value) else value


def tools_in(row: Row, where: str) -> list[Any]:
    """Raises RequestError, naming the row, where they are no tools."""
    try:
        return tools_of(row)
    except RequestError as error:
        raise RequestError(f"{where}: {error}") from None


def text_pair(prompt: Any, chosen: str, rejected: str) -> Preference:
    if isinstance(prompt, str):
        if prompt and is_repeated(prompt, chosen) and is_repeated(prompt, rejected):
            chosen, rejected = chosen[len(prompt) :], rejected[len(prompt) :]
        return Preference([{"role": "user", "content": prompt}], chosen, rejected)
    if prompt is not None:
        if not is_messages(prompt):
            raise UnusableError("the prompt is neither text nor messages")
        return Preference(list(prompt), chosen, rejected)
    if TURN.match(chosen) and TURN.match(rejected):
        return message_pair(None, dialogue(chosen), dialogue(rejected))
    shared = shared_text(chosen, rejected)
    if not shared.strip():
        raise UnusableError("there is no prompt, and chosen and rejected begin differently")
    return Preference([{"role": "user", "content": shared}], chosen[len(shared) :], rejected[len(shared) :])


def is_repeated(prompt: str, answer: str) -> bool:
    """Whether an answer begins with the prompt as a line or a turn of its own: "Apple pie" does not repeat "A"."""
    return answer.startswith(prompt) and bool(AT_LINE.search(prompt) or answer.startswith("\n", len(prompt)))


def shared_text(a: str, b: str) -> str:
    """The common beginning of two texts, up to its last white space: no word is cut in two, no answer is empty.

    Scripts that are written without spaces are cut between any two letters.
    """
    n = next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)) - 1)
    while n > 0 and not (a[n - 1].isspace() or is_between_letters(a, b, n)):
        n -= 1
    return a[: max(0, n)]


def is_between_letters(a: str, b: str, n: int) -> bool:
    """Whether a cut before place `n` falls behind a letter of a script without spaces, and before no mark on it."""
    marks = any(unicodedata.category(text[n]).startswith("M") for text in (a, b))
    return not marks and UNSPACED.match(a[n - 1]) is not None


def dialogue(text: str) -> list[Message]:
    """hh-rlhf's text, "\\n\\nHuman: ...\\n\\nAssistant: ...", as messages."""
    _, *parts = TURN.split(text)
    turns = zip(parts[::2], parts[1::2], strict=True)
    return [{"role": SPEAKER[who], "content": said.strip()} for who, said in turns]


def message_pair(prompt: Any, chosen: list[Message], rejected: list[Message]) -> Preference:
    n = next((i for i, (x, y) in enumerate(zip(chosen, rejected, strict=False)) if said(x) != said(y)), None)
    # one is the other's beginning: the answer of the shorter one is its last message
    n = min(len(chosen), len(rejected)) - 1 if n is None else n
    if prompt is None or prompt == "":
        prompt, chosen, rejected = chosen[:n], chosen[n:], rejected[n:]
    else:
        prompt = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else list(prompt)
        if n >= len(prompt) and [*map(said, chosen[n - len(prompt) : n])] == [*map(said, prompt)]:
            prompt, chosen, rejected = chosen[:n], chosen[n:], rejected[n:]
    if len(chosen) != 1 or len(rejected) != 1 or {m.get("role") for m in (chosen[0], rejected[0])} != {"assistant"}:
        raise UnusableError("chosen and rejected are not one answer each to the same prompt")
    better, worse = checked_answer(chosen[0]), checked_answer(rejected[0])
    return Preference(prompt, everything_in(better), everything_in(worse), messages=(better, worse))


def checked_answer(message: Message) -> Message:
    """Raises UnusableError for what cannot be rendered, or is not to be learned."""
    try:
        check_message(message, 1, may_be_empty=True)
    except RequestError as error:
        raise UnusableError(f"an answer is no text: {str(error).split(': ', 1)[-1]}" if message.get("content") else
                            "an answer is empty") from None  # fmt: skip
    if not is_learned(message):
        raise UnusableError("an answer has weight 0")
    return message


def everything_in(message: Message) -> str:
    return "\n".join(filter(None, [reasoning_of(message), answer_of(message)]))


def said_by_assistant(text: str) -> Message:
    return {"role": "assistant", "content": text}


def said(message: Message) -> tuple[Any, ...]:
    """What of a message is rendered: two messages that differ in a null key are the same."""
    return tuple(message.get(name) or None for name in ("role", "content", "tool_calls", *REASONING))


def margin_of(row: Row, scores: Sequence[str], where: str) -> float | None:
    if not scores:
        return number_of(row.get("margin"), "margin", where)
    better, worse = (number_of(row.get(name), name, where) for name in scores)
    if better is None or worse is None:
        raise UnusableError(f"{' or '.join(scores)} is no number")
    return better - worse


def number_of(value: Any, name: str, where: str) -> float | None:
    """A number, also if a table holds it as text; None: there is none. Raises RequestError for another value."""
    if value is None or (isinstance(value, str) and not value.strip()):
        return None
    try:
        found = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        found = math.nan
    if not math.isfinite(found):
        raise RequestError(f"{where}: column {name!r} is {value!r:.80}: expected a number.")
    return found


def is_messages(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(message, Mapping) for message in value)
