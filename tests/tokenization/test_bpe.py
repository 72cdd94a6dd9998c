"""Byte-level BPE: the merges are those of the textbook algorithm, counts included, and encoding applies them."""

import itertools
import random
from collections import Counter
from pathlib import Path
from pydoc_data.topics import topics

import numpy as np
import pytest
import regex
import tiktoken
from hypothesis import given, settings
from hypothesis import strategies as st

from errors import RequestError
from tokenization.base import load_tokenizer
from tokenization.bpe import BPETokenizer, learn, made_of
from tokenization.byte_bpe import encode_with
from tokenization.merges import table, words_of
from tokenization.patterns import GPT2, split_pattern

CORPUS = "".join(text for _, text in sorted(topics.items()))[:200_000]  # English and Python, in every Python


def bpe(text: str = CORPUS, **more) -> BPETokenizer:
    tokenizer = BPETokenizer(**{"vocab_size": 512, "train_bytes": 10**7, "specials": None} | more)
    tokenizer.train([text])
    return tokenizer


def textbook(text: str, n_merges: int, pattern: str) -> list[tuple[int, int]]:
    """Sennrich et al. 2016, algorithm 1: count all pairs anew, merge the most frequent; ties to the smaller ids."""
    words = Counter(tuple(word.encode()) for word in regex.findall(pattern, text))
    merges: list[tuple[int, int]] = []
    while len(merges) < n_merges:
        pairs: Counter[tuple[int, int]] = Counter()
        for word, count in words.items():
            for pair in itertools.pairwise(word):
                pairs[pair] += count
        merges.append(min(pairs, key=lambda pair: (-pairs[pair], pair)))
        words = Counter({merged(word, merges[-1], 255 + len(merges)): n for word, n in words.items()})
    return merges


def merged(word: tuple[int, ...], pair: tuple[int, int], new: int) -> tuple[int, ...]:
    out: list[int] = []
    for part in word:
        if out and (out[-1], part) == pair:
            out[-1] = new
        else:
            out.append(part)
    return tuple(out)


def test_merges_are_those_of_the_textbook() -> None:
    tokenizer = bpe(CORPUS[:30_000], vocab_size=256 + 150 + 1)
    assert tokenizer.pairs == textbook(CORPUS[:30_000], 150, tokenizer.regex)


def test_the_view_counts_merges_as_they_are_made() -> None:
    """Against applying every merge in its turn and counting."""
    tokenizer = bpe(CORPUS[:30_000], vocab_size=256 + 100 + 1)
    words = Counter(tuple(word.encode()) for word in regex.findall(tokenizer.regex, CORPUS[:30_000]))
    for i, merge in enumerate(tokenizer.merges):
        new, made = Counter(), 0
        for word, count in words.items():
            shorter = merged(word, (merge.left, merge.right), 256 + i)
            made += count * (len(word) - len(shorter))
            new[shorter] += count
        words = new
        assert (merge.id, merge.times) == (256 + i, made)


def test_the_view_shows_the_first_words_and_is_saved(tmp_path: Path) -> None:
    tokenizer = bpe("the other theme\n" * 9 + "at last\n", vocab_size=263)
    first = tokenizer.merges[0]
    assert (first.token, first.times, first.words) == ("he", 27, (" other", " theme", "the"))
    assert table(tokenizer.merges, rows=4)[0] == ("1", "256", '"he"', "27", '" other" " theme" "the"')
    tokenizer.save(tmp_path)
    assert load_tokenizer(tmp_path).merges == tokenizer.merges
    (tmp_path / "merges.tsv").unlink()
    assert load_tokenizer(tmp_path).fingerprint == tokenizer.fingerprint


def test_S40_common_words_are_single_tokens() -> None:
    tokenizer = bpe(vocab_size=2048)
    for word in (" the", " of", " and", " is", " statement", " object", " class"):
        assert len(tokenizer.encode(word)) == 1, word


def test_S40_a_sample_that_could_overflow_the_counts_is_refused() -> None:
    with pytest.raises(RequestError, match="train_bytes=2147483648"):
        bpe(train_bytes=1 << 31)


@pytest.mark.parametrize("digits", [1, 2, 3])
def test_numbers_are_split_in_groups(digits: int) -> None:
    text = "12345 " * 1000
    tokens = bpe(text * 3 + CORPUS, digits=digits, vocab_size=1000).tokens()
    longest = max(len(token) for token in tokens if token.isdigit())
    assert longest == digits


def test_gpt2_ids_and_pattern_are_tiktokens() -> None:
    """The same merges give the same ids as a tiktoken encoding made by hand."""
    tokenizer = bpe(pattern="gpt2", vocab_size=1024)
    ranks = {token: i for i, token in enumerate(tokenizer.tokens())}
    other = tiktoken.Encoding("x", pat_str=GPT2, mergeable_ranks=ranks, special_tokens={"<|endoftext|>": 1023})
    text = CORPUS + "It's 12 o'clock.\n\n  \tÜber \u4e2d\u6587 \U0001f600  "
    assert tokenizer.encode(text).tolist() == other.encode_ordinary(text)
    assert tokenizer.eot == 1023
    assert tokenizer.vocab_size == 1024


@given(text=st.text(alphabet="ab", min_size=4, max_size=60))
@settings(max_examples=100)
def test_every_token_is_made_of_two_earlier_ones(text: str) -> None:
    tokens = learn([text], 300, split_pattern("gpt4", 2))
    assert len(set(tokens)) == len(tokens)
    ids = {token: i for i, token in enumerate(tokens)}
    for i, token in enumerate(tokens[256:], start=256):
        left, right = made_of(token, ids)
        assert tokens[left] + tokens[right] == token
        assert max(left, right) < i


def test_long_runs_and_long_texts_never_crash() -> None:
    tokenizer = bpe()
    for text in (" " * 1_000_000, "\n" * 300_000, "a" * 300_000, " x" * 200_000, "\u00e9" * 200_000):
        assert tokenizer.decode(tokenizer.encode(text)) == text
    backtracking = bpe(pattern=r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+|\s*[\r\n]|\s+(?!\S)|\s+")
    assert backtracking.decode(backtracking.encode(" " * 1_000_000)) == " " * 1_000_000
    long = CORPUS * 3
    assert len(long) > 1 << 18
    whole = tokenizer._encoding.encode_ordinary(long)
    assert tokenizer.encode(long).tolist() == whole


def test_many_texts_at_once_with_threads() -> None:
    tokenizer = bpe()
    texts = [CORPUS[i : i + 1000] for i in range(0, 20_000, 1000)]
    for threads in (1, 2):
        for ids, text in zip(tokenizer.encode_batch(texts, threads=threads), texts, strict=True):
            assert np.array_equal(ids, tokenizer.encode(text))


def test_state_is_small_and_text(tmp_path: Path) -> None:
    tokenizer = bpe(vocab_size=1024)
    tokenizer.save(tmp_path)
    file = tmp_path / "tokenizer.json"
    assert file.stat().st_size < 12_000  # 767 merges
    assert len(file.read_text().splitlines()) < 20
    again = load_tokenizer(tmp_path)
    assert again.trained
    assert again.encode(CORPUS).tolist() == tokenizer.encode(CORPUS).tolist()


def test_the_sample_is_bounded_and_seeded() -> None:
    lines = CORPUS.splitlines(keepends=True)
    random.Random(0).shuffle(lines)
    few = [BPETokenizer(vocab_size=300, train_bytes=20_000, seed=seed) for seed in (1, 1, 2)]
    for tokenizer in few:
        tokenizer.train(iter(lines))
    assert few[0].pairs == few[1].pairs != few[2].pairs


def test_a_vocabulary_that_the_corpus_cannot_fill_is_refused() -> None:
    with pytest.raises(RequestError, match=r"vocab_size=300 is more than the corpus supports(.|\n)*vocab_size=261 or"):
        bpe("abcd abcd", vocab_size=300)
    assert bpe("abcd abcd", vocab_size=261).vocab_size == 261
    with pytest.raises(RequestError, match="at least 257"):
        bpe(vocab_size=256)


@pytest.mark.parametrize("merges", ["97", "97,b", "97,256", "97,98 257,97"])
def test_merges_that_are_none_are_refused(merges: str) -> None:
    with pytest.raises(RequestError, match=r"tokenizer\.merges"):
        BPETokenizer(vocab_size=300, train_bytes=1, merges=merges)


def test_keys_that_do_nothing_are_refused_or_named_and_saved_ones_are_read(tmp_path, caplog) -> None:
    with pytest.raises(RequestError, match=r"tokenizer\.digits=7 is for tokenizer\.pattern=gpt4; 'gpt2'"):
        BPETokenizer(vocab_size=300, train_bytes=1, pattern="gpt2", digits=7)
    made = BPETokenizer(vocab_size=3000, train_bytes=5, seed=9, merges="97,98")
    assert "tokenizer.merges are 258 ids in all: vocab_size=3000, train_bytes=5 and seed=9" in caplog.text
    caplog.clear()
    made.pattern, made.digits = "gpt2", 7  # as earlier versions saved it
    made.save(tmp_path)
    assert load_tokenizer(tmp_path).fingerprint == made.fingerprint
    BPETokenizer(vocab_size=258, train_bytes=5, merges="97,98")
    assert caplog.text == ""


@pytest.mark.parametrize(
    ("pattern", "words"), [("(", "regular expression"), (r"\w+", "leaves out part"), ("gpt5", "leaves")]
)
def test_a_pattern_that_would_lose_text_is_refused(pattern: str, words: str) -> None:
    with pytest.raises(RequestError, match=words):
        bpe(pattern=pattern)


def test_F25_a_pattern_that_tries_everything_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """tiktoken takes it; the count of the words would have no end."""
    monkeypatch.setattr("tokenization.merges.COUNT_S", 0.05)
    with pytest.raises(RequestError, match=r"were not enough to split a text of 401"):
        words_of(["a" * 400 + "c"], r"(a|aa)+$|\s|.")


def test_F25_a_pattern_that_tiktoken_gives_up_is_told() -> None:
    """A panic of its Rust, which is no Exception: a traceback, and the end of a server."""
    ranks = {bytes([byte]): byte for byte in range(256)}
    encoding = tiktoken.Encoding("x", pat_str=r"(a|aa)+(?=b)|\s|.", mergeable_ranks=ranks, special_tokens={})
    with pytest.raises(RequestError, match=r"tiktoken itself fails on it .*BacktrackLimit"):
        encode_with(encoding, "a" * 400 + "c")
    with pytest.raises(RequestError, match="rustbpe itself fails on it"):
        learn(["a" * 400 + "c"], 260, r"(a|aa)+(?=b)|\s|.")


def test_untrained_says_what_to_do() -> None:
    tokenizer = BPETokenizer(vocab_size=300, train_bytes=1)
    assert not tokenizer.trained
    for use in (lambda: tokenizer.encode("a"), lambda: tokenizer.vocab_size, lambda: tokenizer.token_bytes()):
        with pytest.raises(RequestError, match="no merges yet"):
            use()
