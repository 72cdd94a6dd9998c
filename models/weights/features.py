"""What families write each in its own way, read and written: windows, factors, experts, the activation."""

import math
from typing import Any

from errors import RequestError
from models.weights.families import Family

EXPERTS = "models.layers.moe.settings.MoESettings"
GELU = {"gelu_new": "tanh", "gelu_pytorch_tanh": "tanh", "gelu": "none"}


def window_layers(settings: dict[str, Any]) -> list[int]:
    """Layers with a sliding window."""
    if settings.get("window") is None:
        return []
    layers = settings.get("window_layers")
    return list(range(settings["n_layer"])) if layers is None else list(layers)


def window_in(family: Family, config: dict[str, Any]) -> dict[str, Any]:
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


def window_out(family: Family, settings: dict[str, Any]) -> dict[str, Any]:
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


def _width(width: Any) -> int:
    if not isinstance(width, int) or width < 1:
        raise RequestError(f"config.json: sliding_window={width} where layers have a window: expected 1 or more.")
    return width


def scales_in(family: Family, config: dict[str, Any]) -> dict[str, Any]:
    """Factors on attention's scores and on the embedding, where the family has some."""
    if family.scale == "factor":
        return {"attention_scale": float(config["attention_multiplier"])}
    if family.scale == "squared":
        return {
            "attention_scale": float(config["query_pre_attn_scalar"]) ** -0.5,
            "embed_scale": float(config["hidden_size"]) ** 0.5,
        }
    return {}


def scales_out(family: Family, settings: dict[str, Any]) -> dict[str, Any]:
    scale = settings.get("attention_scale") or settings["head_dim"] ** -0.5
    if family.scale == "factor":
        return {"attention_multiplier": scale}
    return {"query_pre_attn_scalar": round(scale**-2)} if family.scale == "squared" else {}


def scale_obstacles(family: Family, settings: dict[str, Any]) -> list[str]:
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


def moe_layers(moe: dict[str, Any], n_layer: int) -> list[int]:
    """Layers with experts, as models.layers.moe counts them."""
    if moe.get("layers") is not None:
        return list(moe["layers"])
    every, first = moe.get("every", 1), moe.get("first_dense", 0)
    return [i for i in range(n_layer) if i >= first and (i + 1) % every == 0]


def moe_in(family: Family, config: dict[str, Any]) -> dict[str, Any]:
    assert family.moe_keys is not None
    if "num_local_experts" in config:
        config = config | {"num_experts": config["num_local_experts"]}  # transformers 5 writes Qwen3's so
    moe = {"_target_": EXPERTS} | family.moe_fixed
    moe |= {ours: config[theirs] for ours, theirs in family.moe_keys.items()}
    n, dense = config["num_hidden_layers"], config.get("mlp_only_layers") or []
    sparse = [i for i in range(n) if i not in dense and (i + 1) % config.get("decoder_sparse_step", 1) == 0]
    return moe if len(sparse) == n else moe | {"layers": sparse}


def moe_out(family: Family, settings: dict[str, Any]) -> dict[str, Any]:
    assert family.moe_keys is not None
    moe, n = settings["moe"], settings["n_layer"]
    config = {theirs: moe[ours] for ours, theirs in family.moe_keys.items()}
    if family.model_type == "qwen3_moe":
        sparse = moe_layers(moe, n)
        config |= {"decoder_sparse_step": 1, "mlp_only_layers": [i for i in range(n) if i not in sparse]}
    return config


def gelu_in(config: dict[str, Any]) -> str:
    name = config.get("activation_function", "gelu_new")
    if name not in GELU:
        raise RequestError(f"config.json: activation_function={name}; our gpt2 knows {', '.join(GELU)}.")
    return GELU[name]
