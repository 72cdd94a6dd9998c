"""What holds for every tokenizer: round trips, specials that text cannot produce, files that know their damage."""

import json
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from errors import RequestError, RunError
from tokenization.base import EOT, Tokenizer, load_tokenizer
from tokenization.byte import ByteTokenizer
from tokenization.char import CharTokenizer

ROLES = [EOT, "<|user|>", "<|assistant|>"]
HOSTILE = "".join(ROLES) + "<|end" + "oftext|>"


def tokenizer_for(kind: type[Tokenizer], *texts: str) -> Tokenizer:
    tokenizer = kind(specials=ROLES)
    tokenizer.train([*texts, HOSTILE])
    return tokenizer


KINDS = pytest.mark.parametrize("kind", [ByteTokenizer, CharTokenizer])


@KINDS
@given(text=st.text(), at=st.integers(0, 5), special=st.sampled_from(ROLES))
def test_N13_text_never_yields_a_special_and_round_trips(kind, text, at, special):
    text = text[:at] + special + text[at:]
    tokenizer = tokenizer_for(kind, text)
    ids = tokenizer.encode(text)
    assert not set(ids.tolist()) & set(tokenizer.specials.values())
    assert tokenizer.decode(ids) == tokenizer.decode(ids, skip_specials=True) == text


@KINDS
@given(text=st.text())
def test_N42_token_bytes_add_up_to_the_source(kind, text):
    tokenizer = tokenizer_for(kind, text)
    assert tokenizer.token_bytes()[tokenizer.encode(text)].sum() == len(text.encode())
    assert tokenizer.token_bytes().shape == (tokenizer.vocab_size,)
    assert all(tokenizer.token_bytes()[i] == 0 for i in tokenizer.specials.values())


@KINDS
def test_lone_surrogates_never_crash(kind):
    assert tokenizer_for(kind, "a\ufffdb").decode(tokenizer_for(kind, "a\ufffdb").encode("a\ud800b")) == "a\ufffdb"


@KINDS
def test_specials_follow_the_text_and_decode_by_name(kind):
    tokenizer = tokenizer_for(kind, "ab")
    assert sorted(tokenizer.specials.values()) == list(range(tokenizer.vocab_size - 3, tokenizer.vocab_size))
    ids = [*tokenizer.encode("a"), tokenizer.eot, tokenizer.specials["<|user|>"], *tokenizer.encode("b")]
    assert tokenizer.decode(ids) == f"a{EOT}<|user|>b"
    assert tokenizer.decode(ids, skip_specials=True) == "ab"
    assert tokenizer.decode([]) == ""


@KINDS
@pytest.mark.parametrize("wrong", [-1, 10**6])
def test_an_id_beyond_the_vocabulary_is_refused(kind, wrong):
    with pytest.raises(RequestError, match=f"id {wrong} cannot be decoded"):
        tokenizer_for(kind, "ab").decode([0, wrong])


@KINDS
def test_save_and_load(kind, tmp_path):
    tokenizer = tokenizer_for(kind, "häßlich \U0001f600\n")
    tokenizer.save(tmp_path / "new")
    for again in (load_tokenizer(tmp_path / "new"), kind.load(tmp_path / "new")):
        assert type(again) is kind
        assert (again.fingerprint, again.specials) == (tokenizer.fingerprint, tokenizer.specials)
        assert np.array_equal(again.encode("häßlich"), tokenizer.encode("häßlich"))
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["tokenizer.json"]


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda path: path.unlink(), "holds no tokenizer.json"),
        (lambda path: path.write_bytes(path.read_bytes()[:20]), "cannot be read as JSON"),
        (lambda path: path.write_bytes(b"\xff\xfe"), "cannot be read as JSON"),
        (lambda path: path.write_text('{"version": "1.0", "model": {}}'), "not written by this program"),
        (lambda path: path.write_text(path.read_text().replace("endof", "endOf")), "is damaged"),
        (lambda path: path.write_text('{"kind": "morse", "fingerprint": 0}'), "is damaged"),
    ],
)
def test_a_damaged_or_foreign_file_is_refused(damage, words, tmp_path):
    ByteTokenizer().save(tmp_path)
    damage(tmp_path / "tokenizer.json")
    with pytest.raises(RequestError, match=words):
        load_tokenizer(tmp_path)


def test_a_tokenizer_of_another_kind_is_refused(tmp_path):
    ByteTokenizer().save(tmp_path)
    with pytest.raises(RequestError, match="type tokenizer=byte"):
        CharTokenizer.load(tmp_path)


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="Could not write"):
        ByteTokenizer().save(tmp_path / "file")


@pytest.mark.parametrize("specials", [[], ["<|user|>"], [EOT, EOT], [EOT, ""]])
def test_specials_must_hold_the_end_of_text_once(specials):
    with pytest.raises(RequestError, match=r"tokenizer\.specials"):
        ByteTokenizer(specials=specials)


def test_fingerprints_tell_tokenizers_apart():
    byte, more = ByteTokenizer(), ByteTokenizer(specials=ROLES)
    chars = [tokenizer_for(CharTokenizer, text) for text in ("ab", "abq")]
    untrained = CharTokenizer(specials=ROLES)
    assert len({t.fingerprint for t in (byte, more, *chars)}) == 4
    assert byte.recipe == byte.fingerprint
    assert untrained.recipe != chars[0].recipe
    assert json.loads(json.dumps(chars[0].state())) == chars[0].state()


def test_char_is_sorted_as_nanogpt():
    tokenizer = tokenizer_for(CharTokenizer, "hello world\n")
    assert tokenizer.chars == "".join(sorted(set("hello world\n" + HOSTILE)))
    assert tokenizer.encode("h").tolist() == [tokenizer.chars.index("h")]


def test_char_names_the_unseen_character_and_its_place():
    with pytest.raises(RequestError, match=r"'é' \(U\+00E9\) at character 2 .*\n.*tokenizer=byte"):
        tokenizer_for(CharTokenizer, "ab").encode("abé")


def test_char_before_training_says_what_to_do():
    for use in (lambda t: t.vocab_size, lambda t: t.encode("a"), lambda t: t.eot):
        with pytest.raises(RequestError, match="no vocabulary yet"):
            use(CharTokenizer())
    with pytest.raises(RequestError, match="found no character"):
        CharTokenizer().train([])


def test_tokenization_never_imports_torch():
    code = "import sys, tokenization.byte, tokenization.char; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
