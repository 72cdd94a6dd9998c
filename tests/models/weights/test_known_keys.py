"""Each key of each family's config.json, changed, left out or put where it is none: equal logits, or refused in words.

The reference is transformers, on tiny random models: what it computes with such a config.json, ours does too, unless it
says that it cannot. What transformers itself refuses is left out.
"""

import copy
import json
import shutil

import pytest
import torch

from errors import RequestError
from launcher.config.instantiate import build
from models.weights.families import FAMILIES, family_of, read_config, ties
from models.weights.files import read_tensors
from models.weights.filling import fill
from models.weights.renaming import to_ours
from models.weights.sections import model_section

transformers = pytest.importorskip("transformers")
transformers.logging.set_verbosity_error()

SIZES = {
    "vocab_size": 40, "hidden_size": 32, "num_hidden_layers": 4, "num_attention_heads": 4, "num_key_value_heads": 2,
    "intermediate_size": 24, "max_position_embeddings": 32, "pad_token_id": None,
}  # fmt: skip
EXPERTS = {"num_experts_per_tok": 2, "moe_intermediate_size": 8}
TINY = {
    "gpt2": {"vocab_size": 40, "n_embd": 16, "n_layer": 2, "n_head": 4, "n_positions": 32},
    "mistral": SIZES | {"head_dim": 8, "sliding_window": 4},
    "qwen2": SIZES | {"use_sliding_window": True, "sliding_window": 3, "max_window_layers": 2},
    "qwen3": SIZES | {"head_dim": 8, "use_sliding_window": True, "sliding_window": 3, "max_window_layers": 2},
    "mixtral": SIZES | {"num_local_experts": 4, "num_experts_per_tok": 2},
    "qwen3_moe": SIZES | EXPERTS | {"head_dim": 8, "num_experts": 4, "use_sliding_window": True, "sliding_window": 3},
    "olmoe": SIZES | {"num_experts": 4, "num_experts_per_tok": 2},
    "gemma3_text": SIZES | {"head_dim": 8, "sliding_window": 3, "sliding_window_pattern": 2},
    "granite": SIZES | {"embedding_multiplier": 3.0, "logits_scaling": 2.0, "attention_multiplier": 0.3,
                        "residual_multiplier": 0.7},
}  # fmt: skip
# periods short enough for each key to show in channels of 8
YARN = {"rope_type": "yarn", "rope_theta": 10.0, "factor": 4.0, "original_max_position_embeddings": 16}
LLAMA3 = YARN | {"rope_type": "llama3", "low_freq_factor": 1.0, "high_freq_factor": 4.0}
WITHOUT = {key: value for key, value in YARN.items() if key != "original_max_position_embeddings"}
ROPES = [
    {"rope_type": "default", "rope_theta": 77.0},
    {"rope_type": "default", "rope_theta": 77.0, "partial_rotary_factor": 0.5},
    {"rope_type": "linear", "rope_theta": 100.0, "factor": 2.0},
    {"rope_type": "dynamic", "rope_theta": 100.0, "factor": 2.0},
    YARN, WITHOUT, LLAMA3, YARN | {"factor": 0.5},
    *(YARN | change for change in (
        {"truncate": False}, {"beta_fast": 1.5}, {"beta_slow": 0.5}, {"attention_factor": 1.5},
        {"mscale": 0.5, "mscale_all_dim": 1.0}, {"mscale": 1.0}, {"partial_rotary_factor": 0.5},
    )),
]  # fmt: skip
# one value of each kind that is not the usual one; a key's own kinds are tried first
VALUES = [True, False, 1, 2, 3, 8, 0.5, 2.0, 100.0, "relu", "gelu", "gelu_pytorch_tanh", [0], [1, 2]]
OTHERS = {
    "layer_types": ["sliding_attention", "full_attention", "full_attention", "sliding_attention"],
    "max_window_layers": 1, "use_sliding_window": True, "sliding_window": 2, "attention_bias": True, "mlp_bias": True,
    "head_dim": 6, "logits_scaling": 3.0, "embedding_multiplier": 3.0, "residual_multiplier": 3.0, "clip_qkv": 0.1,
    "attention_multiplier": 3.0, "final_logit_softcapping": 2.0, "attn_logit_softcapping": 2.0, "qk_layernorm": True,
    "query_pre_attn_scalar": 3, "norm_topk_prob": True, "num_experts": 3, "num_local_experts": 3, "softcap": 1.0,
    "mlp_only_layers": [1], "decoder_sparse_step": 2, "partial_rotary_factor": 0.5, "rope_theta": 55.0,
    "original_max_position_embeddings": 8, "rope_scaling": {"type": "linear", "factor": 2.0}, "n_inner": 20,
    "rope_scaling, yarn": WITHOUT | {"type": "yarn"}, "quantization_config": {"quant_method": "fp8"},
    "rms_norm_eps": 0.1, "layer_norm_epsilon": 0.1, "hidden_activation": "relu", "rope_local_base_freq": 33.0,
    "sliding_window_pattern": 3, "use_bidirectional_attention": True, "unheard_of": 1,
}  # fmt: skip
FAST = ("layer_types", "max_window_layers", "sliding_window", "use_sliding_window", "rms_norm_eps")
NOT_TRIED = {"dtype", "torch_dtype", "model_type", "transformers_version"}  # how it is kept, what it is


def tiny(kind):
    return {"model_type": kind} | TINY.get(kind, SIZES)


def changes(kind):
    """(name, config) for every key: other values, left out, and keys of other families."""
    base = tiny(kind)
    whole = transformers.AutoConfig.for_model(**base).to_dict()
    for key in sorted({*whole, *base} - NOT_TRIED):
        own = whole.get(key)
        for value in [v for v in VALUES if type(v) is type(own)] + ([] if own is None else [None]):
            if value != own:
                yield f"{key}={value}", base | {key: value}
        if own is None:
            yield from ((f"{key}={value}", base | {key: value}) for value in VALUES)
        if key in base:
            yield f"{key} left out", {k: v for k, v in base.items() if k != key}
    for key, value in OTHERS.items():
        yield f"{key} given", base | {key.partition(",")[0]: value}
    for rope in ROPES if kind != "gpt2" else []:
        yield f"rope {rope}", base | {"rope_parameters": copy.deepcopy(rope)}
        yield f"rope {rope}, longer", base | {"rope_parameters": copy.deepcopy(rope), "max_position_embeddings": 64}
        for one, other in (("full", "sliding"), ("sliding", "full")) if kind == "gemma3_text" else ():
            by_layer = {f"{one}_attention": rope, f"{other}_attention": {"rope_type": "default", "rope_theta": 9.0}}
            yield f"rope {rope}, {one}", base | {"rope_parameters": copy.deepcopy(by_layer)}
        yield f"old rope {rope}", base | {"rope_scaling": {k: v for k, v in rope.items() if k != "rope_theta"}}


def outcome(config, folder):
    """equal, refused, left out (transformers cannot), or what differs."""
    shutil.rmtree(folder, ignore_errors=True)
    try:
        torch.manual_seed(0)
        whole = transformers.AutoConfig.for_model(**copy.deepcopy(config))
        if any((getattr(whole, size, 0) or 0) > most for size, most in LARGEST.items()):
            return "left out"
        whole.dtype = "float32"
        reference = transformers.AutoModelForCausalLM.from_config(
            whole, attn_implementation="eager", experts_implementation="eager"
        ).eval()
        for parameter in reference.parameters():
            torch.nn.init.normal_(parameter, mean=0.1, std=0.3)
        reference.save_pretrained(folder)
        ids = torch.randint(0, min(40, whole.vocab_size), (2, 12), generator=torch.Generator().manual_seed(5))
        with torch.no_grad():
            expected = reference.double()(ids).logits
    except Exception:  # whatever it raises for a config that makes no sense
        return "left out"
    (folder / "config.json").write_text(json.dumps(config))
    try:
        mine = ours(folder, whole.vocab_size, ids)
    except RequestError:
        return "refused"
    if not expected.isfinite().all():
        return "left out"
    difference = (mine - expected).abs().max() / expected.abs().max().clamp_min(1.0)
    return "equal" if difference < 1e-5 else f"differs by {difference:.2g}"


LARGEST = {"hidden_size": 64, "n_embd": 64, "num_hidden_layers": 8, "n_layer": 8, "intermediate_size": 64,
           "vocab_size": 1000, "num_experts": 16, "num_local_experts": 16, "moe_intermediate_size": 64,
           "head_dim": 64}  # fmt: skip


def ours(folder, vocab_size, ids):
    model = build(model_section(folder), vocab_size=vocab_size)
    state, left, reshaped = to_ours(read_tensors(folder), family_of(read_config(folder)))
    fill(model, state, source="x", unexpected=left, reshaped=reshaped, tied=ties(folder))
    with torch.no_grad():
        return model.eval().double()(ids, logits="all").logits


def wrong(kind, folder, chosen=lambda name: True):
    found = {name: outcome(config, folder) for name, config in changes(kind) if chosen(name)}
    assert "equal" in found.values()
    return {name: what for name, what in found.items() if what.startswith("differs")}


@pytest.mark.parametrize("kind", FAMILIES)
def test_F30_keys_of_windows_and_norms_are_equal_or_refused(kind, tmp_path):
    assert outcome(tiny(kind), tmp_path / "x") == "equal"
    names = {"gpt2": ("activation_function", "n_inner")}.get(kind, FAST)
    assert wrong(kind, tmp_path / "x", lambda name: name.startswith(names)) == {}


@pytest.mark.slow
@pytest.mark.parametrize("kind", FAMILIES)
def test_F30_every_key_changed_is_equal_or_refused(kind, tmp_path):
    assert wrong(kind, tmp_path / "x") == {}


@pytest.mark.parametrize(
    ("config", "says"),
    [
        ({"rope_parameters": YARN | {"truncate": False}}, "truncate=False of rope_type=yarn"),
        ({"unheard_of": 1}, "unheard_of=1: our llama knows no such key"),
        ({"quantization_config": {"quant_method": "fp8"}}, "quantization_config"),
        ({"num_hidden_layers": "four"}, "transformers refuses this config of llama"),
    ],
)
def test_F30_refusals_name_the_key(config, says, tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(tiny("llama") | config))
    with pytest.raises(RequestError, match=says):
        model_section(tmp_path)


@pytest.mark.parametrize(
    ("kind", "left_out", "ours", "value"),
    [
        ("mixtral", "rms_norm_eps", "norm_eps", 1e-5),
        ("olmoe", "rms_norm_eps", "norm_eps", 1e-5),
        ("mistral", "sliding_window", "window", 4096),
        ("qwen2", "max_window_layers", "window_layers", [28, 29]),
        ("qwen3", "head_dim", "head_dim", 128),
    ],
)
def test_F30_what_is_left_out_is_the_familys_own_default(kind, left_out, ours, value, tmp_path):
    config = {key: v for key, v in (tiny(kind) | {"num_hidden_layers": 30}).items() if key != left_out}
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert model_section(tmp_path)[ours] == value
