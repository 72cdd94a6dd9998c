"""Rotary positions in config.json <-> our keys.

Read from `rope_parameters`, as transformers completes it from new and old spellings; written for both.
"""

from typing import Any

from errors import RequestError

KNOWN = {
    "default": (), "linear": ("factor",), "yarn": ("factor", "original_max_position_embeddings"),
    "llama3": ("factor", "original_max_position_embeddings", "low_freq_factor", "high_freq_factor"),
}  # fmt: skip
# what ours does: given as such, these are without effect
OURS = {
    "partial_rotary_factor": 1.0, "beta_fast": 32, "beta_slow": 1, "mscale": None, "mscale_all_dim": None,
    "attention_factor": None, "truncate": True,
}  # fmt: skip
LOCAL, GLOBAL = "sliding_attention", "full_attention"


def rope_in(config: dict[str, Any]) -> dict[str, Any]:
    """Raises RequestError for a scaling that we do not have, and for keys of one that we do not know."""
    rope = dict(config.get("rope_parameters") or {})
    if LOCAL in rope or GLOBAL in rope:
        local = _one(dict(rope[LOCAL]), config)
        if local["rope_scaling"] != "none":
            raise RequestError(f"config.json: layers with a window scale their positions ({rope[LOCAL]}); ours do not.")
        return _one(dict(rope[GLOBAL]), config) | {"rope_local_theta": local["rope_theta"]}
    return _one(rope, config)


def _one(rope: dict[str, Any], config: dict[str, Any]) -> dict[str, Any]:
    kind = rope.pop("rope_type", rope.pop("type", "default"))
    rope.pop("type", None)
    if kind not in KNOWN:
        raise RequestError(f"config.json: rope_type={kind}; known: {', '.join(KNOWN)}.")
    theta = rope.pop("rope_theta", None)
    ours = {
        "rope_theta": 10_000.0 if theta is None else float(theta),
        "rope_scaling": "none" if kind == "default" else kind,
    }
    given = {key: rope.pop(key) for key in KNOWN[kind] if rope.get(key) is not None}
    for key, value in rope.items():
        if key in OURS and value not in (None, OURS[key]):
            raise RequestError(f"config.json: {key}={value} of rope_type={kind}; known: {OURS[key]}.")
        if key not in OURS and value is not None and kind != "default":
            raise RequestError(f"config.json: rope_type={kind} with {key}={value}, a key that is not known here.")
    if missing := [key for key in KNOWN[kind] if key not in given and key != "original_max_position_embeddings"]:
        raise RequestError(f"config.json: rope_type={kind} lacks {', '.join(missing)}.")
    if kind != "default":
        ours |= {"rope_factor": float(given["factor"])}
    if kind in ("yarn", "llama3"):
        trained = given.get("original_max_position_embeddings", config["max_position_embeddings"])
        ours |= {"rope_trained_len": int(trained)}
    if kind == "llama3":
        ours |= {"rope_low": float(given["low_freq_factor"]), "rope_high": float(given["high_freq_factor"])}
    return ours


def rope_out(settings: dict[str, Any]) -> dict[str, Any]:
    """`rope_parameters`, as transformers 5 writes them, and rope_theta for what reads older files."""
    kind = settings["rope_scaling"]
    rope = {"rope_theta": settings["rope_theta"], "rope_type": "default" if kind == "none" else kind}
    if kind != "none":
        rope["factor"] = settings["rope_factor"]
    if kind in ("yarn", "llama3"):
        rope["original_max_position_embeddings"] = settings["rope_trained_len"] or settings["seq_len"]
    if kind == "llama3":
        rope |= {"low_freq_factor": settings["rope_low"], "high_freq_factor": settings["rope_high"]}
    return {"rope_parameters": rope, "rope_theta": settings["rope_theta"]}


def rope_by_layer_out(settings: dict[str, Any]) -> dict[str, Any]:
    """`rope_out` for models whose layers with a window have positions of their own (Gemma 3)."""
    everywhere = rope_out(settings)["rope_parameters"]
    local = settings.get("rope_local_theta") or settings["rope_theta"]
    return {"rope_parameters": {GLOBAL: everywhere, LOCAL: {"rope_type": "default", "rope_theta": local}}}
