"""Families of Hugging Face models that ours can express, one entry of `FAMILIES` each. No torch here.

sections.py reads an entry forwards, from a config.json to a model section, and backwards; features.py has what takes
more than a table for that.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from errors import RequestError
from models.weights import names
from models.weights.completing import completed
from models.weights.names import From
from strict_json import object_in

TRANSFORMER = "models.transformer.Transformer"
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


def ties(folder: str | Path) -> bool:
    """Whether the head of a Hugging Face folder is its embedding, by its config.json."""
    return bool(read_config(folder)["tie_word_embeddings"])


def vocab_size_of(folder: str | Path) -> int:
    return int(read_config(folder)["vocab_size"])
