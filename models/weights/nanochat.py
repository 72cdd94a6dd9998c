"""nanochat's checkpoints (model_000650.pt beside meta_000650.json), read as plain data, never as a pickle that runs.

Names differ, and its rotary embedding turns the other way: exchanging the two halves of each head's channels in queries
and keys undoes that. Rows that pad the vocabulary to a multiple of 64 are left out: nanochat leaves out their logits.

Two models are known: the first one (2025, no window_pattern in its config), and that of 2026 with smear, backout, value
embeddings, scalars on the stream, windows and sharper scores. Those between had other formulas under the same names;
they are refused by what they lack.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from errors import RequestError
from strict_json import object_in

if TYPE_CHECKING:
    from torch import Tensor

NAMES = {
    "transformer.wte.weight": "embed.weight",
    "lm_head.weight": "lm_head.weight",
    r"transformer.h.(\d+).attn.c_([qkv]).weight": r"blocks.\1.attention.\2.weight",
    r"transformer.h.(\d+).attn.c_proj.weight": r"blocks.\1.attention.proj.weight",
    r"transformer.h.(\d+).mlp.c_fc.weight": r"blocks.\1.mlp.up.weight",
    r"transformer.h.(\d+).mlp.c_proj.weight": r"blocks.\1.mlp.down.weight",
    r"transformer.h.(\d+).attn.ve_gate.weight": r"blocks.\1.attention.value_gate.weight",
    r"value_embeds.(\d+).weight": r"value_embeds.\1.weight",
    "resid_lambdas": "lambdas.stream",
    "x0_lambdas": "lambdas.first",
    "smear_gate.weight": "smear.smear_gate.weight",
    "smear_lambda": "smear.share",
    "backout_lambda": "backout_lambda",
}
FIXED = {
    "mlp": "relu2", "norm": "rms", "norm_weight": False, "qk_norm": "weightless", "rope_theta": 10_000.0,
    "embed_norm": True, "tied": False, "softcap": 15.0, "init": "nanochat",
    "norm_eps": 2.0**-23,  # F.rms_norm's own for fp32
}  # fmt: skip
# of the model of 2026, told by these parameters
SHARPER = 1.2  # both queries and keys are multiplied by it
NEW = {"rope_theta": 100_000.0, "lambdas": True, "smear": True, "value_embeds": True, "backout": True}
NEW_NAMES = ("resid_lambdas", "x0_lambdas", "smear_gate.weight", "smear_lambda", "backout_lambda")
NEW_GATE = 12  # channels that the gate of a value embedding reads; before, they were 32, and it opened less
TILE = 128  # short windows are a multiple of it
KEYS = {
    "n_layer": "n_layer",
    "n_head": "n_head",
    "n_kv_head": "n_kv_head",
    "n_embd": "n_embd",
    "seq_len": "sequence_len",
}


def is_checkpoint(source: str | Path) -> bool:
    return _weights_file(source) is not None


def model_section(source: str | Path) -> dict[str, Any]:
    config = _model_config(source)
    try:
        sizes = {ours: int(config[theirs]) for ours, theirs in KEYS.items()}
    except (KeyError, TypeError, ValueError) as error:
        raise RequestError(
            f"{source}: its meta file's model_config lacks {error}: expected {list(KEYS.values())}."
        ) from None
    _check_keys(source, config)
    section = {"_target_": "models.transformer.Transformer"} | sizes | FIXED
    if config.get("window_pattern") is None:
        return section
    _check_new(source, sizes["n_layer"])
    head_dim = sizes["n_embd"] // sizes["n_head"]
    return section | NEW | {"attention_scale": SHARPER**2 * head_dim**-0.5} | _windows(source, config, sizes)


def _windows(source: str | Path, config: Mapping[str, Any], sizes: Mapping[str, int]) -> dict[str, Any]:
    """S: a quarter of the context behind each token, in tiles, and the token itself. L, and the last layer: all."""
    pattern = str(config["window_pattern"]).upper()
    if not pattern or set(pattern) - {"S", "L"}:
        raise RequestError(f"{source}: window_pattern={config['window_pattern']}: expected letters S and L.")
    n = sizes["n_layer"]
    layers = [i for i in range(n - 1) if pattern[i % len(pattern)] == "S"]
    behind = -(-sizes["seq_len"] // 4 // TILE) * TILE
    return {"window": behind + 1, "window_layers": layers} if layers else {}


def _check_keys(source: str | Path, config: Mapping[str, Any]) -> None:
    strange = {k: v for k, v in config.items() if k not in {*KEYS.values(), "vocab_size", "window_pattern"} and v}
    if strange:
        said = ", ".join(f"{key}={value}" for key, value in strange.items())
        raise RequestError(
            f"{source}: its model_config says {said}: nanochat has no such key, or it is newer than this."
        )


def _check_new(source: str | Path, n_layer: int) -> None:
    """Raises RequestError unless the parameters are those of the model of 2026."""
    tensors = {name.removeprefix("_orig_mod."): tensor for name, tensor in _tensors(source).items()}
    missing = [name for name in NEW_NAMES if name not in tensors]
    gate = tensors.get(f"transformer.h.{n_layer - 1}.attn.ve_gate.weight")
    if missing or gate is None or gate.shape[1] > NEW_GATE:
        lacks = ", ".join(missing) or f"attn.ve_gate with {NEW_GATE} channels"
        raise RequestError(
            f"{source}: its config has a window_pattern, but its weights lack {lacks}: it is of a version of nanochat "
            "between the first (2025) and that of March 2026, whose formulas are not known here.\n"
            "Train on with today's nanochat, or write it as a model of transformers there."
        )


def tokenizer_file(source: str | Path) -> Path | None:
    """tokenizer.pkl beside the weights, in a folder tokenizer/ there, or where nanochat itself keeps the two:
    base_checkpoints/d20/ and tokenizer/ in one folder.
    """
    file = _weights_file(source)
    places = (
        []
        if file is None
        else [file.parent, file.parent / "tokenizer", file.absolute().parent.parent.parent / "tokenizer"]
    )
    return next((place / "tokenizer.pkl" for place in places if (place / "tokenizer.pkl").is_file()), None)


def vocab_size(source: str | Path) -> int:
    return int(_model_config(source)["vocab_size"])


def read(source: str | Path) -> tuple[dict[str, "Tensor"], list[str], list[str]]:
    """Our state_dict, names left over, names whose layout was changed; as renaming.to_ours."""
    config = _model_config(source)
    head_dim = int(config["n_embd"]) // int(config["n_head"])
    ours, left, reshaped = to_ours(_tensors(source), head_dim=head_dim)
    rows = vocab_size(source)
    for name in [n for n in ours if n in ("embed.weight", "lm_head.weight") or n.startswith("value_embeds.")]:
        if len(ours[name]) < rows:
            raise RequestError(f"{source}: {name} has {len(ours[name])} rows, and its meta file says {rows} ids.")
        ours[name] = ours[name][:rows]
    return ours, left, reshaped


def _tensors(source: str | Path) -> dict[str, "Tensor"]:
    from models.weights.files import read_pickle

    file = _weights_file(source)
    assert file is not None
    return read_pickle(file)


def to_ours(theirs: Mapping[str, "Tensor"], *, head_dim: int) -> tuple[dict[str, "Tensor"], list[str], list[str]]:
    ours: dict[str, Tensor] = {}
    left, reshaped = [], []
    for name, tensor in theirs.items():
        name = name.removeprefix("_orig_mod.")
        found = next((re.sub(p, r, name) for p, r in NAMES.items() if re.fullmatch(p, name)), None)
        if found is None:
            left.append(name)
        elif found.endswith((".q.weight", ".k.weight")):
            ours[found] = tensor.unflatten(0, (-1, 2, head_dim // 2)).flip(1).flatten(0, 2)
            reshaped.append(found)
        else:
            ours[found] = tensor
    return ours, left, reshaped


def _weights_file(source: str | Path) -> Path | None:
    """model_*.pt itself, or the latest in a folder; only where its meta file lies beside it."""
    path = Path(source).expanduser()
    files = [path] if path.is_file() else sorted(path.glob("model_*.pt")) if path.is_dir() else []
    named = [f for f in files if re.fullmatch(r"model_\w+\.pt", f.name) and _meta(f).is_file()]
    return named[-1] if named else None


def _meta(file: Path) -> Path:
    return file.with_name(file.name.replace("model_", "meta_")).with_suffix(".json")


def _model_config(source: str | Path) -> dict[str, Any]:
    file = _weights_file(source)
    assert file is not None
    try:
        return dict(object_in(_meta(file))["model_config"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RequestError(f"{_meta(file)} is damaged: it has no model_config ({error}).") from error
