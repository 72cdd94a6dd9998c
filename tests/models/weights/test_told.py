"""F45: what transformers loads is told in our words, after three seconds, and not by its own bars."""

import pytest
import torch
from transformers import AutoModelForCausalLM, GPT2Config, GPT2LMHeadModel
from transformers import modeling_gguf_pytorch_utils as gguf
from transformers.utils import logging

import progress
from models.weights.told import told

TINY = {"n_layer": 2, "n_head": 2, "n_embd": 8, "vocab_size": 16, "n_positions": 8}


@pytest.fixture
def clock(monkeypatch):
    """A clock that goes on by a second each time it is read."""
    times = iter(range(1000))
    monkeypatch.setattr(progress.time, "monotonic", lambda: float(next(times)))


@pytest.fixture
def saved(tmp_path):
    GPT2LMHeadModel(GPT2Config(**TINY)).save_pretrained(tmp_path)
    return tmp_path


def test_F45_loading_is_told_in_our_words(saved, clock, capsys):
    with told("loading mine"):
        model = AutoModelForCausalLM.from_pretrained(saved)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith("loading mine: 3/")
    assert "tensors" in lines[0]
    assert all(line.startswith("loading mine: ") for line in lines)
    assert sum(p.numel() for p in model.parameters()) > 0
    assert torch.isfinite(model.lm_head.weight).all()


def test_F45_what_is_soon_loaded_says_nothing(saved, capsys):
    with told("loading mine"):
        AutoModelForCausalLM.from_pretrained(saved)
        list(gguf.tqdm(range(3), desc="theirs"))
    assert capsys.readouterr().err == ""


def test_F45_their_bars_are_back_afterwards(capsys):
    theirs = gguf.tqdm
    with pytest.raises(OSError, match="nowhere"), told("loading mine"):
        raise OSError("nowhere")
    assert gguf.tqdm is theirs
    list(logging.tqdm(range(3), desc="theirs"))
    assert "theirs" in capsys.readouterr().err
