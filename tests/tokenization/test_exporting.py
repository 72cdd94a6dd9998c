"""Our tokenizers through tokenizer.json: transformers gets the same ids, the same text and the same conversations."""

import pytest

from tokenization.bpe import BPETokenizer
from tokenization.byte import ByteTokenizer
from tokenization.char import CharTokenizer
from tokenization.chat import chat_template
from tokenization.exporting import hf_files

TEXT = "Naïve café: 3.14159, 漢字!\n\n  def f(x):\n\treturn x # it's 2026 <|endoftext|> "
CHAT = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Hello  there"},
    {"role": "assistant", "content": "Hi!\n"},
    {"role": "user", "content": "2+2?"},
]


def trained(kind):
    if kind == "byte":
        return ByteTokenizer()
    tokenizer = CharTokenizer() if kind == "char" else BPETokenizer(vocab_size=300, train_bytes=10_000)
    tokenizer.train([TEXT * 3])
    return tokenizer


def loaded(tokenizer, folder):
    from transformers import AutoTokenizer

    for name, content in hf_files(tokenizer, seq_len=64).items():
        (folder / name).write_bytes(content)
    return AutoTokenizer.from_pretrained(folder)


@pytest.mark.parametrize("kind", ["byte", "char", "bpe"])
def test_N34_transformers_gets_the_same_ids(kind, tmp_path):
    ours = trained(kind)
    theirs = loaded(ours, tmp_path)
    plain = TEXT.replace("<|endoftext|>", "")  # they make a control token out of it, we never do
    ids = ours.encode(plain).tolist()
    assert theirs(plain)["input_ids"] == ids
    assert theirs.decode(ids) == plain
    assert (theirs.eos_token_id, len(theirs)) == (ours.eot, ours.vocab_size)


@pytest.mark.parametrize("kind", ["byte", "bpe"])
def test_N15_conversations_are_written_the_same(kind, tmp_path):
    template, ours = chat_template(trained(kind))
    theirs = loaded(ours, tmp_path)
    asked = theirs.apply_chat_template(CHAT, add_generation_prompt=True, return_dict=False)
    assert asked == template.render_for_completion(CHAT).tolist()
    whole = [*CHAT, {"role": "assistant", "content": "4"}]
    found = theirs.apply_chat_template(whole, return_dict=True, return_assistant_tokens_mask=True)
    expected = template.render(whole)
    assert found["input_ids"] == expected.ids.tolist()
    assert [bool(m) for m in found["assistant_masks"]] == expected.mask.tolist()
