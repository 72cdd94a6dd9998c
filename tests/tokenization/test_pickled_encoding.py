"""nanochat's tokenizer.pkl: its ids and specials, and nothing in it is run."""

import os
import pickle

import pytest
import tiktoken

from errors import RequestError
from tokenization.base import load_tokenizer
from tokenization.chat import TURN_SPECIALS
from tokenization.pickled_encoding import read_encoding
from tokenization.tiktoken import TiktokenTokenizer

PATTERN = r"'(?:[sdmt])|\p{N}{1,2}|\p{L}+|\s+|."
TEXT = "It's the 1234 theses <|bos|>\n"


def encoding():
    ranks = {bytes([i]): i for i in range(256)} | {b"th": 256, b"the": 257}
    return tiktoken.Encoding(
        "rustbpe", pat_str=PATTERN, mergeable_ranks=ranks,
        special_tokens={name: 258 + i for i, name in enumerate(TURN_SPECIALS)},
    )  # fmt: skip


class WritesAFile:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (self.path,)


def test_its_ids_and_specials_are_the_encodings(tmp_path):
    (tmp_path / "tokenizer.pkl").write_bytes(pickle.dumps(encoding()))
    tokenizer = TiktokenTokenizer(name=str(tmp_path / "tokenizer.pkl"), specials=["<|endoftext|>"])
    assert tokenizer.encode(TEXT).tolist() == encoding().encode_ordinary(TEXT)
    assert tokenizer.vocab_size == encoding().n_vocab == 263
    assert {name: tokenizer.specials[name] for name in TURN_SPECIALS} == encoding()._special_tokens
    assert tokenizer.eot == tokenizer.specials["<|bos|>"]  # nanochat puts it between texts
    assert tokenizer.decode([257, 258]) == "the<|bos|>"
    tokenizer.save(tmp_path / "saved")
    again = load_tokenizer(tmp_path / "saved")
    assert (again.specials, again.fingerprint) == (tokenizer.specials, tokenizer.fingerprint)


@pytest.mark.parametrize("nested", [False, True])
def test_a_pickle_that_would_run_code_is_refused(tmp_path, nested):
    evil = WritesAFile(str(tmp_path / "written"))
    (tmp_path / "tokenizer.pkl").write_bytes(pickle.dumps({"mergeable_ranks": evil} if nested else evil))
    with pytest.raises(RequestError, match=r"is refused: it asks for posix\.mkdir"):
        read_encoding(tmp_path / "tokenizer.pkl")
    assert not (tmp_path / "written").exists()


@pytest.mark.parametrize("content", [b"", b"no pickle", pickle.dumps({"a": 1})])
def test_anything_else_is_refused(tmp_path, content):
    (tmp_path / "tokenizer.pkl").write_bytes(content)
    with pytest.raises(RequestError, match="is refused"):
        read_encoding(tmp_path / "tokenizer.pkl")
