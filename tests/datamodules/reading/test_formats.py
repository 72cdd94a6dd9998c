"""Conversations in the formats of others: whatever they hold comes back, or the row is named; none vanishes."""

import copy
import json
import re
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datamodules.batching.examples import Conversation, Report, render_all
from datamodules.chat import ChatDataModule
from errors import RequestError
from tokenization.byte import ByteTokenizer
from tokenization.chat import chat_template
from tokenization.chat.messages import calls_of, is_learned, reasoning_of, text_of

Row = dict[str, Any]
words = st.text(alphabet="aé中 \u2028\n<|>{\"'", max_size=6).map(lambda text: f"w{text}")  # never empty
arguments = st.dictionaries(st.text(alphabet="xy中", min_size=1, max_size=2), st.integers() | words, max_size=2)
calls = st.lists(st.tuples(words, arguments), min_size=1, max_size=2)
weights = st.sampled_from([None, 0, 1])


class Turn(dict):
    """A message in one way of writing; `plain`: what must come back of it."""

    @property
    def plain(self) -> tuple:
        return self["role"], text_of(self), reasoning_of(self), calls_of(self), is_learned(self)


@st.composite
def conversations(draw: Any, *, thinks: bool = False, tools: bool = False, flags: bool = False) -> list[Turn]:
    """[system] then user and assistant in turn, with thoughts, calls and their results, and weights, where asked for.

    One answer at least is learned.
    """
    found = [Turn(role="system", content=draw(words))] if draw(st.booleans()) else []
    turns = draw(st.integers(1, 3))
    for i in range(turns):
        found.append(Turn(role="user", content=draw(words)))
        if tools and draw(st.booleans()):
            called = draw(calls)
            told = [{"type": "function", "function": {"name": n, "arguments": a}} for n, a in called]
            found.append(Turn(role="assistant", content=draw(st.none() | words), tool_calls=told))
            found += [Turn(role="tool", content=draw(words)) for _ in called]
        answer = Turn(role="assistant", content=draw(words))
        if thinks and (thought := draw(st.none() | words)):
            answer["reasoning_content"] = thought
        if flags and i < turns - 1 and (weight := draw(weights)) is not None:
            answer["weight"] = weight
        found.append(answer)
    return found


def texts(turns: list[Turn]) -> list[str]:
    return [turn["content"] for turn in turns if turn["role"] != "system"]


def system_of(turns: list[Turn]) -> Row:
    return {"system": turns[0]["content"]} if turns[0]["role"] == "system" else {}


def as_openai(turns: list[Turn], old: bool) -> Row:
    """Fine-tuning of OpenAI: arguments as JSON in a text; or its former function_call and role function."""

    def written(turn: Turn) -> Row:
        called = [call["function"] for call in turn.get("tool_calls", ())]
        called = [call | {"arguments": json.dumps(call["arguments"])} for call in called]
        if old and len(called) == 1:
            return {k: v for k, v in turn.items() if k != "tool_calls"} | {"function_call": called[0]}
        if called:
            return turn | {"tool_calls": [{"id": "c", "type": "function", "function": call} for call in called]}
        return turn | {"role": "function"} if old and turn["role"] == "tool" else turn

    return {"messages": [written(turn) for turn in turns]}


def as_parts(turns: list[Turn]) -> Row:
    """Content in parts, cut anywhere."""

    def parts(text: str | None) -> Any:
        at = len(text or "") // 2
        return text and [{"type": "text", "text": text[:at]}, {"type": "text", "text": text[at:]}]

    return {"messages": [turn | {"content": parts(turn["content"])} for turn in turns]}


def as_sharegpt(turns: list[Turn], outside: bool) -> Row:
    names = {"user": "human", "assistant": "gpt", "tool": "observation", "system": "system"}
    first = system_of(turns) if outside else {}
    rest = turns[1:] if first else turns
    return first | {"conversations": [{"from": names[t["role"]], "value": t["content"]} for t in rest]}


def as_alpaca(turns: list[Turn]) -> Row:
    said = texts(turns)
    history = [list(pair) for pair in zip(said[:-2:2], said[1:-2:2], strict=True)]
    last = {"instruction": said[-2], "input": "", "output": said[-1]}
    return system_of(turns) | last | ({"history": history} if history else {})


def as_prompt(turns: list[Turn], *, answer: str) -> Row:
    row = as_alpaca(turns)
    return {k: v for k, v in row.items() if k in ("system", "history")} | {
        "prompt": row["instruction"], answer: row["output"]
    }  # fmt: skip


full = conversations(thinks=True, tools=True, flags=True)
plain = conversations()
WRITTEN: dict[str, st.SearchStrategy[tuple[list[Turn], Row]]] = {
    "messages": full.map(lambda turns: (turns, {"messages": turns})),
    "openai": st.builds(lambda t, old: (t, as_openai(t, old)), conversations(tools=True, flags=True), st.booleans()),
    "parts": full.map(lambda turns: (turns, as_parts(turns))),
    "sharegpt": st.builds(lambda t, outside: (t, as_sharegpt(t, outside)), plain, st.booleans()),
    "alpaca": plain.map(lambda turns: (turns, as_alpaca(turns))),
    "prompt_completion": plain.map(lambda turns: (turns, as_prompt(turns, answer="completion"))),
    "prompt_answer": plain.map(lambda turns: (turns, as_prompt(turns, answer="answer"))),
    "messages by two": plain.map(lambda turns: (turns, {"prompt": turns[:-1], "completion": turns[-1:]})),
}


@pytest.fixture(scope="module")
def read(tmp_path_factory: pytest.TempPathFactory) -> Callable[[list[Row]], ChatDataModule]:
    """A data module over rows that were written to a file."""
    path = tmp_path_factory.mktemp("formats") / "rows.jsonl"

    def read(rows: list[Row]) -> ChatDataModule:
        path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
        return ChatDataModule(tokenizer=ByteTokenizer(), path=str(path), seq_len=4096, batch_size=1)

    return read


def rendered(found: list[Conversation]) -> Report:
    template = chat_template(ByteTokenizer(), "chat")[0]
    return render_all(found, template, learn="assistant", seq_len=4096, truncate="end").report


@pytest.mark.parametrize("form", WRITTEN)
@settings(max_examples=15)
@given(data=st.data())
def test_F1_any_conversation_comes_back_from_any_format(form: str, data: Any, read: Any) -> None:
    drawn = data.draw(st.lists(WRITTEN[form], min_size=1, max_size=4))
    module = read([row for _, row in drawn])
    found = [*module._conversations("train")]
    assert [[Turn(m).plain for m in c.messages] for c in found] == [[t.plain for t in turns] for turns, _ in drawn]
    assert not module._ignored["train"]
    report = rendered(found)
    assert (report.rows, report.kept) == (len(drawn), len(drawn))


values = (
    st.none() | st.booleans() | st.integers(-2, 2) | words | st.just("") | st.just([]) | st.just({}) | st.lists(words)
)


def places(value: Any, path: tuple = ()) -> Iterator[tuple]:
    """Every place in a row: keys of objects, entries of lists."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in inner:
        yield (*path, key)
        yield from places(item, (*path, key))


def damage(row: Row, draw: Callable[[Any], Any]) -> tuple[Row, str]:
    """One place of a row gone, replaced, or under another name."""
    made = copy.deepcopy(row)
    *path, key = draw(st.sampled_from([*places(made)]))
    at = made
    for step in path:
        at = at[step]
    how = draw(st.sampled_from(["gone", "replaced", "renamed"]))
    if how == "replaced":
        at[key] = draw(values)
    else:
        value = at.pop(key)
        if how == "renamed" and isinstance(at, dict):
            at["unheard_of"] = value
    return made, how


@pytest.mark.parametrize("form", WRITTEN)
@settings(max_examples=15)
@given(data=st.data())
def test_F1_a_damaged_row_is_read_or_named_and_never_lost(form: str, data: Any, read: Any) -> None:
    rows = [row for _, row in data.draw(st.lists(WRITTEN[form], min_size=3, max_size=3))]
    rows = json.loads(json.dumps(rows))
    rows[1], how = damage(rows[1], data.draw)
    module, words = read(rows), ""
    try:
        found = [*module._conversations("train")]
        report = rendered(found)
    except RequestError as error:
        words = str(error)
    if words:
        assert re.search(r"rows\.jsonl, line 2\b", words)
        return
    assert len(found) == len(rows)
    assert report.rows == report.kept + report.unsupervised == len(rows)
    if how == "renamed" and "unheard_of" in json.dumps(rows[1]):
        counted = Counter(module._ignored["train"]) + report.not_rendered
        inside = json.dumps([c.messages for c in found] + [c.tools for c in found])
        assert any("unheard_of" in name for name in counted) or is_nothing(rows[1]) or "unheard_of" in inside


def is_nothing(value: Any) -> bool:
    """Was what is called unheard_of empty, so that it says nothing?"""
    if isinstance(value, dict):
        return any((k == "unheard_of" and v in (None, "", [], {})) or is_nothing(v) for k, v in value.items())
    return isinstance(value, list) and any(map(is_nothing, value))


def test_the_file_is_named_as_it_was_given(read: Any) -> None:
    with pytest.raises(RequestError, match=rf"{Path('rows.jsonl')}, line 1: message 1 is"):
        [*read([{"messages": ["hello"]}])._conversations("train")]
