"""Rotary positions in config.json <-> our keys; old files (rope_theta, rope_scaling) and new ones (rope_parameters)."""

from typing import Any

from errors import RequestError


def rope_in(config: dict[str, Any]) -> dict[str, Any]:
    """Raises RequestError for a scaling that we do not have."""
    rope = dict(config.get("rope_scaling") or {}) | dict(config.get("rope_parameters") or {})
    kind = rope.get("rope_type", rope.get("type", "default"))
    ours = {
        "rope_theta": float(rope.get("rope_theta", config.get("rope_theta", 10_000.0))),
        "rope_scaling": "none" if kind == "default" else kind,
    }
    if rope.get("partial_rotary_factor", config.get("partial_rotary_factor", 1.0)) != 1.0:
        raise RequestError("config.json: partial_rotary_factor is not 1; ours turns all channels.")
    if kind == "default":
        return ours
    if kind not in ("linear", "llama3", "yarn"):
        raise RequestError(f"config.json: rope_type={kind}; known: default, linear, llama3, yarn.")
    own_rules = {"beta_fast": 32, "beta_slow": 1, "mscale": None, "attention_factor": None}
    for key, value in own_rules.items():
        if kind == "yarn" and rope.get(key) not in (None, value):
            raise RequestError(f"config.json: {key}={rope[key]} of yarn; known: {value}.")
    ours |= {"rope_factor": float(rope["factor"])}
    ours |= {"rope_trained_len": rope.get("original_max_position_embeddings")}
    if kind == "llama3":
        ours |= {"rope_low": float(rope["low_freq_factor"]), "rope_high": float(rope["high_freq_factor"])}
    return ours


def rope_out(settings: dict[str, Any]) -> dict[str, Any]:
    """`rope_parameters`, as transformers 5 writes them, and rope_theta for what reads older files."""
    kind = settings["rope_scaling"]
    rope = {"rope_theta": settings["rope_theta"], "rope_type": "default" if kind == "none" else kind}
    if kind != "none":
        rope["factor"] = settings["rope_factor"]
        rope["original_max_position_embeddings"] = settings["rope_trained_len"] or settings["seq_len"]
    if kind == "llama3":
        rope |= {"low_freq_factor": settings["rope_low"], "high_freq_factor": settings["rope_high"]}
    return {"rope_parameters": rope, "rope_theta": settings["rope_theta"]}
