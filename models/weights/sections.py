"""A config.json of a family <-> our model section; where there is no way back, the keys that stand in it."""

from pathlib import Path
from typing import Any

from errors import RequestError
from models.weights.completing import check_known
from models.weights.families import FAMILIES, TRANSFORMER, Family, family_of, read_config
from models.weights.features import (
    gelu_in,
    moe_in,
    moe_layers,
    moe_out,
    scale_obstacles,
    scales_in,
    scales_out,
    window_in,
    window_layers,
    window_out,
)
from models.weights.rope_keys import rope_by_layer_out, rope_in, rope_out

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
# what only some families have, and the others must leave as it is
NEUTRAL = {
    "post_norm": False, "attention_scale": None, "rope_local_theta": None, "embed_scale": 1.0, "residual_scale": 1.0,
    "logits_scaling": 1.0, "lambdas": False, "smear": False, "value_embeds": False, "backout": False,
}  # fmt: skip


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
        section |= rope_in(config) | window_in(family, config) | scales_in(family, config)
        if family.moe_keys is not None:
            section["moe"] = moe_in(family, config)
    else:
        section["gelu"] = gelu_in(config)
    return section


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
        config |= window_out(family, settings) | scales_out(family, settings)
        config |= moe_out(family, settings) if family.moe_keys is not None else {}
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
    found = scale_obstacles(family, settings)
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
