"""nanochat's checkpoints (model_000650.pt beside meta_000650.json), read as plain data, never as a pickle that runs.

Names differ, and its rotary embedding turns the other way: exchanging the two halves of each head's channels in queries
and keys undoes that. Newer checkpoints with value embeddings or scaled residuals are another model, and are refused by
the names that are left over.
"""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from errors import RequestError

if TYPE_CHECKING:
    from torch import Tensor

NAMES = {
    "transformer.wte.weight": "embed.weight",
    "lm_head.weight": "lm_head.weight",
    r"transformer.h.(\d+).attn.c_([qkv]).weight": r"blocks.\1.attention.\2.weight",
    r"transformer.h.(\d+).attn.c_proj.weight": r"blocks.\1.attention.proj.weight",
    r"transformer.h.(\d+).mlp.c_fc.weight": r"blocks.\1.mlp.up.weight",
    r"transformer.h.(\d+).mlp.c_proj.weight": r"blocks.\1.mlp.down.weight",
}
FIXED = {
    "mlp": "relu2", "norm": "rms", "norm_weight": False, "qk_norm": "weightless", "rope_theta": 10_000.0,
    "embed_norm": True, "tied": False, "softcap": 15.0, "init": "nanochat",
    "norm_eps": 2.0**-23,  # F.rms_norm's own for fp32
}  # fmt: skip
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
    return {"_target_": "models.transformer.Transformer"} | sizes | FIXED


def tokenizer_file(source: str | Path) -> Path | None:
    """tokenizer.pkl beside the weights, or in a folder tokenizer/ beside them, where it has been copied along."""
    file = _weights_file(source)
    places = [] if file is None else [file.parent, file.parent / "tokenizer"]
    return next((place / "tokenizer.pkl" for place in places if (place / "tokenizer.pkl").is_file()), None)


def vocab_size(source: str | Path) -> int:
    return int(_model_config(source)["vocab_size"])


def read(source: str | Path) -> tuple[dict[str, "Tensor"], list[str], list[str]]:
    """Our state_dict, names left over, names whose layout was changed; as renaming.to_ours."""
    from models.weights.files import read_pickle

    file = _weights_file(source)
    assert file is not None
    config = _model_config(source)
    head_dim = int(config["n_embd"]) // int(config["n_head"])
    return to_ours(read_pickle(file), head_dim=head_dim)


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
        return dict(json.loads(_meta(file).read_text(encoding="utf-8"))["model_config"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RequestError(f"{_meta(file)} is damaged: it has no model_config ({error}).") from error
