"""Rows of preference data -> prompt, chosen and rejected answer. The formats that TRL documents, and Anthropic's.

    {"prompt": text or messages, "chosen": text or messages, "rejected": text or messages}
    {"chosen": whole conversation, "rejected": whole conversation}      the prompt is what both share (implicit)

as text or as messages; `margin`, or a pair of scores, may stand beside. A row that is no pair is dropped and counted.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from errors import RequestError
from tokenization.chat import Message, check_messages

Row = Mapping[str, Any]
TURN = re.compile(r"\n\n(Human|Assistant):[ \t]?")  # how hh-rlhf marks turns in its text
SPEAKER = {"Human": "user", "Assistant": "assistant"}


class Preference(NamedTuple):
    """A conversation that ends with the user's turn, and two answers to it."""

    prompt: Sequence[Message]
    chosen: str
    rejected: str
    margin: float | None = None


class UnusableError(ValueError):
    """Why a row is no pair, in a few words; rows are counted by them."""


def preferences(
    rows: Iterable[tuple[Row, str]], dropped: Counter[str], *, scores: Sequence[str] = ()
) -> Iterator[Preference]:
    """The pairs among `rows`, each with the place where it stands; what is none is counted in `dropped` by its reason.

    Args:
        scores: names of the columns with the scores of chosen and rejected; their difference is the margin.

    Raises:
        RequestError: a row has no columns "chosen" and "rejected".
    """
    for row, where in rows:
        if not {"chosen", "rejected"} <= row.keys():
            raise RequestError(
                f"{where}: the columns are {', '.join(map(repr, row))}; expected 'chosen' and 'rejected'"
                " (and 'prompt', where they do not begin with it)."
            )
        try:
            yield read_row(row, scores)
        except UnusableError as reason:
            dropped[str(reason)] += 1


def read_row(row: Row, scores: Sequence[str] = ()) -> Preference:
    """Raises UnusableError where the row is no pair."""
    prompt, chosen, rejected = row.get("prompt"), row["chosen"], row["rejected"]
    if isinstance(chosen, str) and isinstance(rejected, str):
        pair = text_pair(prompt, chosen, rejected)
    elif is_messages(chosen) and is_messages(rejected):
        pair = message_pair(prompt, list(chosen), list(rejected))
    else:
        raise UnusableError("chosen or rejected is neither text nor messages")
    if not pair.chosen.strip() or not pair.rejected.strip():
        raise UnusableError("an answer is empty")
    if pair.chosen == pair.rejected:
        raise UnusableError("chosen and rejected are the same")
    try:
        check_messages(pair.prompt, complete=False)
    except RequestError:
        raise UnusableError("the prompt is not a conversation that ends with the user") from None
    return pair._replace(margin=margin_of(row, scores))


def text_pair(prompt: Any, chosen: str, rejected: str) -> Preference:
    if isinstance(prompt, str):
        # ultrafeedback and others repeat the prompt at the head of both
        if prompt and chosen.startswith(prompt) and rejected.startswith(prompt):
            chosen, rejected = chosen[len(prompt) :], rejected[len(prompt) :]
        return Preference([{"role": "user", "content": prompt}], chosen, rejected)
    if prompt is not None:
        if not is_messages(prompt):
            raise UnusableError("the prompt is neither text nor messages")
        return Preference(list(prompt), chosen, rejected)
    if TURN.match(chosen) and TURN.match(rejected):
        return message_pair(None, dialogue(chosen), dialogue(rejected))
    shared = shared_text(chosen, rejected)
    return Preference([{"role": "user", "content": shared}], chosen[len(shared) :], rejected[len(shared) :])


def shared_text(a: str, b: str) -> str:
    """The common beginning of two texts, up to its last white space: no word is cut in two."""
    n = next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
    while n > 0 and not a[n - 1].isspace():
        n -= 1
    return a[:n]


def dialogue(text: str) -> list[Message]:
    """hh-rlhf's text, "\\n\\nHuman: ...\\n\\nAssistant: ...", as messages."""
    _, *parts = TURN.split(text)
    turns = zip(parts[::2], parts[1::2], strict=True)
    return [{"role": SPEAKER[who], "content": said.strip()} for who, said in turns]


def message_pair(prompt: Any, chosen: list[Message], rejected: list[Message]) -> Preference:
    if prompt is None or prompt == "":
        n = next((i for i, (x, y) in enumerate(zip(chosen, rejected, strict=False)) if x != y), None)
        # one is the other's beginning: the answer of the shorter one is its last message
        n = min(len(chosen), len(rejected)) - 1 if n is None else n
        prompt, chosen, rejected = chosen[:n], chosen[n:], rejected[n:]
    else:
        prompt = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else list(prompt)
        if chosen[: len(prompt)] == prompt and rejected[: len(prompt)] == prompt:
            chosen, rejected = chosen[len(prompt) :], rejected[len(prompt) :]
    if len(chosen) != 1 or len(rejected) != 1 or {m.get("role") for m in (chosen[0], rejected[0])} != {"assistant"}:
        raise UnusableError("chosen and rejected are not one answer each to the same prompt")
    better, worse = chosen[0].get("content"), rejected[0].get("content")
    if not isinstance(better, str) or not isinstance(worse, str):
        raise UnusableError("an answer is no text")
    return Preference(prompt, better, worse)


def margin_of(row: Row, scores: Sequence[str]) -> float | None:
    if scores:
        values = [row.get(name) for name in scores]
        if not all(isinstance(value, int | float) for value in values):
            raise UnusableError(f"{' or '.join(scores)} is no number")
        return float(values[0] - values[1])  # type: ignore[operator]
    margin = row.get("margin")
    return float(margin) if isinstance(margin, int | float) else None


def is_messages(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(message, Mapping) for message in value)
