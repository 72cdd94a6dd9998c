"""Rows of well-known data sets -> conversations. One function a format: it names the columns that it reads.

How to add one: a function here, its line in `FORMATS`, a YAML that chooses it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from datamodules.reading.cells import SPEAKERS, messages_in
from datamodules.reading.ignored import Field, Fields, check_fields
from errors import RequestError
from strict_json import nested, value_of
from tokenization.chat import Message
from tokenization.chat.messages import REASONING

Row = dict[str, Any]
SENTIMENTS = ("negative", "positive")  # SST-2's labels 0 and 1
# ScienceQA, the words in which evaluation/benchmarks/scienceqa.py asks
TUTOR = "You are a helpful science tutor. Choose the right answer, then explain it."
CORRECT_ANSWER = "The correct answer is"


SYSTEM = {"system": Field((str,), "stands before the conversation")}
HISTORY = {"history": Field((list, str), "turns before the question")}
TOOLS = {
    "tools": Field((list, str), "what the assistant may call"),
    "functions": Field((list, str), "OpenAI's former name of tools"),
}
THOUGHTS = dict.fromkeys(REASONING, Field((str,), "what the assistant thinks before its answer"))
MEDIA = dict.fromkeys(("image", "video", "audio"), Field((), "what stands beside the text"))
ABOUT = dict.fromkeys(("input", "context"), Field((), "what the question is about"))
LABEL = {"label": Field((), "whether an answer is a good one: data=preference_labels objective=kto learns from that")}
REFUSED = SYSTEM | HISTORY | TOOLS | THOUGHTS | {
    "weight": Field((), "how much a row counts"),
    "documents": Field((), "what a template may show beside the messages"),
    "chat_template_kwargs": Field((), "how a template is to render the row"),
    **{f"{name}s": field for name, field in MEDIA.items()},
}  # fmt: skip


NONE: Fields = MappingProxyType({})


class Format(NamedTuple):
    """`needs`, `reads`: columns that must and that may be there; `said`: what a row was taken for.

    `refuses`: columns that would change what is learned in this format; in others they may be a note.
    """

    needs: tuple[str, ...]
    reads: Fields
    said: str
    messages: Callable[[Row], list[Message]]
    refuses: Fields = NONE

    @property
    def refused(self) -> Fields:
        """What would change what is learned, and has no meaning here."""
        refused = {**REFUSED, **self.refuses}
        return {name: field for name, field in refused.items() if name not in (*self.needs, *self.reads)}


def dialogue(question: str, answer: str, system: str | None = None) -> list[Message]:
    first = [{"role": "system", "content": system}] if system else []
    return [*first, {"role": "user", "content": question}, {"role": "assistant", "content": answer}]


def messages(row: Row) -> list[Message]:
    """`messages`: [{role, content}, ...], as TRL's conversational format and OpenAI's for fine-tuning."""
    return [*opening(row), *(turn(message) for message in listed(row["messages"]))]


def sharegpt(row: Row) -> list[Message]:
    """`conversations`: [{from, value}, ...], perhaps `system`."""
    return [*opening(row), *(turn(message) for message in listed(row["conversations"]))]


def opening(row: Row) -> list[Message]:
    return [{"role": "system", "content": row["system"]}] if row.get("system") else []


def listed(value: Any) -> list[Any]:
    value = nested(value)
    if not isinstance(value, list | tuple):
        raise TypeError(f"{type(value).__name__} instead of a list of messages")
    return list(value)


def turn(message: Any) -> Message:
    """A message under today's names: ShareGPT's {from, value}, and OpenAI's former functions."""
    if not isinstance(message, Mapping):
        return message
    found = dict(message)
    if "from" in found and "role" not in found:
        speaker = found.pop("from")
        found = {"role": SPEAKERS.get(speaker, speaker), "content": found.pop("value", None), **found}
    if found.get("role") == "function_call":
        found["role"], found["function_call"], found["content"] = "assistant", found.get("content"), None
    if found.get("role") == "function":
        found["role"] = "tool"
    if found.get("function_call") is not None:
        calls = parsed(found.pop("function_call"), "a call of a function")
        called = [{"type": "function", "function": call} for call in (calls if isinstance(calls, list) else [calls])]
        found["tool_calls"] = [*(found.get("tool_calls") or []), *called]
    return found


def parsed(value: Any, what: str) -> Any:
    """JSON that stands in a text, as it is. Raises RequestError where it is none."""
    try:
        return value_of(value) if isinstance(value, str) else value
    except ValueError:
        raise RequestError(f"{what} is {value!r:.80}: expected JSON.") from None


def tools_of(row: Mapping[str, Any]) -> list[Any]:
    """`tools`: a list of JSON schemas, or the JSON of one in a text; `functions`: OpenAI's former name."""
    tools = [parsed(tool, "one of tools") for tool in parsed(row.get("tools") or [], "tools") or []]
    functions = parsed(row.get("functions") or [], "functions") or []
    found = [*tools, *({"type": "function", "function": function} for function in functions)]
    if not all(isinstance(tool, Mapping) for tool in found):
        raise RequestError(f"tools holds {found!r:.80}: expected a list of JSON schemas, one object for each tool.")
    return found


def prompt_completion(row: Row) -> list[Message]:
    """`prompt` and `completion`: text, or messages, as TRL's formats; perhaps `system` and `history`."""
    prompt, completion = messages_in(row["prompt"]), messages_in(row["completion"])
    if isinstance(prompt, str) and isinstance(completion, str):
        return [*opening(row), *turns_before(row), *thought(dialogue(prompt, completion), row)]
    return [*opening(row), *turns_before(row), *map(turn, [*listed(prompt), *listed(completion)])]


def prompt_answer(row: Row) -> list[Message]:
    """`prompt`, text or messages, and `answer`, text or a number: questions for online RL."""
    prompt, answer = messages_in(row["prompt"]), messages_in(row["answer"])
    if isinstance(answer, int | float) and not isinstance(answer, bool):
        answer = str(answer)
    if not isinstance(answer, str):
        raise TypeError(f"answer is {type(answer).__name__}, expected text or a number")
    asked = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else [*map(turn, listed(prompt))]
    return [*opening(row), *turns_before(row), *asked, {"role": "assistant", "content": answer}]


def alpaca(row: Row) -> list[Message]:
    """`instruction`, `input` (often empty), `output`: tatsu-lab/alpaca; perhaps `system` and `history`."""
    given = row.get("input") or ""
    asked = f"{row['instruction']}\n\n### Input:\n{given}" if given else row["instruction"]
    return [*opening(row), *turns_before(row), *thought(dialogue(asked, row["output"]), row)]


def thought(messages: list[Message], row: Row) -> list[Message]:
    """The last answer with what the assistant thinks before it."""
    thoughts = {name: row[name] for name in REASONING if row.get(name)}
    return [*messages[:-1], messages[-1] | thoughts]  # type: ignore[operator]


def turns_before(row: Row) -> list[Message]:
    """`history`: [[question, answer], ...]."""
    before: list[Message] = []
    for pair in nested(row.get("history") or []):
        if not isinstance(pair, list | tuple) or len(pair) != 2:
            raise RequestError(f"history holds {pair!r:.80}: expected pairs of a question and its answer.")
        before += dialogue(*pair)
    return before


def gsm8k(row: Row) -> list[Message]:
    """`question`, `answer` with worked steps that ends in `#### 72`: openai/gsm8k."""
    return thought(dialogue(row["question"], row["answer"]), row)


def scienceqa(row: Row) -> list[Message]:
    """`question`, `choices`, `answer` (a number), perhaps `hint`, `solution`, `lecture`: derek-thomas/ScienceQA.

    Rendered as the SciAssist report does: letters for the choices, then the answer, an explanation, the background.
    """
    choices = [f"{chr(ord('A') + i)}. {choice}" for i, choice in enumerate(nested(row["choices"]))]
    right = int(row["answer"])
    if not 0 <= right < len(choices):
        raise RequestError(f"the answer is choice {right}, but there are {len(choices)}.")
    context = f"{row['hint']}\n\n" if row.get("hint") else ""
    answer = f"{CORRECT_ANSWER} {choices[right]}"
    answer += f"\n\nExplanation: {row['solution']}" if row.get("solution") else ""
    answer += f"\n\nBackground: {row['lecture']}" if row.get("lecture") else ""
    return dialogue(f"{context}{row['question']}\n\n" + "\n".join(choices), answer, TUTOR)


def sst2(row: Row) -> list[Message]:
    """`sentence`, `label` 0 or 1: stanfordnlp/sst2, GLUE. Classification as an answer of one word."""
    label = str(row["label"])
    if label not in ("0", "1"):
        raise RequestError(f"the label is {label!r}: expected 0 or 1 (GLUE's test split hides its labels: -1).")
    return dialogue(f"{row['sentence'].strip()}\nIs this positive or negative?", SENTIMENTS[int(label)])


def samsum(row: Row) -> list[Message]:
    """`dialogue`, `summary`: Samsung/samsum."""
    return dialogue(f"Summarise this dialogue.\n\n{row['dialogue']}", row["summary"])


FORMATS: dict[str, Format] = {
    "messages": Format(("messages",), TOOLS | SYSTEM, "messages, as TRL and OpenAI have them", messages, MEDIA),
    "sharegpt": Format(("conversations",), TOOLS | SYSTEM, "ShareGPT's conversations", sharegpt, MEDIA),
    "prompt_completion": Format(
        ("prompt", "completion"),
        TOOLS | SYSTEM | HISTORY | THOUGHTS,
        "prompt and completion",
        prompt_completion,
        MEDIA | ABOUT | LABEL,
    ),
    "prompt_answer": Format(("prompt", "answer"), TOOLS | SYSTEM | HISTORY, "prompt and answer", prompt_answer),
    "alpaca": Format(
        ("instruction", "output"),
        {"input": Field((str,), "what it is about")} | SYSTEM | HISTORY | THOUGHTS,
        "Alpaca",
        alpaca,
        MEDIA | ABOUT,
    ),
    "scienceqa": Format(
        ("question", "choices", "answer"),
        dict.fromkeys(("hint", "solution", "lecture"), Field((str,), "beside the question or the answer")),
        "ScienceQA",
        scienceqa,
    ),
    "gsm8k": Format(("question", "answer"), THOUGHTS, "GSM8K", gsm8k, MEDIA | ABOUT),
    "sst2": Format(("sentence", "label"), {}, "SST-2", sst2),
    "samsum": Format(("dialogue", "summary"), {}, "SAMSum", samsum),
}


def to_messages(row: Row, form: str, where: str) -> list[Message]:
    """The messages of a row; "auto" goes by its columns. Raises RequestError naming the row's place."""
    return to_conversation(row, format_of(row, form, where), where)[0]


def format_of(row: Row, form: str, where: str) -> Format:
    """Raises RequestError where the columns are of no format, or one lacks."""
    if form == "auto":
        form = next((name for name, known in FORMATS.items() if set(known.needs) <= row.keys()), "")
    there = ", ".join(map(repr, row)) or "none"
    if form not in FORMATS:
        known = "; ".join(f"{name}: {', '.join(found.needs)}" for name, found in FORMATS.items())
        raise RequestError(f"{where}: columns {there} are of no format that is known.\nKnown: {known}.")
    missing = [column for column in FORMATS[form].needs if row.get(column) is None]
    if missing:
        raise RequestError(
            f"{where}: data.format={form} needs {', '.join(map(repr, missing))}, which is not there or empty; "
            f"the columns are {there}."
        )
    return FORMATS[form]


def to_conversation(row: Row, found: Format, where: str) -> tuple[list[Message], list[Any]]:
    """Messages and tools of a row. Raises RequestError naming the row's place."""
    check_fields(row, found.reads, found.refused, where)
    try:
        tools = tools_of(row) if "tools" in found.reads else []
        return found.messages(row), tools
    except RequestError as error:
        raise RequestError(f"{where}: {error}") from None
    except (TypeError, ValueError, AttributeError, KeyError) as error:
        name = next((f"data.format={name}" for name, known in FORMATS.items() if known is found), found.said)
        raise RequestError(f"{where}: not in {name}: {error}.") from None
