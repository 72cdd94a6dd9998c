"""Texts that follow a grammar, by every tokenizer, whatever the model would say; forth and back."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch

pytest.importorskip("llguidance")
from jsonschema import validate

from errors import RequestError
from models.generation import generate
from models.gpt import GPT
from models.sampling import GREEDY
from models.speculative import Draft
from tasks.guiding.grammar import Vocabulary
from tasks.guiding.keys import guide_of
from tests.models.test_speculative import near
from tests.tokenization import hub_like
from tokenization.base import Tokenizer
from tokenization.bpe import BPETokenizer
from tokenization.byte import ByteTokenizer
from tokenization.char import CharTokenizer
from tokenization.hf import HFTokenizer
from tokenization.sentencepiece import SentencePieceTokenizer
from tokenization.tiktoken import TiktokenTokenizer, write_ranks

SCHEMA = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 4},
        "größe": {"type": "integer", "minimum": 0, "maximum": 240},
        "tags": {"type": "array", "items": {"enum": ["a", "b\n", "ç"]}, "minItems": 1, "maxItems": 2},
        "ok": {"type": ["boolean", "null"]},
    },
    "required": ["name", "größe", "tags"],
    "additionalProperties": False,
}
LONGEST = 150  # tokens: more than any such text has
TEXT = (
    json.dumps(SCHEMA, ensure_ascii=False)
    + '{"name":"Ann","größe":180,"tags":["a","b\\n","ç"],"ok":true,0123456789}\n' * 30
)


def sentencepiece(_: Path, **changes) -> Tokenizer:
    settings = {"vocab_size": 320, "algorithm": "bpe", "byte_fallback": True, "normalization": "identity"}
    more = {"dummy_prefix": False, "merge_blanks": False, "train_bytes": 10**6}
    return SentencePieceTokenizer(**(settings | more | changes))


def tiktoken(folder: Path) -> Tokenizer:
    learned = BPETokenizer(vocab_size=300, train_bytes=10**6)
    learned.train([TEXT])
    (folder / "a.tiktoken").write_bytes(write_ranks({token: i for i, token in enumerate(learned.tokens())}))
    return TiktokenTokenizer(name=str(folder / "a.tiktoken"), special_ids={"<|endoftext|>": 299})


TOKENIZERS = {
    "byte": lambda _: ByteTokenizer(),
    "char": lambda _: CharTokenizer(),
    "bpe": lambda _: BPETokenizer(vocab_size=300, train_bytes=10**6),
    "sentencepiece": sentencepiece,
    "sentencepiece that normalises": lambda folder: sentencepiece(
        folder, algorithm="unigram", normalization="nmt_nfkc", dummy_prefix=True, merge_blanks=True
    ),
    "tiktoken": tiktoken,
    "hf byte-level": lambda folder: HFTokenizer(name=str(hub_like.gpt2_like(folder / "hub"))),
    "hf with bytes for what is unknown": lambda folder: HFTokenizer(name=str(hub_like.llama_like(folder / "hub"))),
}


def built(name: str, folder: Path) -> Tokenizer:
    tokenizer = TOKENIZERS[name](folder)
    if not tokenizer.trained:
        tokenizer.train([TEXT])
    return tokenizer


def random_model(tokenizer: Tokenizer) -> GPT:
    torch.manual_seed(0)
    model = GPT(vocab_size=tokenizer.vocab_size + 3, seq_len=LONGEST + 16, n_layer=1, n_head=1, n_embd=8)
    model.n_ids = tokenizer.vocab_size  # as where an embedding was padded
    for p in model.parameters():
        torch.nn.init.normal_(p, std=0.5)
    return model


def check_all(tokenizer: Tokenizer, rows: int) -> None:
    model, guide = random_model(tokenizer), Vocabulary(tokenizer, tokenizer.eot).of_schema(SCHEMA)
    start = tokenizer.encode("Ann: ").tolist() if tokenizer.kind != "char" else [tokenizer.eot]
    settings = {"max_new_tokens": LONGEST, "stop_ids": [tokenizer.eot], "batch_size": rows, "guide": guide}
    for completion in generate(model, [start], n=rows, **settings)[0]:
        assert (completion.stopped, completion.ids[-1]) == (True, tokenizer.eot)
        text = tokenizer.decode(completion.ids, skip_specials=True)
        assert text == tokenizer.decode_after(start, completion.ids, skip_specials=True)
        validate(json.loads(text), SCHEMA)


@pytest.mark.parametrize("name", TOKENIZERS)
def test_every_text_of_a_random_model_is_valid(name, tmp_path):
    check_all(built(name, tmp_path), 6)


@pytest.mark.slow
@pytest.mark.parametrize("name", TOKENIZERS)
def test_500_texts_of_a_random_model_are_valid(name, tmp_path):
    check_all(built(name, tmp_path), 500)


@pytest.mark.parametrize("name", TOKENIZERS)
def test_pieces_are_what_ids_write(name, tmp_path):
    tokenizer = built(name, tmp_path)
    pieces = tokenizer.pieces()
    assert len(pieces) == tokenizer.vocab_size
    assert all(pieces[i] is None for i in tokenizer.specials.values())
    ids = tokenizer.encode('{"name":"Ann"}')
    assert b"".join(pieces[i] for i in ids).decode().strip(" ") == '{"name":"Ann"}'


def test_masks_are_a_function_of_the_ids_forth_and_back():
    """As a draft is checked: ahead, back to what was accepted, on with other ids."""
    tokenizer = ByteTokenizer()
    make = Vocabulary(tokenizer, tokenizer.eot).of_schema(SCHEMA)
    text, draft = list(b'{"name":"Ann","gr\xc3\xb6\xc3\x9fe":18'), list(b'{"name":"","gr')
    fresh = {n: make([]).allowed(text[:n]) for n in range(len(text) + 1)}
    guide, rng = make([]), np.random.default_rng(0)
    for n in [*range(5), *rng.integers(0, len(text) + 1, 40).tolist()]:
        assert np.array_equal(guide.allowed(text[:n]), fresh[n])
        if n % 3 == 0:
            guide.allowed(draft[: n % len(draft)])


def test_speculative_decoding_writes_valid_texts_with_the_same_guide():
    """Leviathan et al. 2023 (2211.17192), greedy: a draft of four ids, kept as far as the model would say the same."""
    tokenizer = ByteTokenizer()
    make = Vocabulary(tokenizer, tokenizer.eot).of_schema(SCHEMA)
    model, guide, rng = random_model(tokenizer).eval(), make([]), np.random.default_rng(0)
    new: list[int] = []
    while new[-1:] != [tokenizer.eot]:
        draft: list[int] = []
        while len(draft) < 4 and tokenizer.eot not in draft:
            draft.append(int(rng.choice(np.flatnonzero(guide.allowed(new + draft)))))
        with torch.no_grad():
            logits = model(torch.tensor([[tokenizer.eot, *new, *draft]]), logits="all").logits[0, len(new) :]
        for j, id in enumerate([*draft, None]):
            mask = torch.from_numpy(np.pad(guide.allowed(new), (0, 3)))
            wanted = int(logits[j].masked_fill(~mask, -torch.inf).argmax())
            new.append(wanted)
            if wanted != id or wanted == tokenizer.eot:
                break
    settings = {"max_new_tokens": LONGEST, "stop_ids": [tokenizer.eot], "guide": make}
    assert generate(model, [[tokenizer.eot]], sampling=GREEDY, **settings)[0][0].ids == new
    validate(json.loads(tokenizer.decode(new[:-1])), SCHEMA)
    small = Draft(near(random_model(tokenizer), 0.05), 4)
    assert generate(model, [[tokenizer.eot]], sampling=GREEDY, draft=small, **settings)[0][0].ids == new
    for drawn in generate(model, [[tokenizer.eot]], n=3, draft=small, **settings)[0]:
        assert not drawn.stopped or validate(json.loads(tokenizer.decode(drawn.ids[:-1])), SCHEMA) is None
    assert small.accepted > 0


def test_a_regular_expression_from_its_first_character_to_its_last():
    tokenizer = ByteTokenizer()
    guide = guide_of(tokenizer, tools=[], schema=None, regex=r"(yes|no), \d{2}", end=tokenizer.eot)
    found = generate(random_model(tokenizer), [[tokenizer.eot]], max_new_tokens=9, n=20, stop_ids=[256], guide=guide)
    texts = {tokenizer.decode(c.ids[:-1]) for c in found[0]}
    assert all(re.fullmatch(r"(yes|no), [0-9]{2}", text) for text in texts)
    assert len(texts) > 2


@pytest.mark.parametrize(
    ("schema", "says"),
    [({"type": "array", "uniqueItems": True}, "uniqueItems"), ({"not": {}}, '"not"'), ({"type": "foo"}, "Invalid type"),
     ({"type": "string", "format": "phone"}, "Unknown format: phone"), ({"$ref": "#/x"}, "does not exist"),
     ({"type": "string", "minLength": 3, "maxLength": 2}, "greater than maxLength"), ({"oneOf": [{}, {}]}, "oneOf")],
    ids=str,
)  # fmt: skip
def test_what_llguidance_does_not_support_is_named(schema, says):
    with pytest.raises(RequestError, match=f"schema: .*{says}"):
        Vocabulary(ByteTokenizer(), 256).of_schema(schema)


@pytest.mark.parametrize(
    "schema",
    [{"pattern": "\ud800"}, {"const": 10**400}, {"const": float("nan")}, {"required": "é" * 500}],
    ids=range(4),
)
def test_F23_what_llguidance_raises_or_panics_at_is_a_wrong_request(schema):
    """Halves of characters, numbers that are none elsewhere, and a message cut in the middle of a character: in a
    server the last ended more than the request."""
    with pytest.raises(RequestError, match=r"^schema: "):
        Vocabulary(ByteTokenizer(), 256).of_schema(schema)


def test_a_wrong_regular_expression_is_told_in_a_line():
    with pytest.raises(RequestError, match=r"regex: .*unclosed group") as refused:
        Vocabulary(ByteTokenizer(), 256).of_regex("a(")
    assert "start:" not in str(refused.value)
    with pytest.raises(RequestError, match="look-around"):
        Vocabulary(ByteTokenizer(), 256).of_regex("(?=a)b")


def test_characters_that_the_vocabulary_lacks_are_told_at_once_or_where_they_must_come(tmp_path):
    with pytest.raises(RequestError, match=r"no ids for '\{"):
        Vocabulary(CharTokenizer(chars="abc"), 3).of_schema(SCHEMA)
    with pytest.raises(RequestError, match=r"no ids for '\{"):  # </s> and the unknown token are none
        Vocabulary(HFTokenizer(name=str(hub_like.t5_like(tmp_path))), 1).of_schema(SCHEMA)
    guide = Vocabulary(CharTokenizer(chars="abx"), 3).of_regex("[ab]é")([])
    guide.allowed([])
    with pytest.raises(RequestError, match=r"after 'a' nothing can be written: .* no ids for what must follow"):
        guide.allowed([0])


def test_a_tokenizer_that_changes_texts_is_refused(tmp_path):
    with pytest.raises(RequestError, match="byte by byte"):
        Vocabulary(HFTokenizer(name=str(hub_like.bert_like(tmp_path))), 3)


def test_two_keys_at_once_are_refused_and_what_may_not_end_is_warned_of(caplog):
    tokenizer = ByteTokenizer()
    with pytest.raises(RequestError, match="tools and schema"):
        guide_of(tokenizer, tools=["calculator"], schema="{}", regex=None, end=256)
    guide_of(tokenizer, tools=[], schema='{"type":"string"}', regex=None, end=256)
    assert "$ is a string without maxLength" in caplog.text
    guide_of(tokenizer, tools=[], schema=None, regex="a+", end=256)
    assert "any length" in caplog.text
    caplog.clear()
    guide_of(tokenizer, tools=[], schema=None, regex="a{3}", end=256)
    assert not caplog.text
