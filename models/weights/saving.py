"""A model of ours as a Hugging Face folder: config.json, generation_config.json, model.safetensors.

A language model loads there as AutoModelForCausalLM, a reward model as AutoModelForSequenceClassification.
"""

import inspect
import json
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from errors import RequestError
from models.base import LanguageModel
from models.heads import RewardModel
from models.weights.families import TRANSFORMER, Family
from models.weights.filling import HEAD, is_tied
from models.weights.renaming import to_theirs
from models.weights.sections import config_of

SCORE = "score.weight"  # transformers' name of a sequence classifier's head


def settings_of(model: LanguageModel, section: Mapping[str, Any]) -> dict[str, Any]:
    """All settings of a model: those of its section, the defaults of its class, and sizes that were left open."""
    module, _, name = str(section["_target_"]).rpartition(".")
    parameters = inspect.signature(getattr(import_module(module), name)).parameters.values()
    settings = {p.name: p.default for p in parameters if p.default is not p.empty}
    settings |= dict(section) | {"vocab_size": model.vocab_size, "seq_len": model.seq_len, "n_layer": model.n_layer}
    if section["_target_"] == TRANSFORMER:
        attention = model.blocks[0].attention  # type: ignore[index,union-attr]
        settings |= {"n_embd": model.embed.embedding_dim, "head_dim": attention.head_dim}  # type: ignore[union-attr]
        settings |= {"n_head": attention.n_head, "n_kv_head": attention.n_kv_head}
        dense = [b.mlp.up.weight.shape[0] for b in model.blocks if hasattr(b.mlp, "up")]  # type: ignore[union-attr]
        if dense:
            settings["n_inner"] = dense[0]
    return settings


def save_hf(
    model: LanguageModel,
    settings: dict[str, Any],
    folder: Path,
    *,
    special_ids: Mapping[str, int] | None = None,
    family: str | None = None,
) -> str:
    """Writes the folder; returns the family's name. A reward model becomes a sequence classifier with one output.

    Args:
        settings: those of the language model, also of the one below a reward model's head.
        special_ids: eos_token_id and the like, for both config files. family: which to write; None: the first that can.

    Raises:
        RequestError: no family can express the model.
    """
    from safetensors.torch import save_file

    kind, config = config_of(settings, family)
    if isinstance(model, RewardModel):
        tensors = to_theirs(trunk_state(model.backbone), kind) | {SCORE: model.score_head.weight}
        config |= classifier_config(kind)
    else:
        state = model.state_dict()
        if is_tied(model):
            state.pop(HEAD)  # kept once: transformers ties it again
        tensors = to_theirs(state, kind)
    tensors = {name: tensor.detach().cpu() for name, tensor in tensors.items()}
    dtype = next(iter(tensors.values())).dtype
    config |= {"dtype": str(dtype).removeprefix("torch."), "torch_dtype": str(dtype).removeprefix("torch.")}
    config |= {"bos_token_id": None, "eos_token_id": None, "pad_token_id": None} | dict(special_ids or {})
    folder.mkdir(parents=True, exist_ok=True)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    write_json(folder / "config.json", config)
    write_json(folder / "generation_config.json", {"do_sample": True, **(special_ids or {})})
    return kind.model_type


def trunk_state(model: LanguageModel) -> dict[str, Any]:
    """Without the vocabulary's head, which a classifier has no use for."""
    return {name: tensor for name, tensor in model.state_dict().items() if name != HEAD}


def classifier_config(family: Family) -> dict[str, Any]:
    """Raises RequestError where transformers has no sequence classifier of the family."""
    if not family.classifier:
        raise RequestError(
            f"transformers has no sequence classifier of the family {family.model_type}: this reward model cannot be "
            "exported.\nA model without model.qk_norm=full, e.g. model=llama or model=moe, can."
        )
    name = family.architecture.replace("LMHeadModel", "ForCausalLM").replace("ForCausalLM", "ForSequenceClassification")
    # transformers counts the outputs of the head by their names
    return {"architectures": [name], "id2label": {"0": "reward"}, "label2id": {"reward": 0}}


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
