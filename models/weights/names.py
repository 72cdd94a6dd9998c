"""Which parameter of a Hugging Face checkpoint is which of ours: tables, read in both directions.

{i} is a layer, {e} an expert. Weights of the experts are stacked here and apart there.
"""

from typing import NamedTuple


class From(NamedTuple):
    """Theirs for one of ours: several are concatenated along the outputs, those with {e} stacked over experts."""

    names: tuple[str, ...]
    transposed: bool = False  # GPT-2's Conv1D keeps (inputs, outputs)
    plus: float = 0.0  # ours is theirs plus so much: Gemma's gains are kept as differences from 1


def _table(pairs: dict[str, str]) -> dict[str, From]:
    return {ours: From((theirs,)) for ours, theirs in pairs.items()}


def _with_bias(ours: str, theirs: str, *, transposed: bool = False) -> dict[str, From]:
    return {f"{ours}.weight": From((f"{theirs}.weight",), transposed), f"{ours}.bias": From((f"{theirs}.bias",))}


GPT2 = (
    _table({"embed.weight": "transformer.wte.weight", "position.weight": "transformer.wpe.weight"})
    | _table({"lm_head.weight": "lm_head.weight"})
    | _with_bias("norm", "transformer.ln_f")
    | _with_bias("blocks.{i}.norm1", "transformer.h.{i}.ln_1")
    | _with_bias("blocks.{i}.norm2", "transformer.h.{i}.ln_2")
    | _with_bias("blocks.{i}.attention.qkv", "transformer.h.{i}.attn.c_attn", transposed=True)
    | _with_bias("blocks.{i}.attention.proj", "transformer.h.{i}.attn.c_proj", transposed=True)
    | _with_bias("blocks.{i}.mlp.up", "transformer.h.{i}.mlp.c_fc", transposed=True)
    | _with_bias("blocks.{i}.mlp.down", "transformer.h.{i}.mlp.c_proj", transposed=True)
)

_ATTENTION = _table(
    {
        "embed.weight": "model.embed_tokens.weight",
        "norm.weight": "model.norm.weight",
        "lm_head.weight": "lm_head.weight",
        "blocks.{i}.norm1.weight": "model.layers.{i}.input_layernorm.weight",
        "blocks.{i}.norm2.weight": "model.layers.{i}.post_attention_layernorm.weight",
        "blocks.{i}.attention.q.weight": "model.layers.{i}.self_attn.q_proj.weight",
        "blocks.{i}.attention.k.weight": "model.layers.{i}.self_attn.k_proj.weight",
        "blocks.{i}.attention.v.weight": "model.layers.{i}.self_attn.v_proj.weight",
        "blocks.{i}.attention.proj.weight": "model.layers.{i}.self_attn.o_proj.weight",
    }
)
_MLP = _table(
    {
        "blocks.{i}.mlp.gate.weight": "model.layers.{i}.mlp.gate_proj.weight",
        "blocks.{i}.mlp.up.weight": "model.layers.{i}.mlp.up_proj.weight",
        "blocks.{i}.mlp.down.weight": "model.layers.{i}.mlp.down_proj.weight",
    }
)
_QKV_BIAS = _table({f"blocks.{{i}}.attention.{x}.bias": f"model.layers.{{i}}.self_attn.{x}_proj.bias" for x in "qkv"})
_QK_NORM = _table(
    {f"blocks.{{i}}.attention.{x}_norm.weight": f"model.layers.{{i}}.self_attn.{x}_norm.weight" for x in "qk"}
)


def _experts(layer: str, gate: str, up: str, down: str) -> dict[str, From]:
    one = f"{layer}.experts.{{e}}"
    return {
        "blocks.{i}.mlp.router.weight": From((f"{layer}.gate.weight",)),
        "blocks.{i}.mlp.w13": From((f"{one}.{gate}.weight", f"{one}.{up}.weight")),
        "blocks.{i}.mlp.w2": From((f"{one}.{down}.weight",)),
    }


_MOE = _experts("model.layers.{i}.mlp", "gate_proj", "up_proj", "down_proj")

LLAMA = _ATTENTION | _MLP
QWEN2 = LLAMA | _QKV_BIAS
QWEN3 = LLAMA | _QK_NORM
MIXTRAL = _ATTENTION | _experts("model.layers.{i}.block_sparse_moe", "w1", "w3", "w2")
QWEN3_MOE = QWEN3 | _MOE  # some layers may be dense
OLMOE = _ATTENTION | _QK_NORM | _MOE
_SANDWICH = _table(
    {
        "blocks.{i}.post_norm1.weight": "model.layers.{i}.post_attention_layernorm.weight",
        "blocks.{i}.norm2.weight": "model.layers.{i}.pre_feedforward_layernorm.weight",
        "blocks.{i}.post_norm2.weight": "model.layers.{i}.post_feedforward_layernorm.weight",
    }
)
GEMMA3 = {ours: rule._replace(plus=1.0) if "norm" in ours else rule for ours, rule in (QWEN3 | _SANDWICH).items()}
# one matrix of theirs for several of ours, by the ends of their names; the rest of the table is Llama's
FUSED = {
    "self_attn.qkv_proj.weight": ("self_attn.q_proj.weight", "self_attn.k_proj.weight", "self_attn.v_proj.weight"),
    "mlp.gate_up_proj.weight": ("mlp.gate_proj.weight", "mlp.up_proj.weight"),
}
