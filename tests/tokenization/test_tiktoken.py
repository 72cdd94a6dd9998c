"""Published vocabularies: tiktoken's own ids and specials; without net or cache the words say what to fetch."""

import base64
import hashlib
import os
import socket
from pathlib import Path

import pytest
import tiktoken
from tiktoken.load import load_tiktoken_bpe

from errors import RequestError
from tokenization.base import EOT, load_tokenizer
from tokenization.tiktoken import HOST, TiktokenTokenizer

CACHE = Path(os.environ.get("REAL_DATA", "/nowhere")) / "tiktoken_cache"
TEXT = "It's 1234 o'clock.\n\n  \tÜber 中文 \U0001f600  <|endoftext|>"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """256 bytes and three merges; ids 5 and 300 stand for nothing."""
    tokens = [*(bytes([b]) for b in range(256)), b"th", b"the", b" the"]
    ranks = [i + (i >= 5) for i in range(len(tokens))]
    path = tmp_path / "small.tiktoken"
    path.write_text("".join(f"{base64.b64encode(t).decode()} {r}\n" for t, r in zip(tokens, ranks, strict=True)))
    return path


def test_a_local_file_gives_tiktokens_ids(file) -> None:
    tokenizer = TiktokenTokenizer(name=str(file), pattern="gpt2")
    ranks = load_tiktoken_bpe(str(file))
    other = tiktoken.Encoding("x", pat_str=tokenizer.regex, mergeable_ranks=ranks, special_tokens={})
    for text in (TEXT, "the the", " " * 1000):
        assert tokenizer.encode(text).tolist() == other.encode_ordinary(text)
        assert tokenizer.decode(tokenizer.encode(text)) == text
    assert tokenizer.encode("the the").tolist() == [258, 259]
    assert tokenizer.decode([5]) == ""  # an id without a token


def test_N16_specials_keep_their_ids_or_follow_after_all_others(file, tmp_path) -> None:
    tokenizer = TiktokenTokenizer(name=str(file), special_ids={EOT: 301}, specials=[EOT, "<|user|>"])
    assert tokenizer.specials == {EOT: 301, "<|user|>": 302}
    assert (tokenizer.eot, tokenizer.vocab_size) == (301, 303)
    assert tokenizer.decode([301, 258, 302]) == f"{EOT}the<|user|>"
    assert tokenizer.token_bytes()[[258, 259, 300, 301, 302]].tolist() == [3, 4, 0, 0, 0]
    tokenizer.save(tmp_path / "run")
    again = load_tokenizer(tmp_path / "run")
    assert (again.fingerprint, again.specials) == (tokenizer.fingerprint, tokenizer.specials)
    assert again.encode(TEXT).tolist() == tokenizer.encode(TEXT).tolist()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "expected gpt2, .* or a file"),
        ('{"model": {}}', "line 1: expected a token in base64"),
        ("YQ== 0\n", "lacks byte 0x00"),
    ],
)
def test_a_file_of_another_kind_is_refused(content, words, tmp_path) -> None:
    if content is not None:
        (tmp_path / "file").write_text(content)
    with pytest.raises(RequestError, match=words):
        TiktokenTokenizer(name=str(tmp_path / "file"))


def test_ids_that_clash_are_refused(file) -> None:
    with pytest.raises(RequestError, match="cannot have id 7"):
        TiktokenTokenizer(name=str(file), special_ids={EOT: 7})
    with pytest.raises(RequestError, match=r"tokenizer\.pattern is for a file"):
        TiktokenTokenizer(name="gpt2", pattern="gpt4")


def test_changed_ranks_are_noticed(file, tmp_path) -> None:
    TiktokenTokenizer(name=str(file)).save(tmp_path / "run")
    ranks = tmp_path / "run" / "ranks.tiktoken"
    ranks.write_text(ranks.read_text().replace("dGhl 258", "dGhh 258"))
    with pytest.raises(RequestError, match="changed after it was saved"):
        load_tokenizer(tmp_path / "run")


def test_N11_without_net_and_cache_the_words_say_what_to_fetch_and_where_to(tmp_path, monkeypatch) -> None:
    def no_net(*_: object, **__: object) -> None:
        raise OSError("Network is unreachable")

    monkeypatch.setattr(socket, "getaddrinfo", no_net)
    monkeypatch.setattr("tiktoken.registry.ENCODINGS", {})
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(tmp_path))
    url = HOST + "encodings/cl100k_base.tiktoken"
    with pytest.raises(RequestError) as caught:
        TiktokenTokenizer(name="cl100k")
    assert f"curl -L --create-dirs -o {tmp_path / hashlib.sha1(url.encode()).hexdigest()} {url}" in str(caught.value)


@pytest.mark.skipif(not CACHE.is_dir(), reason="REAL_DATA is not set")
def test_gpt2_offline_from_a_filled_cache(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(CACHE))
    tokenizer = TiktokenTokenizer(name="gpt2", specials=[EOT, "<|user|>"])
    other = tiktoken.get_encoding("gpt2")
    assert tokenizer.encode(TEXT).tolist() == other.encode_ordinary(TEXT)
    assert (tokenizer.eot, tokenizer.specials["<|user|>"], tokenizer.vocab_size) == (50256, 50257, 50258)
    tokenizer.save(tmp_path)
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(tmp_path / "empty"))
    assert load_tokenizer(tmp_path).fingerprint == tokenizer.fingerprint
