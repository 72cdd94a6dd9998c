"""Our tokenizers through tokenizer.json: transformers gets the same ids, the same text and the same conversations."""

import json
from pathlib import Path

import pytest

from tokenization.bpe import BPETokenizer
from tokenization.byte import ByteTokenizer
from tokenization.char import CharTokenizer
from tokenization.chat import TURN_SPECIALS, chat_template
from tokenization.chat.jinja import JinjaTemplate
from tokenization.exporting import hf_files
from tokenization.hf import HFTokenizer
from tokenization.sentencepiece import SentencePieceTokenizer
from tokenization.tiktoken import TiktokenTokenizer, write_ranks

TEXT = "Naïve café: 3.14159, 漢字!\n\n  def f(x):\n\treturn x # it's 2026 <unk> <0x41><|endoftext|> "
KINDS = ["byte", "char", "bpe", "tiktoken", "unigram", "sentencepiece bpe"]
CHAT = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Hello  there"},
    {"role": "assistant", "content": "Hi!\n"},
    {"role": "user", "content": "2+2?"},
]


def tiktoken_file(folder):
    """Ranks with a gap, and specials in it and behind it."""
    ranks = {bytes([i]): i for i in range(256)} | {b"th": 256, b" x": 258, b"xy": 259, b"xyz": 300, b" the": 301}
    ranks |= {b"2026": 302}  # no two tokens make it: found only as a whole word
    (folder / "own.tiktoken").write_bytes(write_ranks(ranks))
    return TiktokenTokenizer(name=str(folder / "own.tiktoken"), special_ids={"<|endoftext|>": 257, "<|x|>": 400})


def trained(kind, folder=None):
    if kind == "byte":
        return ByteTokenizer()
    if kind == "tiktoken":
        return tiktoken_file(folder)
    if kind in ("unigram", "sentencepiece bpe"):
        tokenizer = SentencePieceTokenizer(
            vocab_size=400, algorithm=kind.split()[-1], byte_fallback=True, normalization="identity",
            dummy_prefix=False, merge_blanks=False, train_bytes=10_000,
        )  # fmt: skip
        tokenizer.train([TEXT * 3, Path(__file__).read_text()])
        return tokenizer
    tokenizer = CharTokenizer() if kind == "char" else BPETokenizer(vocab_size=300, train_bytes=10_000)
    tokenizer.train([TEXT * 3])
    return tokenizer


def loaded(tokenizer, folder):
    from transformers import AutoTokenizer

    for name, content in hf_files(tokenizer, seq_len=64).items():
        (folder / name).write_bytes(content)
    return AutoTokenizer.from_pretrained(folder)


@pytest.mark.parametrize("kind", KINDS)
def test_N34_transformers_gets_the_same_ids(kind, tmp_path):
    ours = trained(kind, tmp_path)
    theirs = loaded(ours, tmp_path)
    plain = TEXT.replace("<|endoftext|>", "")  # they make a control token out of it, we never do
    ids = ours.encode(plain).tolist()
    assert theirs(plain)["input_ids"] == ids
    assert theirs.decode(ids) == plain
    assert theirs.eos_token_id == ours.eot
    assert max(theirs.get_vocab().values()) == ours.vocab_size - 1
    assert theirs.convert_tokens_to_ids(list(ours.specials)) == list(ours.specials.values())


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "char"])
def test_N15_conversations_are_written_the_same(kind, tmp_path):
    template, ours = chat_template(trained(kind, tmp_path))
    theirs = loaded(ours, tmp_path)
    asked = theirs.apply_chat_template(CHAT, add_generation_prompt=True, return_dict=False)
    assert asked == template.render_for_completion(CHAT).tolist()
    whole = [*CHAT, {"role": "assistant", "content": "4"}]
    found = theirs.apply_chat_template(whole, return_dict=True, return_assistant_tokens_mask=True)
    expected = template.render(whole)
    assert found["input_ids"] == expected.ids.tolist()
    assert [bool(m) for m in found["assistant_masks"]] == expected.mask.tolist()


ADD = {"type": "function", "function": {"name": "add", "description": "a\n+b", "parameters": {"type": "object"}}}
WITH_TOOLS = [
    {"role": "developer", "content": "Be brief."},
    {"role": "system", "content": ""},
    {"role": "user", "content": "2+2?"},
    {
        "role": "assistant", "content": None, "reasoning_content": "Add.",
        "tool_calls": [
            {"type": "function", "function": {"name": "add", "arguments": {"a": 2, "b": "é"}}},
            {"type": "function", "function": {"name": "add", "arguments": '{"a": 2}'}},
        ],
    },
    {"role": "tool", "content": "4"},
    {"role": "tool", "content": ""},
    {"role": "assistant", "content": "It is 4."},
]  # fmt: skip


@pytest.mark.parametrize("kind", ["byte", "bpe"])
def test_N15_tools_and_thinking_are_written_the_same(kind, tmp_path):
    template, ours = chat_template(trained(kind, tmp_path))
    theirs = loaded(ours, tmp_path)
    more = {"return_dict": True, "return_assistant_tokens_mask": True}
    found = theirs.apply_chat_template(WITH_TOOLS, tools=[ADD, ADD], **more)
    expected = template.render(WITH_TOOLS, tools=[ADD, ADD])
    assert theirs.decode(found["input_ids"]) == ours.decode(expected.ids)
    assert found["input_ids"] == expected.ids.tolist()
    assert [bool(m) for m in found["assistant_masks"]] == expected.mask.tolist()


@pytest.mark.parametrize(
    "call",
    [
        {}, {"arguments": None}, {"arguments": {}}, {"arguments": ""}, {"arguments": "not JSON: a, b"},
        {"arguments": '{"a":1,"b":[1,2,{"c":"x, y:z"}]}'}, {"arguments": '{"to":"<|user_start|>","é":null}'},
        {"arguments": json.dumps({"a": 'say "hi", ok\\', "b": "C:\\users"}, indent=1)},
    ],
    ids=str,
)  # fmt: skip
def test_N15_arguments_that_are_text_or_not_there_are_written_as_in_training(call, tmp_path):
    """By transformers, and here from the exported folder: what a message holds makes no control token (N13)."""
    talk = [
        {"role": "user", "content": "2+2?"},
        {"role": "assistant", "content": "", "tool_calls": [{"type": "function", "function": {"name": "add"} | call}]},
    ]
    template, ours = chat_template(trained("byte"))
    theirs, expected = loaded(ours, tmp_path), template.render(talk)
    assert theirs.apply_chat_template(talk, tokenize=False) == ours.decode(expected.ids)
    again = HFTokenizer(name=str(tmp_path))
    for found in (JinjaTemplate(again).render(talk), chat_template(again)[0].render(talk)):
        assert (found.ids.tolist(), found.mask.tolist()) == (expected.ids.tolist(), expected.mask.tolist())


def test_arguments_in_text_that_jinja_cannot_read_are_refused_there_and_read_here(tmp_path):
    call = {"function": {"name": "add", "arguments": json.dumps({"a": "é"})}}
    talk = [{"role": "user", "content": "2+2?"}, {"role": "assistant", "content": "", "tool_calls": [call]}]
    template, ours = chat_template(trained("byte"))
    with pytest.raises(Exception, match="give them as an object"):
        loaded(ours, tmp_path).apply_chat_template(talk, tokenize=False)
    again, _ = chat_template(HFTokenizer(name=str(tmp_path)))
    assert again.render(talk).ids.tolist() == template.render(talk).ids.tolist()


def test_a_tokenizer_with_the_specials_of_turns_alone_keeps_its_template(tmp_path):
    template, ours = chat_template(ByteTokenizer(specials=["<|endoftext|>", *TURN_SPECIALS]))
    theirs = loaded(ours, tmp_path)
    assert "tool" not in theirs.chat_template
    found = theirs.apply_chat_template(CHAT, add_generation_prompt=True, return_dict=False)
    assert found == template.render_for_completion(CHAT).tolist()


def test_settings_that_lose_something_have_no_tokenizer_json():
    lossy = SentencePieceTokenizer(
        vocab_size=100, algorithm="unigram", byte_fallback=False, normalization="nmt_nfkc", dummy_prefix=True,
        merge_blanks=True, train_bytes=10_000,
    )  # fmt: skip
    lossy.train([TEXT * 3, Path(__file__).read_text()])
    assert hf_files(lossy, seq_len=64) is None


@pytest.mark.parametrize("kind", ["unigram", "sentencepiece bpe"])
@pytest.mark.parametrize("more", ["", "<0x> A"], ids=["< is no piece", "< is one, F is not"])
def test_F36_the_name_of_a_byte_in_a_text_is_its_characters(kind, more, tmp_path):
    tokenizer = SentencePieceTokenizer(
        vocab_size=296, algorithm=kind.split()[-1], byte_fallback=True, normalization="identity", dummy_prefix=False,
        merge_blanks=False, train_bytes=10_000,
    )  # fmt: skip
    tokenizer.train(["The quick brown fox jumps over 0x12 the lazy dog. Naïve café\n" * 30 + more])
    theirs = loaded(tokenizer, tmp_path)
    for text in ["<0x0A>", "a<0x0A>b", "<0xFF>", "<0x0A><0x41>x", "<0x<0x0A>", "<0x", "\n<0x0a>\n", "<<>>", "<unk>"]:
        ids = list(tokenizer.encode(text))
        assert theirs(text, add_special_tokens=False).input_ids == ids, text
        assert theirs.decode(ids) == text
