"""Families of Hugging Face models that ours can express: their config.json <-> our model section. No torch here.

One entry of `FAMILIES` per family. Read forwards it turns a config.json into a model section, backwards it says whether
a model of ours is of that family, and if not, which key stands in the way.
"""

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from errors import RequestError
from models.weights import names
from models.weights.completing import check_known, completed
from models.weights.names import From
from models.weights.rope_keys import rope_by_layer_out, rope_in, rope_out
from strict_json import object_in

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
WITHOUT_HEAD_DIM = {ours: theirs for ours, theirs in LLAMA_KEYS.items() if ours != "head_dim"}
LLAMA_FIXED = {
    "mlp": "swiglu", "norm": "rms", "norm_weight": True, "bias": False, "qkv_bias": False, "qk_norm": "none",
    "position": "rope", "sinks": "none", "n_sink": 0, "embed_norm": False, "softcap": None,
}  # fmt: skip
# what only some families have, and the others must leave as it is
NEUTRAL = {
    "post_norm": False, "attention_scale": None, "rope_local_theta": None, "embed_scale": 1.0, "residual_scale": 1.0,
    "logits_scaling": 1.0, "lambdas": False, "smear": False, "value_embeds": False, "backout": False,
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
        windows: which layers may have a sliding window: all or none by a switch (switched), each by its type (chosen).
        without_effect: theirs that transformers reads from files, and whose effect is in other keys already, or none.
        scale: how the factor on attention's scores is written. rope_by_layer: layers with a window turn otherwise.
        fused: some matrices of theirs are several of ours (names.FUSED).
        moe_keys, moe_fixed: the same for the experts, if it has any.
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
    windows: Literal["none", "all", "switched", "chosen"] = "none"
    without_effect: tuple[str, ...] = ()
    scale: Literal["none", "factor", "squared"] = "none"
    rope_by_layer: bool = False
    fused: bool = False
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
        Family("qwen2", "Qwen2ForCausalLM", names.QWEN2, fixed=LLAMA_FIXED | {"qkv_bias": True}, windows="chosen",
               without_effect=("max_window_layers", "use_mrope")),
        Family("qwen3", "Qwen3ForCausalLM", names.QWEN3, fixed=LLAMA_FIXED | {"qk_norm": "head"},
               demanded=SILU | NO_BIAS, windows="chosen", without_effect=("max_window_layers",)),
        Family("mixtral", "MixtralForCausalLM", names.MIXTRAL, windows="all",
               moe_keys={"n_experts": "num_local_experts", "top_k": "num_experts_per_tok", "ff": "intermediate_size"},
               moe_fixed=MOE_FIXED | {"norm_topk": True}),
        Family("qwen3_moe", "Qwen3MoeForCausalLM", names.QWEN3_MOE, fixed=LLAMA_FIXED | {"qk_norm": "head"},
               demanded=SILU | NO_BIAS, windows="switched", without_effect=("max_window_layers", "layer_types"),
               moe_keys={"n_experts": "num_experts", "top_k": "num_experts_per_tok", "ff": "moe_intermediate_size",
                         "norm_topk": "norm_topk_prob"}),
        Family("olmoe", "OlmoeForCausalLM", names.OLMOE,
               keys=WITHOUT_HEAD_DIM,
               fixed=LLAMA_FIXED | {"qk_norm": "full"},
               demanded=SILU | NO_BIAS | {"clip_qkv": None},
               moe_keys={"n_experts": "num_experts", "top_k": "num_experts_per_tok", "ff": "intermediate_size",
                         "norm_topk": "norm_topk_prob"},
               classifier=False),
        Family("gemma3_text", "Gemma3ForCausalLM", names.GEMMA3,
               keys=LLAMA_KEYS | {"softcap": "final_logit_softcapping"},
               fixed={k: v for k, v in LLAMA_FIXED.items() if k != "softcap"}
               | {"mlp": "geglu_tanh", "qk_norm": "head", "post_norm": True},
               demanded=NO_BIAS | {"hidden_activation": "gelu_pytorch_tanh", "attn_logit_softcapping": None,
                                   "use_bidirectional_attention": False},
               without_effect=("_sliding_window_pattern", "sliding_window_pattern", "hidden_act"),
               windows="chosen", scale="squared", rope_by_layer=True, classifier=False),
        Family("phi3", "Phi3ForCausalLM", names.LLAMA,
               keys=WITHOUT_HEAD_DIM,
               fixed=LLAMA_FIXED | {"rope_scaling": "none"}, windows="all", fused=True),
        Family("granite", "GraniteForCausalLM", names.LLAMA, demanded=SILU | NO_BIAS | {"mlp_bias": False},
               keys=WITHOUT_HEAD_DIM
               | {"embed_scale": "embedding_multiplier", "residual_scale": "residual_multiplier",
                  "logits_scaling": "logits_scaling"},
               scale="factor", classifier=False),
    )
}  # fmt: skip


def read_config(folder: str | Path) -> dict[str, Any]:
    """config.json of a Hugging Face folder, completed by transformers where the family is known here.

    Raises RequestError if it is missing or damaged, or transformers refuses it.
    """
    path = Path(folder) / "config.json"
    try:
        config = object_in(path)
    except FileNotFoundError:
        raise RequestError(f"{folder} has no config.json: it is no Hugging Face model folder.") from None
    except (OSError, ValueError) as error:
        raise RequestError(f"{path} cannot be read as JSON ({error}): it is damaged.") from error
    if "model_type" not in config:
        raise RequestError(f"{path} does not say its model_type: it is no config of a Hugging Face model.")
    if not isinstance(config["model_type"], str):
        raise RequestError(f"{path}: model_type={config['model_type']} is no name of a family.")
    return completed(config, str(path)) if config["model_type"] in FAMILIES else config


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
    _check_keys(family, config, f"{folder}/config.json")
    for key, value in family.demanded.items():
        if (config.get(key) or None) != (value or None):
            raise RequestError(
                f"{folder}/config.json: {key}={config[key]}, and our {family.model_type} knows {value} only.\n"
                "As it is, it runs with: model=hf model.path=..."
            )
    ours = {key: config.get(theirs) for key, theirs in family.keys.items() if theirs != "vocab_size"}
    section = {"_target_": family.target} | ours | family.fixed
    if family.target == TRANSFORMER:
        section["tied"] = bool(ours["tied"])
        section["norm_eps"] = float(config["rms_norm_eps"])
        section |= rope_in(config) | _window_in(family, config) | _scales_in(family, config)
        if family.moe_keys is not None:
            section["moe"] = _moe_in(family, config)
    else:
        section["gelu"] = _gelu(config)
    return section


def ties(folder: str | Path) -> bool:
    """Whether the head of a Hugging Face folder is its embedding, by its config.json."""
    return bool(read_config(folder)["tie_word_embeddings"])


def vocab_size_of(folder: str | Path) -> int:
    return int(read_config(folder)["vocab_size"])


def config_of(settings: dict[str, Any], wanted: str | None = None) -> tuple[Family, dict[str, Any]]:
    """The family that expresses a model of ours, and its config.json.

    Args:
        settings: all keyword arguments of the model, sizes filled in, with `_target_`; `moe` as a dict or None.
        wanted: the family to take; None is the first that can.

    Raises:
        RequestError: none does; names the keys in the way of the nearest.
    """
    if wanted is not None and wanted not in FAMILIES:
        raise RequestError(f"export.family={wanted}: expected null or one of {', '.join(FAMILIES)}.")
    tried = FAMILIES if wanted is None else {wanted: FAMILIES[wanted]}
    judged = {name: _obstacles(family, settings) for name, family in tried.items()}
    name = min(judged, key=lambda name: (any(key in ("moe", "_target_") for key in judged[name]), len(judged[name])))
    if judged[name]:
        keys = ", ".join(f"model.{key}={settings_value(settings, key)}" for key in judged[name])
        raise RequestError(
            (
                "no Hugging Face family that is known here can express this model. The nearest is "
                if wanted is None
                else "this model cannot be exported as "
            )
            + f"{name}; "
            f"in the way: {keys}.\nFamilies: {', '.join(FAMILIES)}."
        )
    family = FAMILIES[name]
    config = {theirs: settings[ours] for ours, theirs in family.keys.items()} | family.demanded
    config |= {"architectures": [family.architecture], "model_type": name}
    if family.target == TRANSFORMER:
        config |= rope_by_layer_out(settings) if family.rope_by_layer else rope_out(settings)
        config |= _window_out(family, settings) | _scales_out(family, settings)
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
    if family.target != TRANSFORMER:
        fixed = {key: value for key, value in family.fixed.items() if key not in family.zeros}
        return [key for key, value in fixed.items() if settings.get(key, value) != value]
    neutral = {key: value for key, value in NEUTRAL.items() if key not in family.keys}
    fixed = neutral | family.fixed
    found = _scale_obstacles(family, settings)
    free = {"none": (), "factor": ("attention_scale",)}.get(family.scale, ("attention_scale", "embed_scale"))
    free = (*free, "rope_local_theta") if family.rope_by_layer else free
    if "head_dim" not in family.keys and settings["head_dim"] * settings["n_head"] != settings["n_embd"]:
        found.append("head_dim")
    found += [key for key, value in fixed.items() if settings.get(key, value) != value and key not in free]
    handled = {*family.keys, *fixed, *FREE, "_target_", "head_dim"}
    found += [key for key in settings if key not in handled and not key.startswith("rope_")]
    moe = settings.get("moe")
    if (moe is None) != (family.moe_keys is None):
        found.append("moe")
    elif moe is not None and family.moe_keys is not None:
        found += [f"moe.{key}" for key, value in family.moe_fixed.items() if moe.get(key, value) != value]
        if moe.get("capacity_factor") is not None and not moe.get("eval_dropless", True):
            found.append("moe.eval_dropless")  # nothing is ever dropped there
        if family.model_type != "qwen3_moe" and len(moe_layers(moe, settings["n_layer"])) < settings["n_layer"]:
            found.append("moe.layers")
    chosen = window_layers(settings)
    if chosen and (
        family.windows == "none" or (family.windows in ("all", "switched") and len(chosen) < settings["n_layer"])
    ):
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


def _check_keys(family: Family, config: dict[str, Any], where: str) -> None:
    windows = ("sliding_window", "use_sliding_window", "layer_types") if family.windows != "none" else ()
    experts = (*(family.moe_keys or {}).values(), "num_experts", "num_local_experts", "decoder_sparse_step",
               "mlp_only_layers") if family.moe_keys else ()  # fmt: skip
    scales = {"none": (), "factor": ("attention_multiplier",), "squared": ("query_pre_attn_scalar",)}[family.scale]
    own = ("head_dim", "activation_function") if family.target != TRANSFORMER else ("head_dim",)
    read = {*family.keys.values(), *family.demanded, *family.without_effect, *windows, *experts, *scales, *own}
    check_known(config, read, family.model_type, where)
    if config.get("head_dim") and "head_dim" not in family.keys and family.target == TRANSFORMER:
        width = config["hidden_size"] // config["num_attention_heads"]
        if config["head_dim"] != width:
            raise RequestError(
                f"{where}: head_dim={config['head_dim']}; {family.model_type} has {width} with this width."
            )


def _scales_in(family: Family, config: dict[str, Any]) -> dict[str, Any]:
    """Factors on attention's scores and on the embedding, where the family has some."""
    if family.scale == "factor":
        return {"attention_scale": float(config["attention_multiplier"])}
    if family.scale == "squared":
        return {
            "attention_scale": float(config["query_pre_attn_scalar"]) ** -0.5,
            "embed_scale": float(config["hidden_size"]) ** 0.5,
        }
    return {}


def _scales_out(family: Family, settings: dict[str, Any]) -> dict[str, Any]:
    scale = settings.get("attention_scale") or settings["head_dim"] ** -0.5
    if family.scale == "factor":
        return {"attention_multiplier": scale}
    return {"query_pre_attn_scalar": round(scale**-2)} if family.scale == "squared" else {}


def _scale_obstacles(family: Family, settings: dict[str, Any]) -> list[str]:
    """Of a family that writes such factors in its own way; for the others NEUTRAL decides."""
    found: list[str] = []
    if family.scale != "squared":
        return found
    scale = settings.get("attention_scale") or settings["head_dim"] ** -0.5
    if not math.isclose(round(scale**-2) ** -0.5 if round(scale**-2) else 0.0, scale, rel_tol=1e-6):
        found.append("attention_scale")  # theirs is a whole number ** -1/2
    if not math.isclose(settings["embed_scale"], settings["n_embd"] ** 0.5, rel_tol=1e-6):
        found.append("embed_scale")
    return found


def _window_in(family: Family, config: dict[str, Any]) -> dict[str, Any]:
    width, n = config.get("sliding_window"), config["num_hidden_layers"]
    none = {"window": None, "window_layers": None}
    if family.windows == "none" or (width is None and family.windows != "chosen"):
        return none
    if family.windows != "chosen":
        return {"window": _width(width), "window_layers": None}
    kinds = config.get("layer_types") or ["full_attention"] * n
    if strange := [kind for kind in kinds if kind not in ("full_attention", "sliding_attention")]:
        raise RequestError(f"config.json: layer_types has {strange[0]}; known: full_attention, sliding_attention.")
    if len(kinds) != n:
        raise RequestError(f"config.json: layer_types has {len(kinds)} entries, and there are {n} layers.")
    layers = [i for i in range(n) if kinds[i] == "sliding_attention"]
    return {"window": _width(width), "window_layers": layers} if layers else none


def _width(width: Any) -> int:
    if not isinstance(width, int) or width < 1:
        raise RequestError(f"config.json: sliding_window={width} where layers have a window: expected 1 or more.")
    return width


def _window_out(family: Family, settings: dict[str, Any]) -> dict[str, Any]:
    if family.windows == "none":
        return {}
    if family.windows == "all":
        return {"sliding_window": settings.get("window")}
    chosen, n = set(window_layers(settings)), settings["n_layer"]
    if family.windows == "switched":
        return {"sliding_window": settings.get("window"), "use_sliding_window": bool(chosen)}
    kinds = ["sliding_attention" if i in chosen else "full_attention" for i in range(n)]
    if family.rope_by_layer:
        return {"sliding_window": settings.get("window"), "layer_types": kinds}
    return {"sliding_window": settings.get("window"), "use_sliding_window": bool(chosen), "layer_types": kinds,
            "max_window_layers": min(chosen, default=n)}  # fmt: skip


def _moe_in(family: Family, config: dict[str, Any]) -> dict[str, Any]:
    assert family.moe_keys is not None
    if "num_local_experts" in config:
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
