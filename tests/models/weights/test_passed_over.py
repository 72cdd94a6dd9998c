"""What a Hugging Face folder says beside its weights and is not taken over: named; ordinary folders say nothing."""

import json
import logging
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import save_file
from transformers import GPT2Config, GPT2LMHeadModel

from models.gpt import GPT
from models.weights.loading import load_weights
from models.weights.passed_over import dropout_in_words, writing_in_words
from tasks.parts import tell_of_writing
from tokenization.byte import ByteTokenizer

TINY = {"n_layer": 1, "n_head": 2, "n_embd": 8, "vocab_size": 16, "n_positions": 8}
OURS = {"n_layer": 1, "n_head": 2, "n_embd": 8, "vocab_size": 16, "seq_len": 8}


def write(folder: Path, **config) -> Path:
    (folder / "config.json").write_text(json.dumps(config))
    return folder


@pytest.fixture
def gpt2(tmp_path):
    off = dict.fromkeys(("attn_pdrop", "resid_pdrop", "embd_pdrop"), 0.0)
    GPT2LMHeadModel(GPT2Config(**TINY, **off)).save_pretrained(tmp_path)
    return tmp_path


def test_dropout_is_named_where_the_model_has_none(tmp_path):
    write(tmp_path, resid_pdrop=0.1, attn_pdrop=0.2, embd_pdrop=0.0)
    said = "resid_pdrop=0.1, attn_pdrop=0.2 of config.json not taken over; with it: model.dropout=0.2"
    assert dropout_in_words(tmp_path, SimpleNamespace(dropout=0.0)).endswith(said)
    assert dropout_in_words(tmp_path, SimpleNamespace(dropout=0.1)) == ""
    assert dropout_in_words(write(tmp_path, attention_dropout=0.0), SimpleNamespace()) == ""


def test_ends_and_drawing_are_named_where_they_are_others(tmp_path, caplog):
    write(tmp_path, eos_token_id=[1, 2, 3], repetition_penalty=9.0, suppress_tokens=[5], temperature=1.0, top_k=50)
    said = writing_in_words(tmp_path, {1})
    assert said.startswith("repetition_penalty=9.0, suppress_tokens=[5], eos_token_id=[1, 2, 3] of ")
    tell_of_writing(str(tmp_path), ByteTokenizer())
    assert "eos_token_id=[1, 2, 3]" in caplog.text
    for ordinary in ({"eos_token_id": 2, "suppress_tokens": []}, {"eos_token_id": [1, 2], "num_beams": None}):
        assert writing_in_words(write(tmp_path, **ordinary), {1, 2}) == ""


def test_an_ordinary_folder_says_nothing_more(gpt2, capsys, caplog):
    load_weights(GPT(**OURS), gpt2)
    assert {line.split()[0] for line in capsys.readouterr().out.splitlines()} == {
        "weights", "loaded", "reshaped", "re-tied"
    }  # fmt: skip
    load_weights(GPT(**OURS), gpt2, tell="gaps")
    assert capsys.readouterr().out + caplog.text == ""


def test_what_stays_random_and_an_adapter_beside_are_told_where_the_rest_is_not(gpt2, capsys, caplog):
    save_file({"x": torch.ones(1)}, gpt2 / "adapter_model.safetensors")
    with caplog.at_level(logging.WARNING):
        load_weights(GPT(**OURS | {"n_layer": 2}), gpt2, tell="gaps", strict=False)
    assert "left at random" in caplog.text
    assert "blocks.1" in caplog.text
    assert "adapter_model.safetensors beside whole weights is not read" in caplog.text
    load_weights(GPT(**OURS), gpt2)
    assert "adapter_model.safetensors beside whole weights" in capsys.readouterr().out
