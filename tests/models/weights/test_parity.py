"""Tiny random models of transformers against ours: the same logits and gradients, there and back again."""

import dataclasses
import functools

import pytest
import torch

from launcher.config.instantiate import build
from models.weights.families import family_of, read_config
from models.weights.files import read_tensors
from models.weights.filling import fill, is_tied
from models.weights.renaming import to_ours
from models.weights.saving import save_hf, settings_of
from models.weights.sections import model_section

transformers = pytest.importorskip("transformers")
transformers.logging.set_verbosity_error()

VOCAB = 40
SIZES = {
    "vocab_size": VOCAB, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
    "intermediate_size": 24, "max_position_embeddings": 32,
}  # fmt: skip
LLAMA3 = {"rope_type": "llama3", "rope_theta": 100.0, "factor": 4.0, "original_max_position_embeddings": 8,
          "low_freq_factor": 1.0, "high_freq_factor": 4.0}  # fmt: skip
YARN = {"rope_type": "yarn", "rope_theta": 100.0, "factor": 4.0, "original_max_position_embeddings": 8}
CASES = {
    "gpt2": ("GPT2Config", {"vocab_size": VOCAB, "n_embd": 16, "n_layer": 2, "n_head": 4, "n_positions": 32}),
    "llama": ("LlamaConfig", SIZES),
    "llama tied, scaled": ("LlamaConfig", SIZES | {"tie_word_embeddings": True, "rope_parameters": LLAMA3}),
    "llama yarn": ("LlamaConfig", SIZES | {"rope_parameters": YARN}),
    "mistral": ("MistralConfig", SIZES | {"head_dim": 8, "sliding_window": 4}),
    "qwen2": (
        "Qwen2Config",
        SIZES | {"use_sliding_window": True, "sliding_window": 3, "max_window_layers": 1, "tie_word_embeddings": True},
    ),
    "qwen3": ("Qwen3Config", SIZES | {"head_dim": 8}),
    "mixtral": ("MixtralConfig", SIZES | {"num_local_experts": 4, "num_experts_per_tok": 2}),
    "qwen3_moe": (
        "Qwen3MoeConfig",
        SIZES | {"head_dim": 8, "num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 8,
                 "norm_topk_prob": True},
    ),
    "qwen3_moe, a dense layer": (
        "Qwen3MoeConfig",
        SIZES | {"head_dim": 8, "num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 8,
                 "mlp_only_layers": [0]},
    ),
    "gemma3_text": (
        "Gemma3TextConfig",
        SIZES | {"head_dim": 8, "sliding_window": 3, "query_pre_attn_scalar": 12, "num_hidden_layers": 3,
                 "layer_types": ["sliding_attention", "full_attention", "sliding_attention"]},
    ),
    "gemma3_text, softcap, untied, scaled": (
        "Gemma3TextConfig",
        SIZES | {"head_dim": 8, "final_logit_softcapping": 3.0, "tie_word_embeddings": False, "sliding_window": 4,
                 "rope_parameters": {"full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 1e4},
                                     "sliding_attention": {"rope_type": "default", "rope_theta": 100.0}}},
    ),
    "phi3": ("Phi3Config", SIZES | {"sliding_window": 5, "pad_token_id": None}),
    "phi3 without a window": ("Phi3Config", SIZES | {"pad_token_id": None}),
    "granite": (
        "GraniteConfig",
        SIZES | {"embedding_multiplier": 12.0, "logits_scaling": 8.0, "residual_multiplier": 0.22,
                 "attention_multiplier": 0.015625, "tie_word_embeddings": True},
    ),
    "granite, neutral": ("GraniteConfig", SIZES | {"attention_multiplier": 0.5}),
    "olmoe": ("OlmoeConfig", SIZES | {"num_experts": 4, "num_experts_per_tok": 2}),
}  # fmt: skip


def theirs(case: str, folder):
    """A random model in which nothing is near 0 or 1, saved in `folder`."""
    name, settings = CASES[case]
    torch.manual_seed(0)
    model = transformers.AutoModelForCausalLM.from_config(
        getattr(transformers, name)(**settings), attn_implementation="eager"
    )
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, mean=0.1, std=0.2)
    model.save_pretrained(folder)
    return model.eval()


def ours_from(folder, **changes):
    section = model_section(folder) | changes
    torch.manual_seed(1)
    model = build(section, vocab_size=VOCAB)
    state, left, reshaped = to_ours(read_tensors(folder), family_of(read_config(folder)))
    report = fill(model, state, source=str(folder), unexpected=left, reshaped=reshaped)
    return model.eval(), report, section


def batch() -> torch.Tensor:
    return torch.randint(0, VOCAB, (2, 12), generator=torch.Generator().manual_seed(5))


@pytest.mark.parametrize("case", CASES)
def test_N25_N34_logits_there_and_back(case, tmp_path):
    reference = theirs(case, tmp_path / "theirs")
    ids = batch()
    with torch.no_grad():
        expected = reference(ids).logits
        model, report, section = ours_from(tmp_path / "theirs")
        assert (model(ids, logits="all").logits - expected).abs().max() < 1e-4
        assert not report.missing
        assert not report.unexpected
        kind = reference.config.model_type  # others may be able to express it as well
        save_hf(model, settings_of(model, section), tmp_path / "ours", family=kind)
        again = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "ours", attn_implementation="eager").eval()
        assert (again(ids).logits - expected).abs().max() < 1e-4
    assert type(again) is type(reference)
    names = read_tensors(tmp_path / "ours")
    assert ("lm_head.weight" in names) != is_tied(model)  # tied weights are kept once


@pytest.mark.parametrize("case", CASES)
def test_gradients_are_theirs(case, tmp_path):
    reference = theirs(case, tmp_path)
    model, _, _ = ours_from(tmp_path)
    ids = batch()
    reference(ids, labels=ids).loss.backward()
    targets = torch.cat([ids[:, 1:], torch.full((2, 1), -100)], dim=1)
    (model(ids, targets_BT=targets).loss / (targets != -100).sum()).backward()
    family = family_of(read_config(tmp_path))
    flat = {ours: rule._replace(plus=0.0) for ours, rule in family.names.items()}  # a gradient is not shifted
    family = dataclasses.replace(family, names=flat)
    gradients = {name: p.grad for name, p in reference.named_parameters()}
    expected, _, _ = to_ours(_apart(gradients, case), family)
    mine = {name: p.grad for name, p in model.named_parameters()}
    assert len(mine) == len(expected)
    for name, gradient in mine.items():
        assert (gradient - expected[name]).norm() <= 1e-3 * expected[name].norm() + 1e-7, name


def _apart(gradients, case):
    """transformers 5 stacks experts in memory, and only files have them apart (with Mixtral's old names)."""
    found = {}
    for name, gradient in gradients.items():
        stem, _, leaf = name.rpartition(".experts.")
        for e, one in enumerate(gradient if stem else []):
            gate, up = one.chunk(2) if leaf == "gate_up_proj" else (None, None)
            parts = {"down_proj": one} if gate is None else {"gate_proj": gate, "up_proj": up}
            found |= {f"{stem}.experts.{e}.{kind}.weight": part for kind, part in parts.items()}
        if not stem:
            found[name] = gradient
    if case != "mixtral":
        return found
    old = {".mlp.": ".block_sparse_moe.", "gate_proj": "w1", "up_proj": "w3", "down_proj": "w2"}
    return {functools.reduce(lambda n, pair: n.replace(*pair), old.items(), name): g for name, g in found.items()}
