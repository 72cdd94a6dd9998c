"""A Hugging Face folder as one GGUF file, for llama.cpp and its kin; of models shaped like Llama, Qwen 2 or GPT-2.

Names of tensors are the gguf package's own; what is written here is their layout: llama.cpp turns interleaved pairs of
positions where transformers turns halves, and keeps GPT-2's matrices as (outputs, inputs). Norms and biases stay fp32.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np

from errors import RequestError
from progress import shown
from strict_json import object_in

Dtype = Literal["f32", "f16", "q8_0"]
Q8_BLOCK = 32  # weights that share a scale in q8_0
MODEL = "model.gguf"
# one rule, as transformers and as tiktoken write it
GPT2_SPLITS = (
    r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+",
    r"'(?:[sdmt]|ll|ve|re)| ?\p{L}++| ?\p{N}++| ?[^\s\p{L}\p{N}]++|\s++$|\s+(?!\S)|\s",
)
ARCHITECTURES = {"llama": "LLAMA", "qwen2": "QWEN2", "gpt2": "GPT2"}
LINEAR_GPT2 = ("c_attn.weight", "c_proj.weight", "c_fc.weight")  # kept as (inputs, outputs) by transformers


def write_gguf(source: Path, target: Path, *, dtype: Dtype) -> None:
    """`source`: config.json, model.safetensors and perhaps tokenizer.json; `target`: the file.

    Raises:
        RequestError: the package is missing, or GGUF has no words for the model.
    """
    try:
        import gguf
    except ImportError as error:
        raise RequestError("export.format=gguf needs the package gguf.\npip install gguf") from error
    config = object_in(source / "config.json")
    kind = config["model_type"]
    refuse(config)
    architecture = getattr(gguf.MODEL_ARCH, ARCHITECTURES[kind])
    writer = gguf.GGUFWriter(target, gguf.MODEL_ARCH_NAMES[architecture])
    write_sizes(writer, config)
    write_tokenizer(writer, source, config)
    names = gguf.get_tensor_name_map(architecture, int(config.get("num_hidden_layers") or config["n_layer"]))
    for name, array in shown(arrays(source / "model.safetensors", config), "writing the gguf", unit="tensors"):
        theirs = names.get_name(name, try_suffixes=(".weight", ".bias"))
        if theirs is None:
            raise RequestError(f"export.format=gguf: {kind} has no place for the tensor {name} there.")
        add(writer, gguf, theirs, array, dtype)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def refuse(config: dict[str, Any]) -> None:
    """What a reader of GGUF would not know of, and so compute something else."""
    kind, rope = config["model_type"], config.get("rope_parameters") or config.get("rope_scaling") or {}
    faults = {
        f"is of the family {kind}": kind not in ARCHITECTURES,
        "scales its positions (rope_scaling)": rope.get("rope_type", "default") != "default",
        "has windows of attention": bool(config.get("use_sliding_window")),
        "is a classifier": "SequenceClassification" in "".join(config.get("architectures", [])),
    }
    for words in [words for words, there in faults.items() if there]:
        raise RequestError(
            f"export.format=gguf is for models shaped like {', '.join(ARCHITECTURES)}: this one {words}.\n"
            "Type export.format=hf."
        )


def write_sizes(writer: Any, config: dict[str, Any]) -> None:
    if config["model_type"] == "gpt2":
        writer.add_block_count(config["n_layer"])
        writer.add_context_length(config["n_positions"])
        writer.add_embedding_length(config["n_embd"])
        writer.add_feed_forward_length(config.get("n_inner") or 4 * config["n_embd"])
        writer.add_head_count(config["n_head"])
        writer.add_layer_norm_eps(config["layer_norm_epsilon"])
        return
    head_dim = config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"]
    theta = (config.get("rope_parameters") or {}).get("rope_theta") or config["rope_theta"]
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_rope_freq_base(theta)
    writer.add_rope_dimension_count(head_dim)
    writer.add_key_length(head_dim)
    writer.add_value_length(head_dim)
    writer.add_vocab_size(config["vocab_size"])


def write_tokenizer(writer: Any, source: Path, config: dict[str, Any]) -> None:
    """Tokens and merges, where `has_tokenizer`."""
    if not has_tokenizer(source):
        return
    content = object_in(source / "tokenizer.json")
    added = {token["id"]: token["content"] for token in content.get("added_tokens", [])}
    by_id = {i: token for token, i in content["model"]["vocab"].items()} | added
    ids = range(config["vocab_size"])
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list([by_id.get(i, f"[unused{i}]") for i in ids])
    # 1 normal, 3 control, 5 unused: llama.cpp's kinds of tokens
    writer.add_token_types([3 if i in added else 1 if i in by_id else 5 for i in ids])
    writer.add_token_merges([m if isinstance(m, str) else " ".join(m) for m in content["model"]["merges"]])
    if (end := config.get("eos_token_id")) is not None:
        ends = end if isinstance(end, list) else [end]
        writer.add_eos_token_id(ends[0])
        if len(ends) > 1:  # GGUF has room for one more: the end of a turn
            writer.add_eot_token_id(ends[1])


def has_tokenizer(folder: Path) -> bool:
    """Whether tokenizer.json is what GGUF calls gpt2 and gpt-2: a byte-level BPE that splits text as GPT-2's does."""
    path = folder / "tokenizer.json"
    content = object_in(path) if path.is_file() else {}
    model, splitting = content.get("model", {}), json.dumps(content.get("pre_tokenizer"))
    by_gpt2 = '"use_regex": true' in splitting or any(json.dumps(rule) in splitting for rule in GPT2_SPLITS)
    return model.get("type") == "BPE" and bool(model.get("merges")) and by_gpt2


def arrays(path: Path, config: dict[str, Any]) -> Iterator[tuple[str, np.ndarray]]:
    """Name and fp32 array of each tensor, in GGUF's layout, one at a time."""
    from safetensors import safe_open

    heads, kv_heads = config.get("num_attention_heads", 0), config.get("num_key_value_heads", 0)
    with safe_open(path, framework="pt") as file:
        for name in file.keys():  # noqa: SIM118 - no mapping
            array = file.get_tensor(name).float().numpy()
            if name.endswith(LINEAR_GPT2) and config["model_type"] == "gpt2":
                array = array.T
            if config["model_type"] == "llama" and name.endswith(("q_proj.weight", "q_proj.bias")):
                array = interleaved(array, heads)
            if config["model_type"] == "llama" and name.endswith(("k_proj.weight", "k_proj.bias")):
                array = interleaved(array, kv_heads)
            yield name, np.ascontiguousarray(array)


def interleaved(array: np.ndarray, heads: int) -> np.ndarray:
    """Rows of each head: halves (0, 1, ..., d/2, d/2 + 1, ...) become pairs (0, d/2, 1, d/2 + 1, ...)."""
    halves = array.reshape(heads, 2, array.shape[0] // heads // 2, *array.shape[1:])
    return halves.swapaxes(1, 2).reshape(array.shape)


def add(writer: Any, gguf: Any, name: str, array: np.ndarray, dtype: Dtype) -> None:
    kept = array.ndim == 1 or dtype == "f32" or name.startswith("position_embd")
    if kept:
        writer.add_tensor(name, array.astype(np.float32))
    elif dtype == "q8_0" and array.shape[-1] % Q8_BLOCK == 0:
        kind = gguf.GGMLQuantizationType.Q8_0
        writer.add_tensor(name, gguf.quants.quantize(array, kind), raw_dtype=kind)
    else:
        writer.add_tensor(name, array.astype(np.float16))
