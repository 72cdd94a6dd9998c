"""Tools write what was asked in marks: by every tokenizer, out of a window, and a second one is one file."""

import pytest

from errors import RequestError
from evaluation import tool_use
from evaluation.tool_use import WINDOW, tool_guide
from tokenization.bpe import BPETokenizer
from tokenization.byte import ByteTokenizer
from tokenization.char import CharTokenizer
from tokenization.sentencepiece import SentencePieceTokenizer

TEXT = "12+7=<<12+7=19>>19\n19/5=<<19/5=3.8>>3.8 0123456789 #### 19\n" * 30


def sentencepiece(**changes) -> SentencePieceTokenizer:
    settings = {"vocab_size": 280, "algorithm": "bpe", "byte_fallback": True, "normalization": "identity"}
    more = {"dummy_prefix": False, "merge_blanks": False, "train_bytes": 10**6}
    return SentencePieceTokenizer(**(settings | more | changes))


TOKENIZERS = {
    "byte": ByteTokenizer,
    "char": CharTokenizer,
    "bpe": lambda: BPETokenizer(vocab_size=265, train_bytes=10**6),
    "sentencepiece": sentencepiece,
    "sentencepiece with a blank in front": lambda: sentencepiece(dummy_prefix=True, algorithm="unigram"),
    "sentencepiece that joins = and digits": lambda: sentencepiece(
        options={"split_by_number": False, "split_by_unicode_script": False}
    ),
}


def forced(text: str, tokenizer=None, *, prompt: str = "") -> str:
    """What is written after `text`, whose ids are the row's new ones."""
    tokenizer = tokenizer or ByteTokenizer()
    before = tokenizer.encode(prompt).tolist() if prompt else []
    ids = tokenizer.encode(text).tolist() if text else []
    made = tool_guide(["calculator"], tokenizer)(before).forced(ids)
    return tokenizer.decode_after([*before, *ids], made) if len(made) else ""


@pytest.mark.parametrize("name", TOKENIZERS)
def test_every_tokenizer_writes_the_result_and_closes_the_mark(name):
    tokenizer = TOKENIZERS[name]()
    tokenizer.train([TEXT])
    assert forced("12+7=<<12+7=", tokenizer) == "19>>"
    assert forced("19/5=<<19/5=", tokenizer) == "3.8>>"
    assert forced("12+7=<<12+x=" if name != "char" else "12+7=<<12+=", tokenizer) == ""


@pytest.mark.parametrize(
    ("text", "written"),
    [("<<7/2=", "3.5>>"), ("<<7/0=", ""), ("<<x=", ""), ("<<9**9**9=", ""), ("12+7=", ""), ("<12+7=", ""),
     ("<<12+7=19>>19=", ""), ("<<12+7", ""), ("<<\n12+7=", ""), ("<<2+2=4>> and <<3+3=", "6>>"), ("<<<<2+2=", "4>>"),
     ("", ""), ("<<=", ""), ("<<1+1==", "")],
)  # fmt: skip
def test_only_an_open_mark_is_answered(text, written):
    assert forced(text) == written


def test_a_mark_that_the_prompt_opened():
    assert forced("", prompt="Ann has <<12+7=") == forced("7=", prompt="<<12+") == "19>>"


def test_only_the_last_ids_are_looked_at():
    assert forced("<<1+1=2>>" * 100_000 + "<<20+22=") == "42>>"
    assert forced("<<" + "1+" * WINDOW + "1=") == ""


def test_a_character_that_the_vocabulary_lacks_is_left_to_the_model():
    tokenizer = CharTokenizer(chars="<>=+127")
    assert forced("<<12+7=", tokenizer) == ""  # no 9
    assert forced("<<12+10=".replace("0", "1"), tokenizer) == ""  # 23
    assert forced("<<11+1=", tokenizer) == "12>>"


def test_a_second_tool_is_one_file(tmp_path, monkeypatch):
    import evaluation.tools

    (tmp_path / "length.py").write_text(
        "def answer(asked):\n    return str(len(asked[7:])) if asked.startswith('length ') else None\n"
    )
    monkeypatch.setattr(tool_use, "FOLDER", tmp_path)
    monkeypatch.setattr(evaluation.tools, "__path__", [str(tmp_path), *evaluation.tools.__path__])
    guide = tool_guide(["length"], ByteTokenizer())([])
    assert bytes(guide.forced(list(b"<<length strawberry="))) == b"10>>"
    assert list(guide.forced(list(b"<<2+2="))) == []


@pytest.mark.parametrize(
    ("names", "says"),
    [(["abacus"], r"no tool abacus\. There are: calculator"), (["calculator", "calculator"], "named twice"),
     (["../x"], "no tool"), (["__init__"], "no tool")],
)  # fmt: skip
def test_unknown_tools_are_refused_with_those_that_there_are(names, says):
    with pytest.raises(RequestError, match=says):
        tool_guide(names, ByteTokenizer())


def test_no_tools_no_guide():
    assert tool_guide([], ByteTokenizer()) is None
