"""Transformer: parity with the published families, each choice against its formula, cache, causality, refusals."""

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from errors import RequestError
from models.layers.attention import _grouped_on_gpu
from models.layers.cache import KVCache
from models.layers.moe.settings import MoESettings
from models.layers.rope import Rope
from models.transformer import Transformer

VOCAB, SEQ_LEN = 50, 16
EXPERTS = MoESettings(n_experts=6, top_k=2, ff=8)

# every choice in some combination: what holds for all of them is tested on all of them
VARIANTS: dict[str, dict[str, Any]] = {
    "llama": {},
    "grouped": {"n_kv_head": 2},
    "multi-query, wide heads": {"n_kv_head": 1, "head_dim": 6, "qk_norm": "head"},
    "full qk norm, biases": {"qk_norm": "full", "qkv_bias": True},
    "gpt2-like": {"position": "learned", "norm": "layer", "mlp": "gelu_tanh", "bias": True, "tied": True},
    "no positions": {"position": "none", "mlp": "gelu"},
    "nanochat": {"qk_norm": "weightless", "norm_weight": False, "mlp": "relu2", "embed_norm": True, "softcap": 15.0},
    "window": {"window": 5, "n_kv_head": 2},
    "window in one layer": {"window": 4, "window_layers": [1]},
    "learned sinks": {"sinks": "learned", "n_kv_head": 2},
    "learned sinks, window": {"sinks": "learned", "window": 5},
    "sink tokens, window": {"sinks": "tokens", "n_sink": 3, "window": 5},
    "sink tokens, learned positions": {"sinks": "tokens", "n_sink": 2, "position": "learned"},
    "yarn": {"rope_scaling": "yarn", "rope_factor": 4.0, "rope_trained_len": 4},
    "experts": {"moe": EXPERTS},
    "experts, shared, every other": {"moe": MoESettings(n_experts=6, top_k=2, ff=8, n_shared=1, every=2)},
    "experts balanced by bias": {"moe": MoESettings(n_experts=6, top_k=2, ff=8, router="sigmoid_bias")},
}
variants = pytest.mark.parametrize("name", VARIANTS)


def make(**changes: Any) -> Transformer:
    torch.manual_seed(0)
    settings = {"vocab_size": VOCAB, "seq_len": SEQ_LEN, "n_layer": 2, "n_head": 4, "n_embd": 16} | changes
    model = Transformer(**settings)
    for p in model.parameters():  # gains, biases, sinks too: ones and zeros would hide a mistake
        torch.nn.init.normal_(p, std=0.4)
    return model.eval()


def draw(*shape: int, seed: int = 1) -> Tensor:
    return torch.randint(VOCAB, shape, generator=torch.Generator().manual_seed(seed))


def logits(model: Transformer, ids: Tensor, **inputs: Any) -> Tensor:
    with torch.no_grad():
        return model(ids, logits="all", **inputs).logits


# ---- what holds for every variant ------------------------------------------------------------------------------------


@variants
def test_a_later_token_never_changes_an_earlier_output(name):
    model, ids = make(**VARIANTS[name]), draw(2, SEQ_LEN)
    changed = ids.clone()
    changed[:, 9] = (ids[:, 9] + 1) % VOCAB
    before, after = logits(model, ids), logits(model, changed)
    torch.testing.assert_close(before[:, :9], after[:, :9], rtol=0, atol=1e-6)
    assert not torch.allclose(before[:, 9], after[:, 9], atol=1e-3)


@variants
@pytest.mark.parametrize("pieces", [[1] * SEQ_LEN, [5, 1, 4, 1, 5]], ids=["one by one", "in pieces"])
def test_N43_cache_equals_no_cache(name, pieces):
    model, ids = make(**VARIANTS[name]), draw(2, SEQ_LEN)
    cache = KVCache(2)
    parts = [logits(model, part, cache=cache) for part in ids.split(pieces, dim=1)]
    torch.testing.assert_close(torch.cat(parts, dim=1), logits(model, ids), rtol=1e-4, atol=1e-5)


@variants
def test_N28_documents_in_one_row_are_as_if_alone(name):
    model, first, second = make(**VARIANTS[name]), draw(1, 6), draw(1, 10, seed=2)
    documents = torch.tensor([[3] * 6 + [7] * 10])
    packed = logits(model, torch.cat([first, second], dim=1), documents_BT=documents)
    alone = torch.cat([logits(model, first), logits(model, second)], dim=1)
    torch.testing.assert_close(packed, alone, rtol=1e-4, atol=1e-5)


@variants
@pytest.mark.parametrize("side", ["left", "right"])
def test_padding_changes_nothing(name, side):
    model, ids, junk = make(**VARIANTS[name]), draw(1, 7), draw(1, 4, seed=3)
    real = torch.tensor([[True] * 7])
    pad = torch.tensor([[False] * 4])
    left = side == "left"
    padded = torch.cat([junk, ids] if left else [ids, junk], dim=1)
    mask = torch.cat([pad, real] if left else [real, pad], dim=1)
    found = logits(model, padded, padding_BT=mask)
    assert found.isfinite().all()
    torch.testing.assert_close(found[mask], logits(model, ids)[0], rtol=1e-4, atol=1e-5)


@variants
def test_S36_every_parameter_has_a_gradient_also_when_blocks_are_recomputed(name):
    ids, targets, found = draw(2, SEQ_LEN), draw(2, SEQ_LEN, seed=2), []
    for checkpoint_blocks in (False, True):
        model = make(**VARIANTS[name], checkpoint_blocks=checkpoint_blocks).train()
        out = model(ids, targets_BT=targets)
        (out.loss + sum(out.aux.values())).backward()
        assert [n for n, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum()] == []
        found.append([out.loss.detach(), *out.aux.values(), *out.stats.values(), *(p.grad for p in model.parameters())])
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(a, b)


@variants
def test_attention_weights_on_request_are_those_that_are_used(name):
    model, ids = make(**VARIANTS[name]), draw(2, 8)
    with torch.no_grad():
        weights = model.attention_weights(ids)
    assert len(weights) == 2
    size = 8 + model.n_sink
    for w in weights:
        assert w.shape == (2, 4, size, size)
        assert w.triu(1).abs().max() == 0
        total = w.sum(-1)
        assert ((total < 1) if model.blocks[0].attention.sinks is not None else (total - 1).abs() < 1e-5).all()
    attention, first = model.blocks[0].attention, {}
    attention.v.register_forward_hook(lambda _, x, v: first.update(x=x[0], v=v))
    attention.proj.register_forward_hook(lambda _, y, out: first.update(y=y[0]))
    logits(model, ids)
    v = first["v"].unflatten(-1, (-1, attention.head_dim)).transpose(1, 2)
    y = (weights[0] @ v.repeat_interleave(4 // v.shape[1], dim=1)).transpose(1, 2).flatten(2)
    torch.testing.assert_close(y, first["y"], rtol=1e-4, atol=1e-5)


# ---- parity with transformers ----------------------------------------------------------------------------------------

RENAMES = {
    "mlp.gate.weight": "mlp.router.weight",  # before gate_proj becomes gate
    "model.embed_tokens": "embed", "model.layers": "blocks", "model.norm": "norm", "input_layernorm": "norm1",
    "post_attention_layernorm": "norm2", "self_attn.o_proj": "attention.proj", "self_attn.": "attention.",
    "q_proj": "q", "k_proj": "k", "v_proj": "v", "mlp.gate_proj": "mlp.gate", "mlp.up_proj": "mlp.up",
    "mlp.down_proj": "mlp.down", "mlp.experts.gate_up_proj": "mlp.w13", "mlp.experts.down_proj": "mlp.w2",
}  # fmt: skip
COMMON = {
    "vocab_size": VOCAB, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 24,
    "max_position_embeddings": 64, "num_key_value_heads": 2, "rms_norm_eps": 1e-5, "bos_token_id": 0, "eos_token_id": 1,
    "pad_token_id": None,
}  # fmt: skip
OURS = {"n_kv_head": 2, "n_inner": 24}
LLAMA3 = {"rope_type": "llama3", "rope_theta": 1e4, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
          "original_max_position_embeddings": 8}  # fmt: skip
YARN = {"rope_type": "yarn", "rope_theta": 1e4, "factor": 4.0, "original_max_position_embeddings": 16}
FEW = {"num_experts": 6, "num_experts_per_tok": 2, "moe_intermediate_size": 8}
FAMILIES: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "Llama": ("Llama", {}, {}),
    "Llama 3.1": ("Llama", {"rope_parameters": LLAMA3},
                  {"rope_scaling": "llama3", "rope_factor": 8.0, "rope_trained_len": 8}),
    "Llama, YaRN": ("Llama", {"rope_parameters": YARN},
                    {"rope_scaling": "yarn", "rope_factor": 4.0, "rope_trained_len": 16}),
    "Llama, linear": ("Llama", {"rope_parameters": {"rope_type": "linear", "rope_theta": 1e4, "factor": 2.0}},
                      {"rope_scaling": "linear", "rope_factor": 2.0}),
    "Mistral": ("Mistral", {"sliding_window": 5, "head_dim": 6}, {"window": 5, "head_dim": 6}),
    "Qwen2": ("Qwen2", {"tie_word_embeddings": True}, {"qkv_bias": True, "tied": True}),
    "Qwen3": ("Qwen3", {"head_dim": 8}, {"qk_norm": "head", "head_dim": 8}),
    "Mixtral": ("Mixtral", {"num_local_experts": 6, "num_experts_per_tok": 2, "intermediate_size": 8},
                {"moe": EXPERTS, "rope_theta": 1e6}),
    "Qwen3-MoE": ("Qwen3Moe", FEW | {"head_dim": 8, "norm_topk_prob": True},
                  {"qk_norm": "head", "head_dim": 8, "moe": EXPERTS}),
    "OLMoE": ("Olmoe", FEW | {"intermediate_size": 8, "norm_topk_prob": False},
              {"qk_norm": "full", "moe": MoESettings(n_experts=6, top_k=2, ff=8, norm_topk=False)}),
}  # fmt: skip


def pair(family: str) -> tuple[Any, Transformer]:
    """A random model of transformers, and ours with its weights."""
    transformers = pytest.importorskip("transformers")
    name, theirs, ours = FAMILIES[family]
    config = getattr(transformers, f"{name}Config")(**COMMON | theirs)
    torch.manual_seed(0)
    reference = getattr(transformers, f"{name}ForCausalLM")(config).eval()
    with torch.no_grad():
        for p in reference.parameters():
            p.normal_(std=0.3)
    model = make(**OURS | ours, seq_len=64)
    state = {}
    for key, value in reference.state_dict().items():
        for old, new in RENAMES.items():
            key = key.replace(old, new)
        state[key] = value
    model.load_state_dict(state)
    return reference, model


@pytest.mark.parametrize("family", FAMILIES)
def test_logits_and_gradients_equal_transformers(family):
    reference, model = pair(family)
    ids, targets = draw(3, 20), draw(3, 20, seed=4)
    expected = reference(ids, use_cache=False).logits
    assert (logits(model, ids) - expected).abs().max() <= 1e-4
    F.cross_entropy(expected.flatten(0, 1), targets.flatten(), reduction="sum").backward()
    model(ids, targets_BT=targets).loss.backward()
    theirs = dict(reference.named_parameters())
    for old, new in (("model.embed_tokens", "embed"), ("model.layers.0.self_attn.k_proj", "blocks.0.attention.k"),
                     ("model.layers.1.input_layernorm", "blocks.1.norm1")):  # fmt: skip
        want = theirs[f"{old}.weight"].grad
        error = (model.get_parameter(f"{new}.weight").grad - want).norm() / want.norm()
        assert error <= 1e-3, new


@pytest.mark.parametrize("family", ["Mixtral", "Qwen3-MoE", "OLMoE"])
def test_left_padded_experts_equal_transformers(family):
    reference, model = pair(family)
    ids = draw(2, 10)
    mask = torch.ones(2, 10, dtype=torch.bool)
    mask[0, :4] = False
    expected = reference(ids, attention_mask=mask.long(), use_cache=False).logits
    found = logits(model, ids, padding_BT=mask)
    # positions of a padded row count from 0 here and from the pads there: rotations see only differences
    assert (found - expected)[mask].abs().max() <= 1e-4


# ---- nanochat, against its formulas ----------------------------------------------------------------------------------


def norm(x: Tensor) -> Tensor:
    return x * (x.square().mean(-1, keepdim=True) + torch.finfo(torch.float32).eps).rsqrt()


def rotate(x: Tensor) -> Tensor:
    """nanochat's direction: position m turns (x1, x2) to (x1 cos + x2 sin, -x1 sin + x2 cos). x: (B, H, T, D)."""
    half = x.shape[-1] // 2
    angle = torch.arange(x.shape[2])[:, None] / 10_000 ** (torch.arange(half) / half)
    x1, x2 = x[..., :half], x[..., half:]
    return torch.cat([x1 * angle.cos() + x2 * angle.sin(), -x1 * angle.sin() + x2 * angle.cos()], dim=-1)


def swapped_halves(weight: Tensor, head_dim: int) -> Tensor:
    """Rows of queries or keys with the halves of each head exchanged: turns the direction of rotation round."""
    return weight.unflatten(0, (-1, 2, head_dim // 2)).flip(1).flatten(0, 2)


def test_nanochat_is_its_formulas():
    model, ids = make(**VARIANTS["nanochat"], norm_eps=torch.finfo(torch.float32).eps), draw(2, 12)
    w = model.state_dict()
    x = norm(w["embed.weight"][ids])
    for i in range(2):
        block = {k.removeprefix(f"blocks.{i}."): v for k, v in w.items() if k.startswith(f"blocks.{i}.")}
        heads = {n: swapped_halves(block[f"attention.{n}.weight"], 4) for n in "qk"} | {
            "v": block["attention.v.weight"]
        }
        q, k, v = ((norm(x) @ heads[n].T).view(2, 12, 4, 4).transpose(1, 2) for n in "qkv")
        q, k = norm(rotate(q)), norm(rotate(k))
        scores = (q @ k.mT / math.sqrt(4)).masked_fill(~torch.ones(12, 12).tril().bool(), -torch.inf)
        y = (scores.softmax(-1) @ v).transpose(1, 2).flatten(2)
        x = x + y @ block["attention.proj.weight"].T
        x = x + (norm(x) @ block["mlp.up.weight"].T).relu().square() @ block["mlp.down.weight"].T
    expected = 15 * torch.tanh(norm(x) @ w["lm_head.weight"].T / 15)
    torch.testing.assert_close(logits(model, ids), expected, rtol=1e-4, atol=1e-4)


def test_nanochat_of_depth_20_has_561_million_parameters():
    with torch.device("meta"):
        model = Transformer(vocab_size=65_536, seq_len=2048, n_layer=20, n_head=None, n_embd=None, mlp="relu2",
                            norm_weight=False, qk_norm="weightless", embed_norm=True, softcap=15.0)  # fmt: skip
    assert model.parameter_counts()["total"] == 2 * 65_536 * 1280 + 20 * 12 * 1280**2 == 560_988_160
    assert (model.n_head, model.head_dim) == (10, 128)


# ---- single choices --------------------------------------------------------------------------------------------------


def test_a_window_sees_so_many_tokens_and_layers_pass_the_rest_on():
    model, ids = make(window=5, n_layer=1), draw(1, SEQ_LEN)
    changed = ids.clone()
    changed[0, 3] = (ids[0, 3] + 1) % VOCAB
    differs = (logits(model, ids) - logits(model, changed)).abs().amax(-1)[0] > 1e-4
    assert differs.tolist() == [3 <= t < 8 for t in range(SEQ_LEN)]  # token 7 sees 3 to 7
    wide = make(window=SEQ_LEN, n_layer=1)
    torch.testing.assert_close(logits(wide, ids), logits(make(n_layer=1), ids))


def test_reserved_tokens_are_seen_from_behind_the_window():
    model, ids = make(sinks="tokens", n_sink=2, window=3, n_layer=1), draw(1, SEQ_LEN)
    with torch.no_grad():
        (weights,) = model.attention_weights(ids)
    seen = weights[0, 0] > 0
    for t in range(2, 18):
        assert seen[t].nonzero().flatten().tolist() == sorted({0, 1, *range(max(0, t - 2), t + 1)})


def test_a_learned_sink_is_one_more_logit_in_the_softmax():
    model, ids = make(sinks="learned", n_layer=1, n_kv_head=2), draw(1, 6)
    with torch.no_grad():
        before = model.attention_weights(ids)[0]
        plain = make(n_layer=1, n_kv_head=2)
        plain.load_state_dict({k: v for k, v in model.state_dict().items() if "sinks" not in k})
        full = plain.attention_weights(ids)[0]
    ratio = before / full.clamp_min(1e-30)
    torch.testing.assert_close(ratio[0, :, 3, :4], ratio[0, :, 3, :1].expand(-1, 4))  # all keys shrink alike
    with torch.no_grad():
        model.blocks[0].attention.sinks.fill_(-100.0)  # attends to nothing with probability 0
    torch.testing.assert_close(logits(model, ids), logits(plain, ids), rtol=1e-4, atol=1e-5)


def test_rotations_depend_on_distance_alone():
    rope = Rope(head_dim=8, seq_len=64)
    q, k = torch.randn(2, 1, 1, 1, 8)
    scores = [(rope(q, torch.tensor([m])) * rope(k, torch.tensor([m - 5]))).sum().item() for m in (5, 20, 63)]
    assert scores == pytest.approx([scores[0]] * 3, abs=1e-5)


@pytest.mark.parametrize(("tied", "extra"), [(True, 0), (False, VOCAB * 16)])
def test_parameters_by_hand(tied, extra):
    counts = make(n_kv_head=2, n_inner=24, tied=tied).parameter_counts()
    block = 16 * 16 * 2 + 2 * 16 * 8 + 3 * 16 * 24 + 2 * 16  # q, proj; k, v; gate, up, down; two gains
    assert counts["total"] == counts["active"] == VOCAB * 16 + 2 * block + 16 + extra


def test_active_parameters_are_what_a_token_uses():
    counts = make(moe=EXPERTS, tied=True).parameter_counts()
    block = 4 * 16 * 16 + 2 * 16 + 6 * 16  # attention, gains, router
    expert = 3 * 16 * 8
    assert counts["total"] == VOCAB * 16 + 16 + 2 * (block + 6 * expert)
    assert counts["active"] == VOCAB * 16 + 16 + 2 * (block + 2 * expert)


def test_flops_count_active_parameters_and_windows():
    model = make(window=5, window_layers=[0])
    multiplied = model.parameter_counts()["active"] - VOCAB * 16
    assert model.flops_per_token(16) == 6 * multiplied + 12 * 16 * (5 + 16)


def test_initial_weights_have_the_stated_spread():
    sizes = {"vocab_size": 1000, "seq_len": 64, "n_layer": 8, "n_head": 4, "n_embd": 128}
    torch.manual_seed(0)
    model = Transformer(**sizes, moe=MoESettings(n_experts=4, top_k=2, ff=64, router_init_std=0.05, layers=[2]))
    assert model.embed.weight.std().item() == pytest.approx(0.02, rel=0.02)
    assert model.blocks[0].mlp.gate.weight.std().item() == pytest.approx(0.02, rel=0.02)
    experts = model.blocks[2].mlp
    assert experts.router.weight.std().item() == pytest.approx(0.05, rel=0.1)
    assert experts.w13.std().item() == pytest.approx(0.02, rel=0.02)
    for residual in (model.blocks[0].attention.proj.weight, model.blocks[7].mlp.down.weight, experts.w2):
        assert residual.std().item() == pytest.approx(0.02 / 4, rel=0.03)
    torch.manual_seed(0)
    chat = Transformer(**sizes, mlp="relu2", init="nanochat", norm_weight=False, embed_norm=True)
    assert chat.embed.weight.std().item() == pytest.approx(1, rel=0.02)
    assert chat.blocks[0].mlp.up.weight.std().item() == pytest.approx(128**-0.5, rel=0.02)
    assert chat.lm_head.weight.abs().max() == chat.blocks[1].mlp.down.weight.abs().max() == 0
    ids = torch.randint(0, 1000, (2, 64))
    assert (chat(ids, targets_BT=ids).loss / 128).item() == pytest.approx(math.log(1000), abs=1e-4)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"n_kv_head": 3}, ["n_head=4", "n_kv_head=3", "1, 2, 4", "n_kv_head=2"]),
        ({"n_head": 3, "n_kv_head": 3}, ["n_embd=16", "n_head=3"]),
        ({"head_dim": 5}, ["head_dim=5", "head_dim=6"]),
        ({"window_layers": [0]}, ["window_layers=[0]", "window=null"]),
        ({"window": 4, "window_layers": [2]}, ["[2]", "0 to 1"]),
        ({"sinks": "tokens"}, ["n_sink=0", "n_sink=4"]),
        ({"n_sink": 2}, ["sinks=none", "sinks=tokens"]),
        ({"moe": 3}, ["model.moe=3", "model=moe"]),
        ({"moe": MoESettings(n_experts=4, top_k=2, ff=8, layers=[2])}, ["[2]", "0 to 1"]),
        ({"moe": MoESettings(n_experts=4, top_k=2, ff=8, layers=[0, -1])}, ["[0, -1]", "0 to 1", "layers=[1]"]),
        ({"moe": MoESettings(n_experts=4, top_k=2, ff=8, every=3)}, ["every=3", "every=1"]),
    ],
)
def test_wrong_requests_say_what_to_type(changes, words):
    with pytest.raises(RequestError) as raised:
        make(**changes)
    assert all(word in str(raised.value) for word in words)


@pytest.mark.parametrize("tokens", [1, 5])
@pytest.mark.parametrize("masked", [False, True])
def test_shared_keys_on_a_gpu_are_attended_to_as_anywhere(tokens, masked):
    """By other shapes: heads as queries of one token, keys repeated for several."""
    torch.manual_seed(0)
    q, k, v = (torch.randn(2, heads, n, 8) for heads, n in ((6, tokens), (2, 5), (2, 5)))
    mask = torch.rand(2, 1, tokens, 5) < 0.7 if masked else None
    mask = mask if mask is None else mask.index_fill(3, torch.tensor([0]), True)
    settings = {"dropout_p": 0.0, "is_causal": not masked and tokens > 1, "scale": 0.3, "enable_gqa": True}
    plain = torch.nn.functional.scaled_dot_product_attention(q, k, v, mask, **settings)
    found = _grouped_on_gpu(q, k, v, attn_mask=mask, **settings)
    torch.testing.assert_close(found, plain, rtol=1e-5, atol=1e-6)
