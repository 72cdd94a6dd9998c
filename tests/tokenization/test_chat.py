"""Conversations as tokens: the mask by hand, the prompt as a prefix, specials out of reach, wrong conversations."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from errors import RequestError
from tokenization.base import Tokenizer, load_tokenizer
from tokenization.bpe import BPETokenizer
from tokenization.byte import ByteTokenizer
from tokenization.char import CharTokenizer
from tokenization.chat import ASSISTANT_END, BOS, CHAT_SPECIALS, TURN_SPECIALS, SpecialsTemplate, chat_template

TEMPLATE, TOKENIZER = chat_template(ByteTokenizer())
SPECIALS = TOKENIZER.specials
TWO_TURNS = [
    {"role": "user", "content": "ab"},
    {"role": "assistant", "content": "cd"},
    {"role": "user", "content": "ef"},
    {"role": "assistant", "content": "gh"},
]


def shown(rendered) -> str:
    """The learned tokens in brackets."""
    return "".join(
        f"[{TOKENIZER.decode([i])}]" if learned else TOKENIZER.decode([i])
        for i, learned in zip(rendered.ids, rendered.mask, strict=True)
    )


def chat(*contents: str) -> list[dict[str, str]]:
    return [{"role": ("user", "assistant")[i % 2], "content": text} for i, text in enumerate(contents)]


def test_each_turn_of_the_assistant_is_learned_with_its_end():
    assert shown(TEMPLATE.render(TWO_TURNS)) == (
        "<|bos|><|user_start|>ab<|user_end|><|assistant_start|>[c][d][<|assistant_end|>]"
        "<|user_start|>ef<|user_end|><|assistant_start|>[g][h][<|assistant_end|>]"
    )


def test_S10_of_the_last_turn_alone_no_earlier_end_is_learned():
    rendered = TEMPLATE.render(TWO_TURNS, learn="last")
    assert rendered.mask.sum() == 3
    assert TOKENIZER.decode(rendered.ids[rendered.mask]) == "gh<|assistant_end|>"


def test_learn_all():
    assert TEMPLATE.render(TWO_TURNS, learn="all").mask.all()


def test_S9_the_span_is_not_found_by_text():
    rendered = TEMPLATE.render(chat("say 42, I repeat 42", "42"))
    assert np.flatnonzero(rendered.mask).tolist() == list(range(len(rendered.ids) - 3, len(rendered.ids)))


def test_a_system_message_opens_the_first_user_turn():
    with_system = [{"role": "system", "content": "be kind"}, *chat("hi", "yes")]
    assert TEMPLATE.render(with_system).ids.tolist() == TEMPLATE.render(chat("be kind\n\nhi", "yes")).ids.tolist()


@pytest.mark.parametrize("system", [[], [{"role": "system", "content": "be kind"}]])
@pytest.mark.parametrize("turns", [1, 2, 3])
def test_N15_the_prompt_is_a_prefix_of_what_was_trained(turns, system):
    messages = system + chat(*"abcdef"[: 2 * turns])
    rendered, prompt = TEMPLATE.render(messages), TEMPLATE.render_for_completion(messages)
    assert rendered.ids[: len(prompt)].tolist() == prompt.tolist()
    assert prompt.tolist() == TEMPLATE.render_for_completion(messages[:-1]).tolist()
    assert rendered.mask[len(prompt) :].all()
    assert rendered.ids.tolist().count(SPECIALS[BOS]) == 1


@pytest.mark.parametrize("style", ["plain", "alpaca"])
def test_N15_text_styles_too(style):
    template, tokenizer = chat_template(ByteTokenizer(), style)
    rendered, prompt = template.render(chat("q", "a")), template.render_for_completion(chat("q"))
    assert rendered.ids[: len(prompt)].tolist() == prompt.tolist()
    assert tokenizer.decode(rendered.ids[rendered.mask]) == "a<|endoftext|>"
    assert len(rendered.ids) == len(prompt) + 2


def test_alpaca_has_its_headings():
    template, tokenizer = chat_template(ByteTokenizer(), "alpaca")
    text = tokenizer.decode(template.render(chat("Add.", "Yes")).ids)
    assert text == "### Instruction:\nAdd.\n\n### Response:\nYes<|endoftext|>"


@given(st.lists(st.sampled_from([*CHAT_SPECIALS, "<|endoftext|>", "a", "<|", "é"]), min_size=1, max_size=6))
def test_N13_no_content_makes_a_special(parts):
    text = "".join(parts)
    rendered = TEMPLATE.render(chat(text, text))
    assert (rendered.ids >= TOKENIZER.n_text_ids).sum() == 5  # bos, and a start and an end for each
    inside = rendered.ids[rendered.mask][:-1]
    assert TOKENIZER.decode(inside) == text


ADD = {"type": "function", "function": {"name": "add", "parameters": {"type": "object"}}}


def called(name: str, arguments, result: str, thoughts: str = "t") -> list[dict]:
    call = {"type": "function", "id": "c1", "function": {"name": name, "arguments": arguments}}
    return [
        {"role": "user", "content": "q"},
        {"role": "assistant", "reasoning_content": thoughts, "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c1", "content": result},
        {"role": "assistant", "content": "a"},
    ]


def test_F1_tools_and_thinking_stand_between_specials_and_a_result_is_not_learned():
    rendered = TEMPLATE.render(called("add", '{"a":1}', "r"), tools=[ADD])
    text = "<|tools_start|>" + json.dumps(ADD) + "<|tools_end|>"
    assert TOKENIZER.decode(rendered.ids) == (
        f"<|bos|>{text}<|user_start|>q<|user_end|><|assistant_start|><|think_start|>t<|think_end|>"
        '<|call_start|>{"name": "add", "arguments": {"a": 1}}<|call_end|><|assistant_end|>'
        "<|tool_start|>r<|tool_end|><|assistant_start|>a<|assistant_end|>"
    )
    learned = TOKENIZER.decode(rendered.ids[rendered.mask])
    assert learned == (
        '<|think_start|>t<|think_end|><|call_start|>{"name": "add", "arguments": {"a": 1}}<|call_end|><|assistant_end|>'
        "a<|assistant_end|>"
    )


def test_N15_a_prompt_after_a_result_is_a_prefix_too():
    messages = called("add", {}, "r")
    rendered = TEMPLATE.render(messages, tools=[ADD])
    prompt = TEMPLATE.render_for_completion(messages[:3], tools=[ADD])
    assert rendered.ids[: len(prompt)].tolist() == prompt.tolist()


@given(st.lists(st.sampled_from([*CHAT_SPECIALS, "<|endoftext|>", "a", '"', "\\"]), min_size=1, max_size=6))
def test_N13_no_field_makes_a_special(parts):
    """Names of tools and of arguments, thoughts, results: as many specials as without any in them."""
    text = "".join(parts)
    tool = {"type": "function", "function": {"name": text, "parameters": {text: text}}}
    rendered = TEMPLATE.render(called(text, {text: text}, text, text), tools=[tool])
    plain = TEMPLATE.render(called("x", {"x": "x"}, "x", "x"), tools=[ADD])
    specials = [[i for i in found.ids.tolist() if i >= TOKENIZER.n_text_ids] for found in (rendered, plain)]
    assert specials[0] == specials[1]


def test_S10_N27_a_turn_of_weight_0_is_not_learned_nor_is_its_end():
    messages = [dict(message) for message in TWO_TURNS]
    messages[1]["weight"] = 0
    rendered = TEMPLATE.render(messages)
    assert TOKENIZER.decode(rendered.ids[rendered.mask]) == "gh<|assistant_end|>"
    assert rendered.ids.tolist() == TEMPLATE.render(TWO_TURNS).ids.tolist()
    messages[1]["weight"], messages[3]["train"] = 1, False
    assert not TEMPLATE.render(messages, learn="last").mask.any()
    whole = TEMPLATE.render(messages, learn="all")
    assert TOKENIZER.decode(whole.ids[~whole.mask]) == "gh<|assistant_end|>"


def test_a_tokenizer_with_the_five_specials_of_turns_is_taken_as_it_is():
    old = ByteTokenizer(specials=["<|endoftext|>", *TURN_SPECIALS])
    template, tokenizer = chat_template(old)
    assert tokenizer is old
    assert tokenizer.vocab_size == 256 + 6
    assert template.render(TWO_TURNS).ids.tolist() == TEMPLATE.render(TWO_TURNS).ids.tolist()
    with pytest.raises(RequestError, match="without tools and thinking"):
        template.render(called("add", {}, "r"))


def trained_bpe() -> Tokenizer:
    tokenizer = BPETokenizer(vocab_size=262, train_bytes=1000)
    tokenizer.train(["the theme of the thesis " * 20])
    return tokenizer


@pytest.mark.parametrize("make", [lambda: CharTokenizer(chars="abc"), trained_bpe], ids=["char", "bpe"])
def test_added_specials_change_no_id(make, tmp_path):
    plain = make()
    _, larger = chat_template(plain)
    assert larger.encode("abc").tolist() == plain.encode("abc").tolist()
    assert (larger.eot, larger.vocab_size) == (plain.eot, plain.vocab_size + len(CHAT_SPECIALS))
    assert larger.fingerprint != plain.fingerprint
    larger.save(tmp_path)
    assert load_tokenizer(tmp_path).specials == larger.specials
    assert plain.special_names == ["<|endoftext|>"]


def test_a_tokenizer_that_is_not_trained_yet_gets_them_too():
    template, tokenizer = chat_template(ByteTokenizer(specials=["<|endoftext|>", *CHAT_SPECIALS]))
    assert template.end == tokenizer.specials[ASSISTANT_END]
    assert chat_template(tokenizer)[1] is tokenizer


@pytest.mark.parametrize(
    ("messages", "says"),
    [
        ([], "without messages"),
        ("hello", "without messages"),
        (chat("a"), "the last one assistant"),
        (chat("a", "b", "c"), "roles are user, assistant, user"),
        ([{"role": "user", "content": "a"}] * 2, "in turn"),
        ([{"role": "system", "content": "a"}], "in turn"),
        ([{"role": "assistant", "content": "a"}], "in turn"),
        ([{"role": "narrator", "content": "a"}], "role 'narrator'"),
        ([{"role": "tool", "content": "a"}], "roles are tool"),
        (chat("a", " \n"), "message 2 (assistant) is empty"),
        (chat("a", None), "content is NoneType"),
        ([{"content": "a"}], "expected {'role'"),
        (["a"], "expected {'role'"),
    ],
)
def test_wrong_conversations_are_told(messages, says):
    with pytest.raises(RequestError, match=None) as caught:
        TEMPLATE.render(messages)
    assert says in str(caught.value)


def test_text_styles_refuse_several_turns():
    template, _ = chat_template(ByteTokenizer(), "plain")
    with pytest.raises(RequestError, match=r"data\.template=chat"):
        template.render(TWO_TURNS)


def test_a_tokenizer_without_specials_is_refused():
    with pytest.raises(RequestError, match="objective=sft"):
        SpecialsTemplate(ByteTokenizer())
