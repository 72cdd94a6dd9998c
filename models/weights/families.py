"""Families of Hugging Face models that ours can express: their config.json <-> our model section. No torch here.

One entry of `FAMILIES` per family. Read forwards it turns a config.json into a model section, backwards it says whether
a model of ours is of that family, and if not, which key stands in the way.
"""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from errors import RequestError
from models.weights import names
from models.weights.names import From
from models.weights.rope_keys import rope_in, rope_out

TRANSFORMER = "models.transformer.Transformer"
EXPERTS = "models.layers.moe.settings.MoESettings"
# ours: what changes training only, or is handled apart (rope_*, window*, moe)
FREE = ("dropout", "init", "init_std", "checkpoint_blocks", "vocab_size", "moe", "window", "window_layers")
FREE_MOE = (
    *(
        "every",
        "first_dense",
        "layers",
        "noisy",
        "jitter",
        "capacity_factor",
        "drop_order",
        "eval_dropless",
        "dispatch",
    ),
    *("combine", "lb_coef", "lb_scope", "z_coef", "bias_update", "bias_steps", "allow_noncausal", "router_init_std"),
)
LLAMA_KEYS = {
    "vocab_size": "vocab_size",
    "seq_len": "max_position_embeddings",
    "n_layer": "num_hidden_layers",
    "n_head": "num_attention_heads",
    "n_kv_head": "num_key_value_heads",
    "head_dim": "head_dim",
    "n_embd": "hidden_size",
    "n_inner": "intermediate_size",
    "norm_eps": "rms_norm_eps",
    "tied": "tie_word_embeddings",
}
LLAMA_FIXED = {
    "mlp": "swiglu", "norm": "rms", "norm_weight": True, "bias": False, "qkv_bias": False, "qk_norm": "none",
    "position": "rope", "sinks": "none", "n_sink": 0, "embed_norm": False, "softcap": None,
}  # fmt: skip
MOE_FIXED = {"router": "softmax", "routed_scale": 1.0, "n_shared": 0}
SILU = {"hidden_act": "silu"}
NO_BIAS = {"attention_bias": False}


@dataclass(frozen=True)
class Family:
    """One family.

    Args:
        model_type, architecture: as in config.json. target: our class. names: of the parameters.
        keys: ours -> theirs. fixed: ours that are always so. demanded: theirs that must be so, where they are given.
        zeros: of `fixed`, biases that a model of ours may lack: it is exported with zeros for them.
        defaults: theirs, where config.json leaves them out.
        windows: which layers may have a sliding window. moe_keys, moe_fixed: the same for the experts, if it has any.
        prefix: of its parameters, but the head. classifier: transformers has a sequence classifier of it.
    """

    model_type: str
    architecture: str
    names: dict[str, From]
    target: str = TRANSFORMER
    keys: dict[str, str] = field(default_factory=lambda: LLAMA_KEYS)
    fixed: dict[str, Any] = field(default_factory=lambda: LLAMA_FIXED)
    demanded: dict[str, Any] = field(default_factory=lambda: SILU)
    zeros: tuple[str, ...] = ()
    defaults: dict[str, Any] = field(default_factory=dict)
    windows: Literal["none", "all", "chosen"] = "none"
    moe_keys: dict[str, str] | None = None
    moe_fixed: dict[str, Any] = field(default_factory=lambda: MOE_FIXED)
    prefix: str = "model."
    classifier: bool = True


GELU = {"gelu_new": "tanh", "gelu_pytorch_tanh": "tanh", "gelu": "none"}
FAMILIES = {
    family.model_type: family
    for family in (
        Family(
            "gpt2", "GPT2LMHeadModel", names.GPT2,
            target="models.gpt.GPT",
            keys={"vocab_size": "vocab_size", "seq_len": "n_positions", "n_layer": "n_layer", "n_head": "n_head",
                  "n_embd": "n_embd"},
            fixed={"bias": True},
            zeros=("bias",),
            demanded={"n_inner": None, "scale_attn_weights": True, "scale_attn_by_inverse_layer_idx": False,
                      "layer_norm_epsilon": 1e-5, "add_cross_attention": False, "tie_word_embeddings": True},
            prefix="transformer.",
        ),
        Family("llama", "LlamaForCausalLM", names.LLAMA, demanded=SILU | NO_BIAS | {"mlp_bias": False}),
        Family("mistral", "MistralForCausalLM", names.LLAMA, windows="all"),
        Family("qwen2", "Qwen2ForCausalLM", names.QWEN2, fixed=LLAMA_FIXED | {"qkv_bias": True}, windows="chosen"),
        Family("qwen3", "Qwen3ForCausalLM", names.QWEN3, fixed=LLAMA_FIXED | {"qk_norm": "head"},
               demanded=SILU | NO_BIAS, defaults={"head_dim": 128}, windows="chosen"),
        Family("mixtral", "MixtralForCausalLM", names.MIXTRAL, windows="all", defaults={"rope_theta": 1e6},
               moe_keys={"n_experts": "num_local_experts", "top_k": "num_experts_per_tok", "ff": "intermediate_size"},
               moe_fixed=MOE_FIXED | {"norm_topk": True}),
        Family("qwen3_moe", "Qwen3MoeForCausalLM", names.QWEN3_MOE, fixed=LLAMA_FIXED | {"qk_norm": "head"},
               demanded=SILU | NO_BIAS, defaults={"norm_topk_prob": False}, windows="chosen",
               moe_keys={"n_experts": "num_experts", "top_k": "num_experts_per_tok", "ff": "moe_intermediate_size",
                         "norm_topk": "norm_topk_prob"}),
        Family("olmoe", "OlmoeForCausalLM", names.OLMOE, fixed=LLAMA_FIXED | {"qk_norm": "full"},
               demanded=SILU | NO_BIAS | {"clip_qkv": None}, defaults={"norm_topk_prob": False},
               moe_keys={"n_experts": "num_experts", "top_k": "num_experts_per_tok", "ff": "intermediate_size",
                         "norm_topk": "norm_topk_prob"},
               classifier=False),
    )
}  # fmt: skip


def read_config(folder: str | Path) -> dict[str, Any]:
    """config.json of a Hugging Face folder. Raises RequestError if it is missing or damaged."""
    path = Path(folder) / "config.json"
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise RequestError(f"{folder} has no config.json: it is no Hugging Face model folder.") from None
    except (OSError, ValueError) as error:
        raise RequestError(f"{path} cannot be read as JSON ({error}): it is damaged.") from error
    if not isinstance(config, dict) or "model_type" not in config:
        raise RequestError(f"{path} does not say its model_type: it is no config of a Hugging Face model.")
    return config


def family_of(config: dict[str, Any]) -> Family:
    """Raises RequestError for a family that has no table; names those that have."""
    kind = config["model_type"]
    if config.get("is_encoder_decoder"):
        raise RequestError(
            f'model_type "{kind}" is an encoder-decoder.\nIt runs with: model=hf_seq2seq model.path=... objective=sft'
        )
    if kind not in FAMILIES:
        raise RequestError(
            f'model_type "{kind}": its weights have no table here. Known: {", ".join(FAMILIES)} (SmolLM is a llama).\n'
            "Any causal model of transformers runs as it is with: model=hf model.path=..."
        )
    return FAMILIES[kind]


def model_section(folder: str | Path) -> dict[str, Any]:
    """The model section that a Hugging Face folder's config.json stands for; the vocabulary's size is not part of it.

    Raises:
        RequestError: the family, or a setting of it, is not one of ours.
    """
    config = read_config(folder)
    family = family_of(config)
    config = family.defaults | config
    for key, value in family.demanded.items():
        if config.get(key, value) != value:
            raise RequestError(
                f"{folder}/config.json: {key}={config[key]}, and our {family.model_type} knows {value} only.\n"
                "As it is, it runs with: model=hf model.path=..."
            )
    ours = {key: config.get(theirs) for key, theirs in family.keys.items() if theirs != "vocab_size"}
    section = {"_target_": family.target} | ours | family.fixed
    if family.target == TRANSFORMER:
        section["tied"] = bool(ours["tied"])
        section["norm_eps"] = float(1e-6 if ours["norm_eps"] is None else ours["norm_eps"])
        section |= rope_in(config) | _window_in(family, config)
        if family.moe_keys is not None:
            section["moe"] = _moe_in(family, config)
    else:
        section["gelu"] = _gelu(config)
    return section


def ties(folder: str | Path) -> bool:
    """Whether the head of a Hugging Face folder is its embedding, by its config.json."""
    config = read_config(folder)
    return bool(config.get("tie_word_embeddings", "tied" not in family_of(config).keys))


def vocab_size_of(folder: str | Path) -> int:
    return int(read_config(folder)["vocab_size"])


def config_of(settings: dict[str, Any]) -> tuple[Family, dict[str, Any]]:
    """The family that expresses a model of ours, and its config.json.

    Args:
        settings: all keyword arguments of the model, sizes filled in, with `_target_`; `moe` as a dict or None.

    Raises:
        RequestError: none does; names the keys in the way of the nearest.
    """
    judged = {name: _obstacles(family, settings) for name, family in FAMILIES.items()}
    name = min(judged, key=lambda name: len(judged[name]))
    if judged[name]:
        keys = ", ".join(f"model.{key}={settings_value(settings, key)}" for key in judged[name])
        raise RequestError(
            f"no Hugging Face family that is known here can express this model. The nearest is {name}; "
            f"in the way: {keys}.\nFamilies: {', '.join(FAMILIES)}."
        )
    family = FAMILIES[name]
    config = {theirs: settings[ours] for ours, theirs in family.keys.items()} | family.demanded
    config |= {"architectures": [family.architecture], "model_type": name}
    if family.target == TRANSFORMER:
        config |= rope_out(settings) | _window_out(family, settings)
        config |= _moe_out(family, settings) if family.moe_keys is not None else {}
    else:
        config["activation_function"] = {"tanh": "gelu_new", "none": "gelu"}[settings["gelu"]]
    return family, config


def settings_value(settings: dict[str, Any], key: str) -> Any:
    head, _, leaf = key.partition(".")
    return (settings.get(head) or {}).get(leaf) if leaf else settings.get(head, settings.get("_target_"))


def _obstacles(family: Family, settings: dict[str, Any]) -> list[str]:
    """Our keys that keep a model from being of this family."""
    if settings["_target_"] != family.target:
        return ["_target_"] * 99
    fixed = {key: value for key, value in family.fixed.items() if key not in family.zeros}
    found = [key for key, value in fixed.items() if settings.get(key, value) != value]
    if family.target != TRANSFORMER:
        return found
    handled = {*family.keys, *family.fixed, *FREE, "_target_"}
    found += [key for key in settings if key not in handled and not key.startswith("rope_")]
    moe = settings.get("moe")
    if (moe is None) != (family.moe_keys is None):
        found.append("moe")
    elif moe is not None and family.moe_keys is not None:
        found += [f"moe.{key}" for key, value in family.moe_fixed.items() if moe.get(key, value) != value]
        if family.model_type != "qwen3_moe" and len(moe_layers(moe, settings["n_layer"])) < settings["n_layer"]:
            found.append("moe.layers")
    chosen = window_layers(settings)
    if chosen and (family.windows == "none" or (family.windows == "all" and len(chosen) < settings["n_layer"])):
        found.append("window")
    return found


def window_layers(settings: dict[str, Any]) -> list[int]:
    """Layers with a sliding window."""
    if settings.get("window") is None:
        return []
    layers = settings.get("window_layers")
    return list(range(settings["n_layer"])) if layers is None else list(layers)


def moe_layers(moe: dict[str, Any], n_layer: int) -> list[int]:
    """Layers with experts, as models.layers.moe counts them."""
    if moe.get("layers") is not None:
        return list(moe["layers"])
    every, first = moe.get("every", 1), moe.get("first_dense", 0)
    return [i for i in range(n_layer) if i >= first and (i + 1) % every == 0]


def _window_in(family: Family, config: dict[str, Any]) -> dict[str, Any]:
    width, n = config.get("sliding_window"), config["num_hidden_layers"]
    if family.windows == "none" or width is None:
        return {"window": None, "window_layers": None}
    if family.windows == "all":
        return {"window": width, "window_layers": None}
    if not config.get("use_sliding_window", False):
        return {"window": None, "window_layers": None}
    kinds = config.get("layer_types")
    first = config.get("max_window_layers", 0)
    layers = [i for i in range(n) if (kinds[i] == "sliding_attention" if kinds else i >= first)]
    return {"window": width, "window_layers": layers} if layers else {"window": None, "window_layers": None}


def _window_out(family: Family, settings: dict[str, Any]) -> dict[str, Any]:
    if family.windows == "none":
        return {}
    if family.windows == "all":
        return {"sliding_window": settings.get("window")}
    chosen, n = set(window_layers(settings)), settings["n_layer"]
    kinds = ["sliding_attention" if i in chosen else "full_attention" for i in range(n)]
    return {"sliding_window": settings.get("window"), "use_sliding_window": bool(chosen), "layer_types": kinds,
            "max_window_layers": min(chosen, default=n)}  # fmt: skip


def _moe_in(family: Family, config: dict[str, Any]) -> dict[str, Any]:
    assert family.moe_keys is not None
    if "num_experts" not in config and "num_local_experts" in config:
        config = config | {"num_experts": config["num_local_experts"]}  # transformers 5 writes Qwen3's so
    moe = {"_target_": EXPERTS} | family.moe_fixed
    moe |= {ours: config[theirs] for ours, theirs in family.moe_keys.items()}
    n, dense = config["num_hidden_layers"], config.get("mlp_only_layers") or []
    sparse = [i for i in range(n) if i not in dense and (i + 1) % config.get("decoder_sparse_step", 1) == 0]
    return moe if len(sparse) == n else moe | {"layers": sparse}


def _moe_out(family: Family, settings: dict[str, Any]) -> dict[str, Any]:
    assert family.moe_keys is not None
    moe, n = settings["moe"], settings["n_layer"]
    config = {theirs: moe[ours] for ours, theirs in family.moe_keys.items()}
    if family.model_type == "qwen3_moe":
        sparse = moe_layers(moe, n)
        config |= {"decoder_sparse_step": 1, "mlp_only_layers": [i for i in range(n) if i not in sparse]}
    return config


def _gelu(config: dict[str, Any]) -> str:
    name = config.get("activation_function", "gelu_new")
    if name not in GELU:
        raise RequestError(f"config.json: activation_function={name}; our gpt2 knows {', '.join(GELU)}.")
    return GELU[name]
