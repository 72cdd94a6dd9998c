"""Hugging Face tokenizers: the ids of transformers for plain text, and no control token out of any text."""

import json
import os
import subprocess
import sys
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer as Backend
from tokenizers.processors import ByteLevel, Sequence, TemplateProcessing
from transformers import AutoTokenizer

from errors import RequestError
from tests.tokenization.hub_like import CHAT, CORPUS, FAMILIES, LOSSLESS, gpt2_like, llama_like
from tokenization.base import EOT, load_tokenizer
from tokenization.chat import CHAT_SPECIALS, chat_template, with_specials
from tokenization.exporting import hf_files
from tokenization.hf import HFTokenizer
from tokenization.hf_vocabulary import byte_of_sign

ALL = pytest.mark.parametrize("family", FAMILIES)
HOSTILE = (
    EOT,
    "<|im_start|>",
    "<User>",
    "</s>",
    "<s>",
    "<pad>",
    "[SEP]",
    "[MASK]",
    "[CLS]",
    "<0x41>",
    "\uffff \uffff1",
)
TEXTS = (CORPUS, "Hello  world,\n\tit's 1234 <think> no </think>    yes", "häßlich 中文 \U0001f600", "", "\ud800a")


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("hub")
    return {name: make(root / name) for name, make in FAMILIES.items()}


@pytest.fixture(scope="module")
def loaded(folders: dict[str, Path]) -> dict[str, HFTokenizer]:
    return {name: HFTokenizer(name=str(folder)) for name, folder in folders.items()}


@ALL
@pytest.mark.parametrize("text", TEXTS[:4])
def test_plain_text_gives_the_ids_of_transformers(family, text, folders, loaded) -> None:
    other = AutoTokenizer.from_pretrained(folders[family])
    ids = loaded[family].encode(text)
    assert ids.tolist() == other.encode(text, add_special_tokens=False)
    if family != "bert_like":  # transformers tidies its blanks
        assert loaded[family].decode(ids) == other.decode(ids.tolist(), clean_up_tokenization_spaces=False)


@given(text=st.text(), at=st.integers(0, 5), special=st.sampled_from(HOSTILE))
def test_N13_text_never_yields_a_special(text, at, special, loaded) -> None:
    text = text[:at] + special + text[at:]
    for family, tokenizer in loaded.items():
        ids = tokenizer.encode(text)
        assert not set(ids.tolist()) & set(tokenizer.specials.values()), family
        if family in LOSSLESS:
            assert tokenizer.decode(ids) == text, family


def test_N13_specials_are_all_that_could_steer_a_model(loaded) -> None:
    assert {"<|endoftext|>", "<|im_start|>", "<User>"} == set(loaded["gpt2_like"].specials)
    assert {"</s>", "<pad>", EOT} == set(loaded["t5_like"].specials)
    assert {"[PAD]", "[CLS]", "[SEP]", "[MASK]", EOT} == set(loaded["bert_like"].specials)


@given(text=st.text())
def test_N42_token_bytes_add_up_to_the_source(text, loaded) -> None:
    tokenizer = loaded["gpt2_like"]
    assert tokenizer.token_bytes()[tokenizer.encode(text)].sum() == len(text.encode())
    llama = loaded["llama_like"]
    extra = text != ""  # the blank put in front
    assert llama.token_bytes()[llama.encode(text)].sum() == len(text.encode()) + extra


@ALL
def test_token_bytes_fit_the_vocabulary(family, loaded) -> None:
    tokenizer = loaded[family]
    sizes = tokenizer.token_bytes()
    assert sizes.shape == (tokenizer.vocab_size,)
    assert all(sizes[i] == 0 for i in tokenizer.specials.values())
    n = sizes[tokenizer.encode(CORPUS.lower())].sum()
    assert n == pytest.approx(len(CORPUS.encode()), rel=0.12)  # bert loses blanks at line ends


@ALL
def test_the_end_of_a_document(family, loaded) -> None:
    tokenizer = loaded[family]
    name = {"gpt2_like": EOT, "bert_like": EOT}.get(family, "</s>")
    assert tokenizer.decode([*tokenizer.encode("one"), tokenizer.eot]) == f"one{name}"
    assert tokenizer.decode([tokenizer.eot], skip_specials=True) == ""
    assert tokenizer.specials[EOT] == tokenizer.eot


@ALL
def test_saved_with_the_run_and_reloaded_from_it(family, loaded, tmp_path) -> None:
    tokenizer = loaded[family]
    tokenizer.save(tmp_path)
    again = load_tokenizer(tmp_path)
    assert (again.fingerprint, again.specials, again.eot) == (tokenizer.fingerprint, tokenizer.specials, tokenizer.eot)
    assert np.array_equal(again.encode(CORPUS), tokenizer.encode(CORPUS))
    assert again.chat_template == tokenizer.chat_template
    assert HFTokenizer(name=str(tmp_path / "hf")).encode("a b").tolist() == tokenizer.encode("a b").tolist()


def test_N16_added_specials_come_after_all_others_and_are_saved(folders, loaded, tmp_path) -> None:
    plain = loaded["llama_like"]
    tokenizer = HFTokenizer(name=str(folders["llama_like"]), specials=["<|user|>", EOT])
    assert tokenizer.specials["<|user|>"] == plain.vocab_size == tokenizer.vocab_size - 1
    assert tokenizer.eot == plain.eot  # its own end of sequence is the end of text
    assert tokenizer.fingerprint != plain.fingerprint
    ids = tokenizer.encode("<|user|>")
    assert plain.vocab_size not in ids
    assert tokenizer.decode(ids) == "<|user|>"
    tokenizer.save(tmp_path)
    assert load_tokenizer(tmp_path).fingerprint == tokenizer.fingerprint
    assert AutoTokenizer.from_pretrained(tmp_path / "hf").convert_tokens_to_ids("<|user|>") == plain.vocab_size


@ALL
def test_N16_specials_that_a_run_adds_are_there_again_when_it_is_loaded(family, loaded, tmp_path) -> None:
    """The files beside the state are those of the Hub, as in runs of before."""
    tokenizer = with_specials(loaded[family], CHAT_SPECIALS)
    assert tokenizer.vocab_size == loaded[family].vocab_size + len(CHAT_SPECIALS)
    tokenizer.save(tmp_path)
    again = load_tokenizer(tmp_path)
    assert (again.specials, again.eot, again.fingerprint) == (tokenizer.specials, tokenizer.eot, tokenizer.fingerprint)
    assert again.vocab_size == tokenizer.vocab_size
    assert again.encode(CORPUS).tolist() == tokenizer.encode(CORPUS).tolist()
    assert (tmp_path / "hf" / "tokenizer.json").read_bytes() == loaded[family].files()["hf/tokenizer.json"]


def test_N13_an_added_special_that_text_could_make_is_control_from_then_on(loaded, tmp_path) -> None:
    plain = loaded["gpt2_like"]
    (think,) = plain.encode("<think>").tolist()
    tokenizer = with_specials(plain, ["<think>", "<new>"])
    tokenizer.save(tmp_path)
    for found in (tokenizer, load_tokenizer(tmp_path)):
        assert (found.specials["<think>"], found.specials["<new>"]) == (think, plain.vocab_size)
        assert think not in found.encode("<think>").tolist()
    assert plain.encode("<think>").tolist() == [think]


TODAY = "{{ strftime_now('%d %b %Y') }}" + CHAT


def test_a_template_writes_the_day_on_which_its_run_began(tmp_path, monkeypatch) -> None:
    talk = [{"role": "user", "content": "x"}, {"role": "assistant", "content": "y"}]
    gpt2_like(tmp_path / "hub", chat_template=TODAY)
    yesterday, today = datetime.now() - timedelta(days=1), datetime.now()

    def rendered(tokenizer) -> str:
        return tokenizer.decode(chat_template(tokenizer)[0].render(talk).ids)

    monkeypatch.setattr("tokenization.hf.time.time", yesterday.timestamp)
    first = HFTokenizer(name=str(tmp_path / "hub"))
    first.save(tmp_path / "run")
    monkeypatch.undo()
    assert yesterday.strftime("%d %b %Y") in rendered(first)
    again = load_tokenizer(tmp_path / "run")
    again.save(tmp_path / "next")
    assert rendered(first) == rendered(again) == rendered(load_tokenizer(tmp_path / "next"))
    new = HFTokenizer(name=str(tmp_path / "hub"))
    assert new.moment >= today.replace(microsecond=0)
    assert new.moment.strftime("%d %b %Y") in rendered(new)
    assert new.fingerprint == first.fingerprint  # its ids of any text are the same
    assert "chat_template.moment" not in hf_files(first, seq_len=64)
    # runs of before: when their files were written
    old = tmp_path / "run" / "hf"
    (old / "chat_template.moment").unlink()
    os.utime(old / "tokenizer.json", (today.timestamp() - 5 * 86400,) * 2)
    assert (today - timedelta(days=5)).strftime("%d %b %Y") in rendered(load_tokenizer(tmp_path / "run"))
    (old / "chat_template.moment").write_text("soon")
    with pytest.raises(RequestError, match=r"chat_template.moment holds b'soon'; expected a date"):
        load_tokenizer(tmp_path / "run")


def test_chat_template_and_roles_are_kept(loaded) -> None:
    assert loaded["gpt2_like"].chat_template == CHAT
    assert loaded["llama_like"].chat_template is None
    assert loaded["llama_like"].roles["bos_token"] == "<s>"


def test_another_end_of_document_can_be_named(folders) -> None:
    tokenizer = HFTokenizer(name=str(folders["gpt2_like"]), eot="<|im_start|>")
    assert tokenizer.decode([tokenizer.eot]) == "<|im_start|>"
    with pytest.raises(RequestError, match=r"eot=<end>.*<\|endoftext\|>, <\|im_start\|>"):
        HFTokenizer(name=str(folders["gpt2_like"]), eot="<end>")


def test_older_formats_are_converted(folders, loaded, tmp_path) -> None:
    """A folder with vocab.json and merges.txt only, as GPT-2 was published."""
    model = json.loads((folders["gpt2_like"] / "tokenizer.json").read_text())["model"]
    vocab = model["vocab"] | {"<|endoftext|>": len(model["vocab"])}
    (tmp_path / "vocab.json").write_text(json.dumps(vocab))
    merges = [pair if isinstance(pair, str) else " ".join(pair) for pair in model["merges"]]
    (tmp_path / "merges.txt").write_text("#version: 0.2\n" + "\n".join(merges) + "\n")
    (tmp_path / "config.json").write_text('{"model_type": "gpt2"}')
    tokenizer = HFTokenizer(name=str(tmp_path))
    assert tokenizer.encode("the Software").tolist() == loaded["gpt2_like"].encode("the Software").tolist()
    assert tokenizer.decode([tokenizer.eot]) == EOT


def test_F25_a_pattern_that_tries_everything_ends_in_words(tmp_path, folders) -> None:
    """tokenizers gives up after so many tries, with a panic of its Rust, which is no Exception."""
    found = json.loads((folders["gpt2_like"] / "tokenizer.json").read_text())
    found["pre_tokenizer"] = {
        "type": "Split",
        "pattern": {"Regex": "(a|aa)+$"},
        "behavior": "Isolated",
        "invert": False,
    }
    (tmp_path / "tokenizer.json").write_text(json.dumps(found))
    with pytest.raises(RequestError, match=r"tokenizers itself fails on it .*retry"):
        HFTokenizer(name=str(tmp_path)).encode("a" * 400 + "c")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "no tokenizer that transformers can read"),
        ("{", "damaged"),
        ('{"kind": "byte"}', "is a byte tokenizer of this program"),
        ('{"model": {"type": "BPE"}}', "no vocabulary"),
        ('{"model": {"vocab": {"a": 0}, "type": "?"}}', "cannot be read"),
        ('{"model": {"vocab": [1, 2]}}', "not as tokenizers writes it"),
        ('{"model": {"vocab": {}}, "added_tokens": [3]}', "not as tokenizers writes it"),
    ],
)
def test_a_folder_without_a_tokenizer_is_refused(content, words, tmp_path) -> None:
    (tmp_path / "readme.txt").write_text("x")
    if content is not None:
        (tmp_path / "tokenizer.json").write_text(content)
    with pytest.raises(RequestError, match=words):
        HFTokenizer(name=str(tmp_path))


@pytest.mark.parametrize("name", ["./nowhere", "/nowhere/at/all", "a/b/c"])
def test_a_folder_that_is_not_there_is_refused(name) -> None:
    with pytest.raises(RequestError, match="no such folder"):
        HFTokenizer(name=name)


def test_N11_without_a_connection_a_hub_id_says_what_to_fetch(tmp_path) -> None:
    code = (
        "from tokenization.hf import HFTokenizer; from errors import RequestError\n"
        "try: HFTokenizer(name='some/model')\n"
        "except RequestError as error: print(error)"
    )
    env = {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path), "PATH": ""}
    found = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True)
    assert "hf download some/model" in found.stdout, found.stderr


def test_changed_files_are_noticed(loaded, tmp_path) -> None:
    loaded["gpt2_like"].save(tmp_path)
    file = tmp_path / "hf" / "tokenizer.json"
    file.write_text(file.read_text().replace("<User>", "<Loser>"))
    with pytest.raises(RequestError, match="was changed after it was saved"):
        load_tokenizer(tmp_path)


def test_neither_torch_nor_transformers_is_imported(folders) -> None:
    code = f"import sys; from tokenization.hf import HFTokenizer; HFTokenizer(name={str(folders['gpt2_like'])!r})"
    code += "; sys.exit(bool({'torch', 'transformers'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_the_alphabet_of_bytes_is_whole() -> None:
    assert sorted(byte_of_sign().values()) == list(range(256))
    assert byte_of_sign()["Ġ"] == ord(" ")


@pytest.mark.parametrize("kind", ["llama_like", "gpt2_like"])
def test_a_continuation_keeps_the_blank_that_it_begins_with(kind, loaded) -> None:
    tokenizer, text = loaded[kind], "the copyright 中文 of the"
    ids = tokenizer.encode(text)
    alone = 0
    for k in range(len(ids)):
        before = tokenizer.decode(ids[:k])
        if "\ufffd" not in before:
            assert before + tokenizer.decode_after(ids[:k], ids[k:]) == text
            alone += before + tokenizer.decode(ids[k:]) != text
    assert bool(alone) == (kind == "llama_like")
    assert tokenizer.decode_after([tokenizer.eot], ids, skip_specials=True) == text


@pytest.mark.parametrize(
    ("config", "post_processor", "begins"),
    [
        ({}, None, None),
        ({"add_bos_token": True}, None, "<s>"),  # Llama 2, Gemma
        ({}, TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)]), "<s>"),
        ({"add_bos_token": False}, TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)]), None),
        (
            {},
            Sequence([ByteLevel(), TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])]),
            "<s>",
        ),  # Llama 3
        ({}, TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 2)]), None),
    ],
)
def test_what_a_folder_puts_before_a_text_is_known_and_not_put_there(tmp_path, config, post_processor, begins):
    folder = llama_like(tmp_path)
    if post_processor is not None:
        backend = Backend.from_file(str(folder / "tokenizer.json"))
        backend.post_processor = post_processor
        backend.save(str(folder / "tokenizer.json"))
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(json.dumps(settings | config))
    tokenizer = HFTokenizer(name=str(folder))
    assert tokenizer.begins == begins
    assert not {1, 2} & set(tokenizer.encode("The work").tolist())


def test_the_text_of_an_id_keeps_its_blank(tmp_path):
    tokenizer = HFTokenizer(name=str(llama_like(tmp_path)))
    text, ids = tokenizer.texts_of_ids(), tokenizer.encode("One two, one two.").tolist()
    assert "".join(map(text, ids)) == " One two, one two."  # the tokenizer puts one in front
    assert any(text(i).startswith(" ") and not tokenizer.decode([i]).startswith(" ") for i in ids)
    assert text(tokenizer.eot) == tokenizer.decode([tokenizer.eot])
