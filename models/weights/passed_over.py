"""What a Hugging Face folder says and a model of ours does not take over: named once, with what to type instead."""

from collections.abc import Collection
from pathlib import Path
from typing import Any

from strict_json import object_in

DROPOUTS = ("attention_dropout", "resid_pdrop", "embd_pdrop", "attn_pdrop", "hidden_dropout")
# how text is drawn, and the value at which nothing is changed
DRAWING = {
    "repetition_penalty": 1.0, "temperature": 1.0, "top_p": 1.0, "top_k": 50, "typical_p": 1.0, "num_beams": 1,
    "no_repeat_ngram_size": 0, "min_length": 0, "suppress_tokens": None, "begin_suppress_tokens": None,
    "bad_words_ids": None, "forced_bos_token_id": None, "forced_eos_token_id": None,
}  # fmt: skip
ADAPTERS = ("adapter_model.safetensors", "adapter_model.bin", "adapter.safetensors")


def given_in(folder: Path) -> dict[str, Any]:
    """config.json as it was written; nothing where there is none."""
    return object_in(folder / "config.json") if (folder / "config.json").is_file() else {}


def dropout_in_words(folder: Path, model: Any) -> str:
    """Rates with which its authors trained; "" where there are none, or the model has one of its own."""
    config = given_in(folder)
    rates = {key: config[key] for key in DROPOUTS if isinstance(config.get(key), int | float) and config[key]}
    if not rates or getattr(model, "dropout", None):
        return ""
    return f"{told(rates)} of config.json not taken over; with it: model.dropout={max(rates.values()):g}"


def writing_in_words(folder: Path, ends: Collection[int]) -> str:
    """How its text is drawn and where it ends, beside the `ends` that a tokenizer knows; "" for nothing unusual."""
    config = given_in(folder)
    found = {key: config[key] for key, usual in DRAWING.items() if config.get(key) not in (None, [], usual)}
    listed = config.get("eos_token_id")
    if isinstance(listed, list) and set(listed) - set(ends):
        found["eos_token_id"] = listed
    if not found:
        return ""
    return f"{told(found)} of {folder}/config.json not taken over; what there is: stop=, temperature= and others"


def told(values: dict[str, Any]) -> str:
    return ", ".join(f"{key}={str(value)[:60]}" for key, value in values.items())


def adapter_in_words(folder: Path) -> str:
    """A LoRA beside whole weights, which is not read; "" where there is none."""
    found = [name for name in ADAPTERS if (folder / name).is_file()]
    return f"{found[0]} beside whole weights is not read: merge it into them first" if found else ""
