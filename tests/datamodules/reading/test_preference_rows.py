"""Prompts are found where they are, numbers that came as text are numbers, and what is not used is counted."""

import json
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datamodules.batching.preference_table import make_table, rendered
from datamodules.reading.ignored import Ignored
from datamodules.reading.preference_rows import preferences, shared_text
from errors import RequestError
from tokenization.byte import ByteTokenizer
from tokenization.chat import TextTemplate, chat_template


def one(row, **settings):
    dropped = Counter()
    found = list(preferences([(row, "x.csv, row 1")], dropped, **settings))
    return found[0] if found else dict(dropped)


@pytest.mark.parametrize(
    ("prompt", "chosen", "rejected", "answer"),
    [
        ("A", "Apple pie is sweet.", "Apples are stones.", "Apple pie is sweet."),
        ("The capital of France", "The capital of France is Paris.", "The capital of France is Lyon.",
         "The capital of France is Paris."),
        ("What?\n", "What?\nThis.", "What?\nThat.", "This."),
        ("What?", "What?\nThis.", "What?\nThat.", "\nThis."),
        ("\n\nHuman: Hi\n\nAssistant:", "\n\nHuman: Hi\n\nAssistant: Ho", "\n\nHuman: Hi\n\nAssistant: Hm", " Ho"),
        ("What?\n", "What?\nThis.", "That.", "What?\nThis."),
    ],
)  # fmt: skip
def test_F5_an_explicit_prompt_leaves_the_answer_unless_it_ends_a_line_or_a_turn(prompt, chosen, rejected, answer):
    assert one({"prompt": prompt, "chosen": chosen, "rejected": rejected}).chosen == answer


@pytest.mark.parametrize(
    ("chosen", "rejected", "prompt"),
    [
        ("问：天空是什么颜色？答：蓝色。", "问：天空是什么颜色？答：绿色。", "问：天空是什么颜色？答："),
        ("天空是蓝", "天空是蓝色", "天空是"),
        ("空は何色？青です", "空は何色？緑です", "空は何色？"),
        ("ท้องฟ้าสีฟ้า", "ท้องฟ้าสีดำ", "ท้องฟ้าสี"),
        ("The sky is blue", "The sky is blue and vast", "The sky is "),
        ("The sky is blue", "The sky is black", "The sky is "),
    ],
)
def test_F5_implicit_prompts_in_any_script(chosen, rejected, prompt):
    pair = one({"chosen": chosen, "rejected": rejected})
    assert pair.prompt == [{"role": "user", "content": prompt}]
    assert (prompt + pair.chosen, prompt + pair.rejected) == (chosen, rejected)


@given(a=st.text(alphabet="ab 中ก่", min_size=1), b=st.text(alphabet="ab 中ก่", min_size=1))
def test_F5_no_shared_text_takes_a_whole_answer(a, b):
    n = len(shared_text(a, b))
    assert a[:n] == b[:n]
    assert n < min(len(a), len(b))


def turns(*contents, **more):
    roles = ("user", "assistant")
    return [{"role": roles[i % 2], "content": content, **more} for i, content in enumerate(contents)]


@pytest.mark.parametrize("prompt", [None, "Q", turns("Q")])
def test_F5_messages_that_differ_in_a_null_key_are_a_common_beginning(prompt):
    row = {"prompt": prompt, "chosen": turns("Q", "A", name=None), "rejected": turns("Q", "B")}
    pair = one(row)
    assert (len(pair.prompt), pair.prompt[0]["content"], pair.chosen, pair.rejected) == (1, "Q", "A", "B")


SHAREGPT = [{"from": "human", "value": "Q"}]


@pytest.mark.parametrize(
    "row",
    [
        {"conversations": SHAREGPT, "chosen": {"from": "gpt", "value": "A"}, "rejected": {"from": "gpt", "value": "B"}},
        {"conversations": SHAREGPT, "chosen": "A", "rejected": "B"},
        {"messages": turns("Q"), "chosen": turns("Q", "A")[1:], "rejected": turns("Q", "B")[1:]},
        {"query": "Q", "chosen": "A", "rejected": "B"},
        {"messages": turns("Q", "A"), "chosen": turns("Q", "A"), "rejected": turns("Q", "B")},
        {"prompt": "Q", "messages": turns("Q", "A"), "chosen": turns("Q", "A"), "rejected": turns("Q", "B")},
    ],
)
def test_F5_a_prompt_under_its_other_names(row):
    pair = one(row)
    assert [(m["role"], m["content"]) for m in pair.prompt] == [("user", "Q")]
    assert (pair.chosen, pair.rejected) == ("A", "B")


def test_a_system_message_before_the_prompt_is_kept():
    system = [{"role": "system", "content": "Be short."}]
    row = {"prompt": "Q", "chosen": system + turns("Q", "A"), "rejected": system + turns("Q", "B")}
    assert one(row).prompt == system + turns("Q")
    assert one({"system": "Be short.", "prompt": "Q", "chosen": "A", "rejected": "B"}).prompt == system + turns("Q")


@pytest.mark.parametrize(("margin", "value"), [("0.5", 0.5), (" 2 ", 2.0), (3, 3.0), ("", None), (None, None)])
def test_F6_a_margin_that_came_as_text_is_a_number(margin, value):
    assert one({"prompt": "Q", "chosen": "A", "rejected": "B", "margin": margin}).margin == value


@pytest.mark.parametrize("margin", ["much", "nan", True, "1,5", [1]])
def test_F6_a_margin_that_is_no_number_is_refused_with_its_row(margin):
    with pytest.raises(RequestError, match=r"x\.csv, row 1: column 'margin' is .*: expected a number"):
        one({"prompt": "Q", "chosen": "A", "rejected": "B", "margin": margin})


def test_F6_scores_that_came_as_text_are_numbers():
    row = {"prompt": "Q", "chosen": "A", "rejected": "B", "good": "7.5", "bad": "3"}
    assert one(row, scores=["good", "bad"]).margin == 4.5


def test_F1_what_would_change_the_prompt_is_refused_and_the_rest_is_counted():
    ignored = Ignored()
    row = {"prompt": "Q", "chosen": turns("Q", "A", id=7), "rejected": turns("Q", "B"), "source": "web", "history": []}
    one(row, ignored=ignored)
    assert ignored == {"column 'source'": 1, "a message's 'id'": 2}
    with pytest.raises(RequestError, match=r"row 1: column 'history' \(turns before the prompt\) would change"):
        one(row | {"history": [["a", "b"]]})


CALL = {"type": "function", "function": {"name": "add", "arguments": '{"a": 1}'}}
ADD = {"type": "function", "function": {"name": "add", "description": "adds"}}


def test_F1_thinking_and_calls_of_answers_and_tools_of_pairs_are_rendered():
    asked = {"role": "user", "content": "1+1?"}
    better = {"role": "assistant", "content": None, "tool_calls": [CALL], "reasoning_content": "I add."}
    row = {"chosen": [asked, better], "rejected": [asked, {"from": "gpt", "value": "3"}], "tools": json.dumps([ADD])}
    pair = one(row)
    assert list(pair.prompt) == [asked]
    assert (pair.chosen, pair.rejected) == ('I add.\n{"name": "add", "arguments": {"a": 1}}', "3")
    template, tokenizer = chat_template(ByteTokenizer())
    prompt, chosen, rejected = map(tokenizer.decode, rendered(pair, template))
    assert prompt == (
        f"<|bos|><|tools_start|>{json.dumps(ADD)}<|tools_end|><|user_start|>1+1?<|user_end|><|assistant_start|>"
    )
    assert chosen == (
        '<|think_start|>I add.<|think_end|><|call_start|>{"name": "add", "arguments": {"a": 1}}<|call_end|>'
        "<|assistant_end|>"
    )
    assert rejected == "3<|assistant_end|>"
    same = one({"chosen": [asked, better], "rejected": [asked, {**better, "content": "2", "tool_calls": []}]})
    assert same.rejected == "I add.\n2"


def test_F1_what_a_template_cannot_show_of_pairs_is_counted():
    better = {"role": "assistant", "content": "A", "thinking": "hm"}
    pair = one({"prompt": "Q", "chosen": [better], "rejected": turns("Q", "B")[1:], "tools": [ADD]})
    template, ignored = TextTemplate(ByteTokenizer(), "plain"), Counter()
    make_table([pair], template, seq_len=64, max_prompt=32, counts=Counter(), ignored=ignored)
    assert ignored == {"a message's 'thinking'": 1, "column 'tools'": 1}


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ({"content": [{"type": "image"}]}, "an answer is no text: 1 image among its 1 parts"),
        ({"content": ""}, "an answer is empty"),
        ({"content": "A", "weight": 0}, "an answer has weight 0"),
    ],
)
def test_F1_an_answer_that_cannot_be_learned_is_counted_with_its_reason(answer, reason):
    dropped = Counter()
    row = {"prompt": "Q", "chosen": [{"role": "assistant", **answer}], "rejected": turns("Q", "B")[1:]}
    assert list(preferences([(row, "x")], dropped)) == []
    assert next(iter(dropped)).startswith(reason)


def test_a_question_is_a_prompt():
    assert one({"question": "Q", "chosen": "A", "rejected": "B"}).prompt == turns("Q")
