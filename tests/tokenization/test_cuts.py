"""Where text is cut, the ids of its pieces are those of the whole: for every tokenizer, at every such place."""

import functools
import itertools

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.tokenization.hub_like import CORPUS, bert_like, gpt2_like, llama_like, t5_like
from tokenization import pieces as cutting
from tokenization.base import Tokenizer
from tokenization.bpe import BPETokenizer
from tokenization.byte import ByteTokenizer
from tokenization.char import CharTokenizer
from tokenization.hf import HFTokenizer
from tokenization.sentencepiece import SentencePieceTokenizer

O200K = "|".join(  # tiktoken_ext.openai_public.o200k_base
    [
        r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
        r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
        *(r"\p{N}{1,3}", r" ?[^\s\p{L}\p{N}]+[\r\n/]*", r"\s*[\r\n]+", r"\s+(?!\S)", r"\s+"),
    ]
)
WORDS = ["one", "Two", "don't", "it's", "12345", "_", "a_b", "/usr", "\u4e2d\u6587", "e\u0301", "\U0001f600", "\u2581"]
BLANKS = [" ", "  ", "\n", "\n\n", "\n\n\n", "\r\n", "\t", " \n ", "\u00a0", "\u2028", "    "]
MARKS = [".", ", ", "!?", "'", "\u3002", "(", ")\n", "...", "_\n", "/\n", ".\n/"]
FRAGMENTS = [*WORDS, *BLANKS, *MARKS]
EXACT = (cutting.ends_line, cutting.ends_word)
SETTINGS = {"vocab_size": 500, "byte_fallback": True, "normalization": "identity", "train_bytes": 10**6}


def sentencepiece(algorithm: str, **keys) -> SentencePieceTokenizer:
    plain = {"dummy_prefix": False, "merge_blanks": False}
    return SentencePieceTokenizer(algorithm=algorithm, **SETTINGS, **plain | keys)


def bpe(pattern: str, digits: int = 2) -> BPETokenizer:
    return BPETokenizer(vocab_size=600, train_bytes=10**6, pattern=pattern, digits=digits)


TRAINED = {
    "byte": ByteTokenizer,
    "char": CharTokenizer,
    "bpe gpt2": lambda: bpe("gpt2"),
    "bpe gpt4": lambda: bpe("gpt4"),
    "bpe cl100k": lambda: bpe("gpt4", 3),
    "bpe o200k": lambda: bpe(O200K),
    "sentencepiece bpe": lambda: sentencepiece("bpe"),
    "sentencepiece unigram": lambda: sentencepiece("unigram"),
    "sentencepiece as Llama's": lambda: sentencepiece("bpe", dummy_prefix=True),
}
TAKEN = {"hf gpt2": gpt2_like, "hf llama": llama_like, "hf t5": t5_like, "hf bert": bert_like}
NAMES = [*TRAINED, *TAKEN]


@functools.cache
def tokenizer_of(name: str, folder) -> Tokenizer:
    if name in TAKEN:
        return HFTokenizer(name=str(TAKEN[name](folder / name.replace(" ", "-"))))
    found = TRAINED[name]()
    # pieces of every kind are learned: runs of blanks and lines, marks with what follows them
    found.train([CORPUS, *("".join(pair) * 30 for pair in itertools.product(FRAGMENTS, FRAGMENTS))])
    return found


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=60)
@example(parts=["one", "\n\n", "Two", ".\n", "/usr", "_\n", "Two", "\r\n", "one", " \n ", "12345", "\n", "one"])
@example(parts=["one", "  ", ".", "...", "..."])
@given(parts=st.lists(st.sampled_from(FRAGMENTS), min_size=2, max_size=24))
def test_ids_of_pieces_are_those_of_the_whole(name, parts, tmp_path_factory):
    tokenizer, text = tokenizer_of(name, tmp_path_factory.getbasetemp()), "".join(parts)
    if tokenizer.whole_documents:
        return  # it gets its documents whole
    whole = tokenizer.encode(text).tolist()
    places = (*EXACT, cutting.before_mark) if name.startswith("bpe") else EXACT
    for at in (at for at in range(1, len(text)) if any(is_place(text, at) for is_place in places)):
        both = [*tokenizer.encode(text[:at]).tolist(), *tokenizer.encode(text[at:]).tolist()]
        assert both == whole or is_tie(name, both, whole), (text[:at], text[at:])


def is_tie(name: str, both: list[int], whole: list[int]) -> bool:
    """Unigram takes the likeliest ids: "...", "." are as likely as ".", "...", and rounding of the
    sum over all that came before decides."""
    return name == "sentencepiece unigram" and sorted(both) == sorted(whole)


def test_who_must_have_whole_documents(tmp_path_factory):
    found = {name for name in NAMES if tokenizer_of(name, tmp_path_factory.getbasetemp()).whole_documents}
    assert found == {"sentencepiece as Llama's", "hf llama", "hf t5"}


def test_long_texts_are_encoded_in_pieces_and_get_the_ids_of_the_whole(monkeypatch, tmp_path_factory):
    tokenizer = tokenizer_of("bpe gpt2", tmp_path_factory.getbasetemp())
    text = "One two_\n\n\n  three four, \u4e2d\u6587\u3002" * 300
    whole = tokenizer.encode(text)
    monkeypatch.setattr("tokenization.byte_bpe.PIECE_CHARS", 64)
    monkeypatch.setattr("tokenization.byte_bpe.pieces", lambda text: cutting.pieces(text, 64))
    assert np.array_equal(tokenizer.encode(text), whole)
