"""SentencePiece: nothing is lost unless asked for, the loss is said, and its errors read like ours."""

import io
import logging
from pathlib import Path
from pydoc_data.topics import topics

import pytest
import sentencepiece

from errors import RequestError
from tokenization.base import EOT, load_tokenizer
from tokenization.round_trip import differing, lost_bytes
from tokenization.sentencepiece import SentencePieceTokenizer

CORPUS = "".join(text for _, text in sorted(topics.items()))[:100_000]
DEFAULTS = {
    "vocab_size": 600,
    "algorithm": "bpe",
    "byte_fallback": True,
    "normalization": "identity",
    "dummy_prefix": False,
    "merge_blanks": False,
    "train_bytes": 10**6,
}
NASTY = "  two  blanks \n\n\ttab\r\n… ﬁ ½ ▁▁ <unk> <0x41> \0 中文 \U0001f600\u2028e\u0301 "


def spm(text: str = CORPUS, **more) -> SentencePieceTokenizer:
    tokenizer = SentencePieceTokenizer(**DEFAULTS | more)
    tokenizer.train([text])
    return tokenizer


@pytest.mark.parametrize("algorithm", ["bpe", "unigram"])
def test_N14_nothing_is_lost(algorithm) -> None:
    tokenizer = spm(algorithm=algorithm)
    assert lost_bytes(tokenizer, [CORPUS, NASTY]) == (0, len((CORPUS + NASTY).encode()))
    assert tokenizer.token_bytes()[tokenizer.encode(NASTY)].sum() == len(NASTY.encode())
    assert tokenizer.vocab_size == 600
    assert tokenizer.eot == 599
    assert len(tokenizer.encode(CORPUS)) < len(CORPUS) / 1.8


def test_ids_are_those_of_sentencepiece() -> None:
    """BPE: for a text as a whole. Unigram: line by line; over a long text its 32-bit scores lose small differences."""
    text = CORPUS[:20_000] + NASTY.replace("▁", "")
    bpe, unigram = spm(), spm(algorithm="unigram")
    other, third = (
        sentencepiece.SentencePieceProcessor(model_proto=t.files()["sentencepiece.model"]) for t in (bpe, unigram)
    )
    assert bpe.encode(text).tolist() == other.encode(text)
    lines = [third.encode(line) for line in text.split("\n")]
    assert unigram.encode(text).tolist() == [i for line in lines for i in [*third.encode("\n"), *line]][1:]


def test_pieces_are_those_of_a_plain_training() -> None:
    """One line a sentence, as SentencePiece reads files."""
    out = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter([line for line in CORPUS.split("\n") if line]), model_writer=out, vocab_size=599,
        model_type="bpe", byte_fallback=True, normalization_rule_name="identity", add_dummy_prefix=False,
        remove_extra_whitespaces=False, bos_id=-1, eos_id=-1, minloglevel=2,
    )  # fmt: skip
    other = sentencepiece.SentencePieceProcessor(model_proto=out.getvalue())
    assert spm().encode(CORPUS).tolist() == other.encode(CORPUS)


def test_N14_what_is_lost_is_said(caplog) -> None:
    with caplog.at_level(logging.WARNING):
        spm()
    assert not caplog.records
    with caplog.at_level(logging.WARNING):
        tokenizer = spm(CORPUS + "Two  blanks… ﬁn\n" * 200, normalization="nmt_nfkc", merge_blanks=True)
    assert "of the bytes do not come back" in caplog.text
    assert tokenizer.decode(tokenizer.encode(" two  blanks… ﬁn")) == "two blanks... fin"


def test_lost_bytes_by_hand() -> None:
    assert differing("abcXYdef", "abcdef") == 2
    assert differing("aéa", "aa") == 2
    assert differing("a", "a ") == 1
    assert differing("same", "same") == 0


def test_options_reach_the_trainer() -> None:
    tokenizer = spm(options={"user_defined_symbols": ["<br>"], "control_symbols": ["<ctrl>"], "split_digits": True})
    assert len(tokenizer.encode("<br>")) == 1  # its own business: text
    assert tokenizer.specials["<ctrl>"] not in tokenizer.encode("<ctrl>")
    assert tokenizer.decode([tokenizer.specials["<ctrl>"], tokenizer.eot]) == f"<ctrl>{EOT}"
    assert tokenizer.decode(tokenizer.encode("<br><ctrl>")) == "<br><ctrl>"


@pytest.mark.parametrize(
    ("text", "more", "words"),
    [
        (
            "abc abd",
            {"vocab_size": 400},
            r"vocab_size=400 is more than the corpus supports(.|\n)*vocab_size=\d+ or less",
        ),
        (CORPUS, {"vocab_size": 50}, r"no room(.|\n)*vocab_size=\d+ or more"),
        ("", {}, "found no text"),
        ("\n\t", {}, "found no text"),
        (CORPUS, {"options": {"nonsense": 1}}, "options.nonsense: .* no such option"),
        (CORPUS, {"options": {"model_type": "char"}}, "options.model_type is set by this program"),
        (CORPUS, {"model": "/nowhere.model"}, "No such file"),
        (CORPUS, {"model": __file__}, "holds no SentencePiece model"),
    ],
)
def test_wrong_requests_in_plain_words(text, more, words) -> None:
    with pytest.raises(RequestError, match=words):
        spm(text, **more)


def test_the_size_that_is_named_then_works() -> None:
    with pytest.raises(RequestError) as caught:
        spm("abc abd", vocab_size=400)
    most = int(str(caught.value).split("vocab_size=")[2].split()[0])
    assert spm("abc abd", vocab_size=most).vocab_size == most


def test_a_model_of_ones_own_and_a_changed_one(tmp_path: Path) -> None:
    tokenizer = spm()
    tokenizer.save(tmp_path)
    file = tmp_path / "sentencepiece.model"
    own = SentencePieceTokenizer(**DEFAULTS | {"model": str(file)})
    assert own.trained
    assert own.encode(NASTY).tolist() == tokenizer.encode(NASTY).tolist()
    assert load_tokenizer(tmp_path).fingerprint == tokenizer.fingerprint
    file.write_bytes(spm(vocab_size=500).files()["sentencepiece.model"])
    with pytest.raises(RequestError, match="changed after it was saved"):
        load_tokenizer(tmp_path)


def test_training_is_deterministic_and_threads_change_no_id() -> None:
    first, second = spm(algorithm="unigram"), spm(algorithm="unigram")
    assert first.fingerprint == second.fingerprint
    texts = CORPUS.split("\n\n")[:50]
    for one, two in zip(first.encode_batch(texts), first.encode_batch(texts, threads=2), strict=True):
        assert one.tolist() == two.tolist()


def test_a_blank_put_in_front_stands_before_the_text_not_before_each_line():
    tokenizer = spm(dummy_prefix=True)
    text = "one\ntwo\n\nthree"
    assert tokenizer.decode(tokenizer.encode(text)) == text


def test_a_continuation_keeps_the_blank_that_it_begins_with():
    tokenizer = spm(dummy_prefix=True)
    text = "the copyright 中文 of the"
    ids = tokenizer.encode(text)
    alone = 0
    for k in range(len(ids)):
        before = tokenizer.decode(ids[:k])
        if "\ufffd" not in before:
            assert before + tokenizer.decode_after(ids[:k], ids[k:]) == text
            alone += before + tokenizer.decode(ids[k:]) != text
    assert alone  # so it is not the same
