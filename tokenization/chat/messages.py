"""Messages as people write them: what a message may hold, and what is taken from it. One reading for all templates.

{"role": "user", "content": "What is 2+3?"}                           content: text, or a list of text parts
{"role": "assistant", "content": null, "tool_calls": [...]}           OpenAI's format, arguments as object or text
{"role": "tool", "content": "5", "tool_call_id": "c1"}
{"role": "assistant", "reasoning_content": "...", "content": "5", "weight": 0}     read, not learned
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from errors import RequestError
from strict_json import value_of

Message = Mapping[str, Any]
Tools = Sequence[Any]
ROLES = ("system", "developer", "user", "assistant", "tool")
OPENING = ("system", "developer")
FLAGS = ("weight", "train", "loss")  # of OpenAI and Mistral, of Axolotl, of ms-swift: 0 or false is not learned
OTHER_FLAGS = ("loss_mask", "mask", "masked", "trainable", "train_on_turn", "training", "train_detail", "loss_weight")
REASONING = ("reasoning_content", "thinking", "reasoning")  # the names that transformers knows, in its order
TEXT_PARTS = ("text", "input_text", "output_text")  # of OpenAI's two formats
NOTHING: tuple[Any, ...] = (None, "", [], {}, ())  # a field with this was not given
# field of a message -> what is done with it; everything else is told by name
FIELDS: dict[str, str] = {
    "role": "who speaks",
    "content": "what is said",
    **dict.fromkeys(FLAGS, "whether the turn is learned"),
    **dict.fromkeys(REASONING, "what the assistant thinks before it speaks"),
    "tool_calls": "the tools that the assistant calls",
    "tool_call_id": "the call that a tool answers; results stand in the order of their calls",
}
AFTER = {  # role -> who may have spoken before
    "system": OPENING,
    "developer": OPENING,
    "user": (*OPENING, "assistant"),
    "assistant": ("user", "tool"),
    "tool": ("assistant", "tool"),
}


# Reading ----------------------------------------------------------------------------------------------------------


def text_of(message: Message) -> str:
    """What is said: text as it is, parts of text joined, nothing as empty text."""
    content = message.get("content")
    if isinstance(content, list | tuple):
        return "".join(part if isinstance(part, str) else str(part["text"]) for part in content)
    return content or ""


def reasoning_of(message: Message) -> str:
    return next((message[name] for name in REASONING if message.get(name) is not None), "")


def calls_of(message: Message) -> list[dict[str, Any]]:
    """[{"name": ..., "arguments": object or text}, ...] of the tools that are called."""
    calls = [call.get("function", call) for call in message.get("tool_calls") or []]
    return [{"name": call["name"], "arguments": as_object(call.get("arguments", {}))} for call in calls]


def as_object(arguments: Any) -> Any:
    """Arguments that are JSON in a text (OpenAI) as the object that they are; other text stays."""
    try:
        return value_of(arguments) if isinstance(arguments, str) else arguments
    except ValueError:
        return arguments


def answer_of(message: Message) -> str:
    """What is said and called, as one text to compare."""
    return "\n".join(filter(None, [text_of(message), *map(as_json, calls_of(message))]))


def is_learned(message: Message) -> bool:
    """False for a turn that a flag takes out of training."""
    return all(message[name] for name in FLAGS if message.get(name) is not None)


def strings_of(messages: Sequence[Message], tools: Tools = ()) -> Iterator[str]:
    """All text of a conversation: what a tokenizer must know to write it."""
    for tool in tools:
        yield as_json(tool)
    for message in messages:
        yield text_of(message)
        if reasoning := reasoning_of(message):
            yield reasoning
        yield from map(as_json, calls_of(message))


def as_json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def prompt_of(messages: Sequence[Message]) -> Sequence[Message]:
    """The conversation without a last answer."""
    return messages[:-1] if messages and messages[-1].get("role") == "assistant" else messages


# Checking ---------------------------------------------------------------------------------------------------------


def check_messages(messages: Any, *, complete: bool) -> None:
    """Raises RequestError unless it is [system ...], user, assistant, user, ..., with tools' results between two turns
    of the assistant, each message with something in it.

    Args:
        complete: the last turn must be the assistant's (to learn from), and no turn of it that is learned is empty;
            else the user's or a tool's (to answer).
    """
    if not isinstance(messages, Sequence) or isinstance(messages, str) or len(messages) == 0:
        raise RequestError("a conversation without messages: expected a list of {'role': ..., 'content': ...}.")
    for number, message in enumerate(messages, start=1):
        check_message(message, number, may_be_empty=not complete)
    roles = [message["role"] for message in messages]
    before = ["system", *roles[:-1]]
    in_turn = all(last in AFTER[role] for last, role in zip(before, roles, strict=True))
    last = ("assistant",) if complete else ("user", "tool")
    if not in_turn or roles[-1] not in last:
        raise RequestError(
            f"roles are {', '.join(roles)}: expected user and assistant in turn, after system messages if there are"
            " any, results of tools between two turns of the assistant,"
            f" the last one {' or '.join(last)}."
        )


def check_message(message: Any, number: int, *, may_be_empty: bool = False) -> None:
    """Raises RequestError, naming the message by its number, for what is no message."""
    if not isinstance(message, Mapping) or "role" not in message or not message.keys() & {"content", "tool_calls"}:
        raise RequestError(f"message {number} is {message!r:.80}: expected {{'role': ..., 'content': ...}}.")
    role = message["role"]
    if role not in ROLES:
        raise RequestError(f"message {number} has the role {role!r}: expected one of {', '.join(ROLES)}.")
    where = f"message {number} ({role})"
    check_content(message.get("content"), where, may_be_missing=bool(message.get("tool_calls")))
    for name in REASONING:
        if not isinstance(message.get(name), str | None):
            raise RequestError(f"{where}: {name} is {type(message[name]).__name__}, expected text.")
    if len({message[name] for name in REASONING if message.get(name)}) > 1:
        raise RequestError(f"{where}: {', '.join(n for n in REASONING if message.get(n))} differ, and mean the same.")
    check_calls(message.get("tool_calls"), where)
    check_flags(message, where)
    check_speaker(message, where)
    empty = not (text_of(message).strip() or reasoning_of(message).strip() or message.get("tool_calls"))
    if empty and (role == "user" or (role == "assistant" and is_learned(message) and not may_be_empty)):
        raise RequestError(f"{where} is empty.")


def check_content(content: Any, where: str, *, may_be_missing: bool) -> None:
    if isinstance(content, str) or (content is None and may_be_missing):
        return
    if not isinstance(content, list | tuple):
        raise RequestError(f"{where}: content is {type(content).__name__}, expected text.")
    others = Counter(kind_of(part) for part in content if not is_text(part))
    if others:
        counts = ", ".join(f"{n} {kind}" for kind, n in others.items())
        raise RequestError(f"{where}: {counts} among its {len(content)} parts; only parts of text can be learned from.")


def is_text(part: Any) -> bool:
    return isinstance(part, str) or (
        isinstance(part, Mapping) and isinstance(part.get("text"), str) and part.get("type", "text") in TEXT_PARTS
    )


def kind_of(part: Any) -> str:
    return str(part.get("type", "without a type")) if isinstance(part, Mapping) else type(part).__name__


def check_calls(calls: Any, where: str) -> None:
    if calls is None:
        return
    if not isinstance(calls, list | tuple):
        raise RequestError(f"{where}: tool_calls is {type(calls).__name__}, expected a list.")
    for call in calls:
        function = call.get("function", call) if isinstance(call, Mapping) else None
        if not isinstance(function, Mapping) or not isinstance(function.get("name"), str):
            raise RequestError(
                f"{where}: tool_calls holds {call!r:.80};"
                " expected {'type': 'function', 'function': {'name': ..., 'arguments': {...}}}."
            )


def check_flags(message: Message, where: str) -> None:
    """A weight is 0 or 1, and flags do not contradict each other."""
    flags = {name: message[name] for name in FLAGS if message.get(name) is not None}
    if others := [name for name in OTHER_FLAGS if message.get(name) is not None]:
        raise RequestError(
            f"{where}: {others[0]}={message[others[0]]!r:.40} would change what is learned, and is not known here.\n"
            f"Say it with one of {', '.join(FLAGS)}: 0 or 1 (not learned, learned)."
        )
    for name, value in flags.items():
        if not isinstance(value, bool | int | float) or value not in (0, 1):
            raise RequestError(f"{where}: {name}={value!r}, expected 0 or 1 (not learned, learned).")
    if len(set(map(bool, flags.values()))) > 1:
        raise RequestError(f"{where}: {', '.join(f'{n}={v!r}' for n, v in flags.items())} contradict each other.")


def check_speaker(message: Message, where: str) -> None:
    """Only the assistant thinks, calls tools, and is learned from."""
    if message["role"] == "assistant":
        return
    if message.get("tool_calls") or reasoning_of(message):
        raise RequestError(f"{where} has tool_calls or reasoning: only the assistant's turns have them.")
    asked = [name for name in FLAGS if message.get(name)]
    if asked:
        raise RequestError(
            f"{where}: {asked[0]}={message[asked[0]]!r}, but only the assistant's turns can be learned one by one.\n"
            "Leave it out, or type data.learn=all to learn every token."
        )
