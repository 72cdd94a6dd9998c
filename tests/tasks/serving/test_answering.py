"""Log-probabilities of served answers: each token as it stands in the text, with its bytes, and where it begins."""

import openai
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.continuous import Request, Written
from tasks.serving.answering import Offsets, chat_logprobs, completion_logprobs
from tasks.serving.shelf import Loaded
from tasks.text import StopStrings
from tests.tasks.serving.door import Door, loaded, run_folder
from tests.tokenization.hub_like import gpt2_like, llama_like
from tokenization.byte import ByteTokenizer
from tokenization.hf import HFTokenizer


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """No model is asked here."""
    root = tmp_path_factory.mktemp("hub")
    tokenizers = {
        "byte": ByteTokenizer(),
        "gpt2": HFTokenizer(name=str(gpt2_like(root / "gpt2"))),
        "llama": HFTokenizer(name=str(llama_like(root / "llama"))),
    }
    return {name: Loaded(name, None, tokenizer, None, None) for name, tokenizer in tokenizers.items()}


def written(run, ids, *, top=()):
    return [Written(Request([run.tokenizer.eot], 1, top=len(top)), 0, id, -1.0, list(top), None) for id in ids]


def test_offsets_count_the_characters_of_the_text_not_of_the_names(runs):
    run, text = runs["byte"], "H\u00e9 \u20acx"
    found = completion_logprobs(run, written(run, run.tokenizer.encode(text).tolist()), None, Offsets(run, 10))
    assert found["text_offset"] == [10, 11, 11, 12, 13, 13, 13, 14]
    assert found["tokens"][:4] == ["H", "id:195", "id:169", " "]


@given(text=st.text(max_size=12), cut=st.integers(0, 12), bytes_=st.lists(st.integers(0, 255), max_size=3))
def test_each_token_stands_where_its_offset_says(runs, text, cut, bytes_):
    """Of a prompt that is given back and of what follows it, also where bytes make no character."""
    for name, run in runs.items():
        ids = [run.tokenizer.eot, *run.tokenizer.encode(text).tolist(), *(bytes_ if name == "byte" else [])]
        prompt, new = ids[: cut + 1], ids[cut + 1 :]
        stop = StopStrings(run.tokenizer, [], context=prompt)
        before, behind = run.tokenizer.decode(prompt), stop.text(new)
        if name == "llama" and "\ufffd" in before + behind:
            continue  # its decoder writes a sign for each byte of what is none, where Python writes one for several
        for of, offsets, whole in (
            (prompt, Offsets(run), before),
            (new, Offsets(run, len(before), alone=stop.text), before + behind),
        ):
            for id, at in zip(of, [offsets(id) for id in of], strict=True):
                piece = run.pieces[id].decode("utf-8", "replace") if run.pieces[id] else run.tokenizer.decode([id])
                assert 0 <= at <= len(whole)
                assert "\ufffd" in piece or whole.startswith((piece, piece[1:]), at), (name, id, at)
            assert offsets.at + len(offsets.characters.decode(b"", final=True)) == len(whole)


def test_a_token_keeps_its_blank_and_the_bytes_of_a_part_of_a_character_are_told(runs):
    run = runs["llama"]
    by_piece = {piece: id for id, piece in enumerate(run.pieces)}
    with_blank, without = next(
        (by_piece[p], by_piece[p[1:]]) for p in by_piece if p and p[:1] == b" " and p[1:] in by_piece
    )
    half = run.tokenizer.encode("\u20ac").tolist()[-1]
    tokens = written(run, [half], top=[(with_blank, -2.0), (without, -3.0)])
    (entry,) = chat_logprobs(run, tokens)["content"]
    assert (entry["token"], entry["bytes"]) == ("\ufffd", [0xAC])
    texts = [one["token"] for one in entry["top_logprobs"]]
    assert texts[0] == " " + texts[1]
    top = completion_logprobs(run, tokens, None, Offsets(run))["top_logprobs"][0]
    assert top == {texts[0]: -2.0, texts[1]: -3.0, f"id:{half}": -1.0}


def test_a_stream_has_the_offsets_of_the_whole(tmp_path):
    run_folder(tmp_path, "base")
    with Door(tmp_path, make=lambda name: loaded(name, talks=False)) as door:
        client = openai.OpenAI(base_url=f"{door.url}/v1", api_key="none", max_retries=0, timeout=60)
        asked = {"model": "base", "prompt": "H\u00e9 ", "max_tokens": 20, "logprobs": 1, "seed": 1, "echo": True}
        (whole,) = client.completions.create(**asked).choices
        parts = [chunk.choices[0] for chunk in client.completions.create(**asked, stream=True)]
        assert [at for part in parts for at in part.logprobs.text_offset] == whole.logprobs.text_offset
        assert whole.logprobs.text_offset[:6] == [0, 1, 1, 2, 3, *whole.logprobs.text_offset[5:6]]
        assert whole.logprobs.text_offset[-1] <= len(whole.text)
