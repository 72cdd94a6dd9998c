"""Rows of well-known data sets -> messages. One function a format: it names the columns that it reads.

How to add one: a function here, its line in `FORMATS`, a YAML that chooses it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from errors import RequestError
from tokenization.chat import Message

Row = dict[str, Any]
SENTIMENTS = ("negative", "positive")  # SST-2's labels 0 and 1
# ScienceQA, the words in which evaluation/benchmarks/scienceqa.py asks
TUTOR = "You are a helpful science tutor. Choose the right answer, then explain it."
CORRECT_ANSWER = "The correct answer is"


def dialogue(question: str, answer: str, system: str | None = None) -> list[Message]:
    first = [{"role": "system", "content": system}] if system else []
    return [*first, {"role": "user", "content": question}, {"role": "assistant", "content": answer}]


def messages(row: Row) -> list[Message]:
    """`messages`: [{role, content}, ...], as TRL's conversational format."""
    return list(row["messages"])


def prompt_completion(row: Row) -> list[Message]:
    """`prompt` and `completion`: text, or messages, as TRL's formats."""
    prompt, completion = row["prompt"], row["completion"]
    if isinstance(prompt, str) and isinstance(completion, str):
        return dialogue(prompt, completion)
    return [*prompt, *completion]


def alpaca(row: Row) -> list[Message]:
    """`instruction`, `input` (often empty), `output`: tatsu-lab/alpaca."""
    given = row.get("input") or ""
    return dialogue(f"{row['instruction']}\n\n### Input:\n{given}" if given else row["instruction"], row["output"])


def gsm8k(row: Row) -> list[Message]:
    """`question`, `answer` with worked steps that ends in `#### 72`: openai/gsm8k."""
    return dialogue(row["question"], row["answer"])


def scienceqa(row: Row) -> list[Message]:
    """`question`, `choices`, `answer` (a number), perhaps `hint`, `solution`, `lecture`: derek-thomas/ScienceQA.

    Rendered as the SciAssist report does: letters for the choices, then the answer, an explanation, the background.
    """
    choices = [f"{chr(ord('A') + i)}. {choice}" for i, choice in enumerate(row["choices"])]
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


FORMATS: dict[str, tuple[tuple[str, ...], Callable[[Row], list[Message]]]] = {
    "messages": (("messages",), messages),
    "prompt_completion": (("prompt", "completion"), prompt_completion),
    "alpaca": (("instruction", "output"), alpaca),
    "scienceqa": (("question", "choices", "answer"), scienceqa),
    "gsm8k": (("question", "answer"), gsm8k),
    "sst2": (("sentence", "label"), sst2),
    "samsum": (("dialogue", "summary"), samsum),
}


def to_messages(row: Row, form: str, where: str) -> list[Message]:
    """The row's conversation; "auto" goes by its columns. Raises RequestError naming the row's place."""
    if form == "auto":
        form = next((name for name, (columns, _) in FORMATS.items() if set(columns) <= row.keys()), "")
    columns, convert = FORMATS.get(form, ((), None))
    missing = [column for column in columns if row.get(column) is None]
    there = ", ".join(map(repr, row)) or "none"
    if convert is None:
        known = "; ".join(f"{name}: {', '.join(needed)}" for name, (needed, _) in FORMATS.items())
        raise RequestError(f"{where}: columns {there} are of no format that is known.\nKnown: {known}.")
    if missing:
        raise RequestError(
            f"{where}: data.format={form} needs {', '.join(map(repr, missing))}, which is not there or empty; "
            f"the columns are {there}."
        )
    try:
        return convert(row)
    except RequestError as error:
        raise RequestError(f"{where}: {error}") from None
    except (TypeError, ValueError, AttributeError) as error:
        raise RequestError(f"{where}: not in data.format={form}: {error}.") from None
