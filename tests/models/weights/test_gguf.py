"""A model as one GGUF file: transformers' own reader computes the same from it as from the safetensors."""

import json

import pytest
import torch

from errors import RequestError
from models.weights.gguf import MODEL, has_tokenizer, interleaved, refuse, write_gguf

pytest.importorskip("gguf")
SIZES = {"vocab_size": 70, "tie_word_embeddings": False}
LLAMA = {
    **{"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "max_position_embeddings": 32},
    **{"num_attention_heads": 4, "num_key_value_heads": 2},
}


def saved(kind: str, folder):
    from transformers import AutoConfig, AutoModelForCausalLM

    own = {"n_embd": 32, "n_layer": 1, "n_head": 2, "n_positions": 32} if kind == "gpt2" else LLAMA
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **SIZES, **own)).eval()
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(torch.randn_like(weight), alpha=0.1)
    model.save_pretrained(folder)
    return model


@pytest.mark.parametrize(
    ("kind", "dtype", "bound"),
    # halves keep 11 bits of each weight, q8_0 8 bits of the largest of 32; fp32 everything
    [
        ("llama", "f32", 1e-5),
        ("llama", "f16", 0.02),
        ("llama", "q8_0", 0.25),
        ("qwen2", "f32", 1e-5),
        ("gpt2", "f32", 1e-5),
    ],
)
def test_transformers_computes_the_same_from_the_file(tmp_path, kind, dtype, bound):
    from transformers import AutoModelForCausalLM

    model = saved(kind, tmp_path)
    write_gguf(tmp_path, tmp_path / MODEL, dtype=dtype)
    loaded = AutoModelForCausalLM.from_pretrained(
        tmp_path, gguf_file=MODEL, config=model.config, dtype=torch.float32
    ).eval()
    ids_BT = torch.arange(60).view(2, 30)
    with torch.no_grad():
        expected, found = model(ids_BT).logits, loaded(ids_BT).logits
    assert (found - expected).abs().max() <= bound * expected.abs().max()


def test_halves_of_a_head_become_pairs():
    import numpy as np

    rows = np.arange(8)[:, None]  # two heads of four
    assert interleaved(rows, 2)[:, 0].tolist() == [0, 2, 1, 3, 4, 6, 5, 7]


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"model_type": "gemma3_text"}, "family gemma3_text"),
        ({"model_type": "llama", "rope_parameters": {"rope_type": "llama3"}}, "scales its positions"),
        ({"model_type": "qwen2", "use_sliding_window": True}, "windows"),
        ({"model_type": "llama", "architectures": ["LlamaForSequenceClassification"]}, "classifier"),
    ],
)
def test_what_gguf_has_no_words_for_is_refused(config, words):
    with pytest.raises(RequestError, match=words):
        refuse(config)


def test_a_tokenizer_goes_in_only_where_its_splitting_is_known_there(tmp_path):
    bpe = {"type": "BPE", "vocab": {"a": 0, "b": 1, "ab": 2}, "merges": [["a", "b"]]}
    splits = {"type": "Split", "pattern": {"Regex": r"\d|\D+"}, "behavior": "Isolated", "invert": False}
    assert not has_tokenizer(tmp_path)
    for pre, expected in ((splits, False), ({"type": "ByteLevel", "use_regex": True}, True)):
        (tmp_path / "tokenizer.json").write_text(json.dumps({"model": bpe, "pre_tokenizer": pre}))
        assert has_tokenizer(tmp_path) is expected


def test_the_end_of_a_turn_is_told_beside_the_end_of_a_text(tmp_path):
    from gguf import GGUFReader

    saved("llama", tmp_path)
    config = json.loads((tmp_path / "config.json").read_text()) | {"eos_token_id": [2, 1, 0]}
    (tmp_path / "config.json").write_text(json.dumps(config))
    bpe = {"type": "BPE", "vocab": {"a": 0, "b": 1, "ab": 2}, "merges": [["a", "b"]]}
    splits = {"type": "ByteLevel", "use_regex": True}
    (tmp_path / "tokenizer.json").write_text(json.dumps({"model": bpe, "pre_tokenizer": splits}))
    write_gguf(tmp_path, tmp_path / MODEL, dtype="f32")
    told = GGUFReader(tmp_path / MODEL).fields
    assert [told[f"tokenizer.ggml.{name}_token_id"].contents() for name in ("eos", "eot")] == [2, 1]
