"""LoRA: nothing changes at the start, only adapters move, merged equals unmerged, wrong targets are named."""

import math
from functools import partial
from importlib.util import find_spec

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel

from errors import RequestError
from lightning_modules.dpo import DPOModule
from lightning_modules.reward import RewardModule
from lightning_modules.sft import SFTModule
from models.adapters.lora import (
    adapted_layers,
    adapter_state,
    chosen_layers,
    load_adapter,
    lora,
    merge,
    qlora,
    save_adapter,
    without_adapters,
)
from models.boosting.learners.lora import LoRA
from models.gpt import GPT
from models.hf import HFModel
from models.layers.moe.layer import MoE
from models.layers.moe.settings import MoESettings
from models.seq2seq import T5
from models.transformer import Transformer
from models.weights.loading import load_weights
from tasks.parts import note_frozen_experts
from tests.hf_tiny import Wrapped, llama
from tests.pairs import VOCAB, PairData, adam, make_pairs, train

SETTINGS = {"rank": 2, "alpha": 4, "dropout": 0.0, "targets": "all-linear", "rslora": False, "dora": False}


def gpt(seed=0, **settings) -> GPT:
    torch.manual_seed(seed)
    return GPT(vocab_size=VOCAB, seq_len=24, n_layer=2, n_head=2, n_embd=16, bias=False, **settings)


def mixture(**settings) -> Transformer:
    torch.manual_seed(0)
    moe = MoESettings(n_experts=4, top_k=2, ff=16, **settings)
    return Transformer(vocab_size=VOCAB, seq_len=24, n_layer=2, n_head=2, n_embd=32, n_kv_head=2, moe=moe).eval()


@pytest.mark.parametrize("router", ["softmax", "sigmoid_bias"])
def test_a_router_learns_beside_its_adapter_and_merges(router):
    """Its weights were read without calling it: the adapter beside it did nothing."""
    model, ids = mixture(router=router), torch.arange(20).view(2, 10) % VOCAB
    whole = model(ids, logits="all").logits
    lora(model=model, **SETTINGS | {"targets": ["router"]})
    torch.testing.assert_close(model(ids, logits="all").logits, whole, rtol=0, atol=0)
    model.train()(ids, targets_BT=ids.roll(-1, 1)).loss.backward()
    grads = {name: p.grad for name, p in model.named_parameters() if p.requires_grad}
    assert len(grads) == 4
    assert all(grad is not None for grad in grads.values())
    assert all(grad.abs().max() > 0 for name, grad in grads.items() if "lora_B" in name)
    with torch.no_grad():
        for name, p in model.named_parameters():
            if "lora_B" in name:
                p.normal_()
    bent = model.eval()(ids, logits="all").logits
    assert (bent - whole).abs().max() > 1e-3
    torch.testing.assert_close(merge(model)(ids, logits="all").logits, bent, rtol=1e-4, atol=1e-5)


def test_a_router_held_in_bf16_computes_in_fp32_with_an_adapter_beside_it():
    model = mixture().to(torch.bfloat16)
    layer = next(module for module in model.modules() if isinstance(module, MoE))
    x_NC = torch.randn(3, 32)
    alone = layer.router(x_NC)
    assert alone.dtype == torch.float32
    lora(model=model, **SETTINGS)
    torch.testing.assert_close(layer.router(x_NC), alone, rtol=0, atol=0)


def test_that_experts_stay_is_said_of_a_mixture_alone(capsys):
    for model in (mixture(), gpt()):
        lora(model=model, **SETTINGS)
        note_frozen_experts(model)
    note_frozen_experts(mixture())
    assert capsys.readouterr().out.splitlines() == [
        "adapter the 12,288 parameters of the experts stay as they are: adapters stand beside linear layers"
    ]


def conv1d(tmp_path) -> HFModel:
    """GPT-2 as transformers has it: linear layers with weights (inputs, outputs)."""
    torch.manual_seed(0)
    config = GPT2Config(
        vocab_size=VOCAB, n_embd=16, n_layer=2, n_head=2, n_positions=24, bos_token_id=0, eos_token_id=0
    )
    GPT2LMHeadModel(config).save_pretrained(tmp_path / "gpt2")
    return HFModel(vocab_size=VOCAB, path=str(tmp_path / "gpt2"), seq_len=24).eval()


def models():
    return {"ours": gpt(), "hf": Wrapped(llama(vocab_size=VOCAB))}


def dpo(model, tmp_path, **settings) -> DPOModule:
    defaults = {"loss_type": "sigmoid", "beta": 0.1, "reference": "online", "cache_dir": str(tmp_path / "cache")}
    return DPOModule(model=model, optimizer=partial(adam, lr=1e-2), log_every=1, **(defaults | settings))


def stirred(model):
    """Adapters as after some training."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for value in adapter_state(model).values():
            value.add_(0.1 * torch.randn(value.shape, generator=generator))
    return model


@pytest.mark.parametrize("kind", ["ours", "hf", "conv1d"])
@pytest.mark.parametrize("variant", [{}, {"rslora": True}, {"dora": True}])
def test_at_the_start_nothing_changes_and_merged_equals_unmerged(kind, variant, tmp_path):
    ids = torch.randint(0, VOCAB, (2, 9), generator=torch.Generator().manual_seed(0))
    model = conv1d(tmp_path) if kind == "conv1d" else models()[kind]
    names = set(model.state_dict())
    plain = model(ids, logits="all").logits
    lora(model=model, **(SETTINGS | variant))
    torch.testing.assert_close(model(ids, logits="all").logits, plain, rtol=0, atol=1e-5)
    changed = stirred(model)(ids, logits="all").logits
    assert (changed - plain).abs().max() > 1e-2
    with without_adapters(model):
        torch.testing.assert_close(model(ids, logits="all").logits, plain, rtol=0, atol=1e-6)
    assert torch.equal(model(ids, logits="all").logits, changed)
    merge(model)
    torch.testing.assert_close(model(ids, logits="all").logits, changed, rtol=0, atol=1e-5)
    assert set(model.state_dict()) == names  # a plain model again


@pytest.mark.parametrize("kind", ["ours", "hf"])
def test_S17_dpo_moves_adapters_only_and_starts_at_ln_2(tmp_path, kind):
    """The reference is the model without them; dropout on adapters does not show at the start."""
    model = lora(model=models()[kind], **(SETTINGS | {"dropout": 0.2}))
    module = dpo(model, tmp_path)
    assert module.reference.frozen is None
    before = {name: value.clone() for name, value in model.named_parameters()}
    seen = []
    original = module.loss
    module.loss = lambda micro: (seen.append(original(micro)), seen[-1])[1]
    train(tmp_path, module, PairData(make_pairs(8), batch_size=4), steps=4)
    assert seen[0].loss.item() / 4 == pytest.approx(math.log(2), abs=1e-7)
    moved = {name for name, value in model.named_parameters() if not torch.equal(value, before[name])}
    assert moved == {name for name in before if "lora_" in name} == set(adapter_state(model))


def test_a_head_that_scores_is_learned_beside_adapters(tmp_path):
    model = lora(model=RewardModule.prepare_model(gpt()), **SETTINGS)
    module = RewardModule(model=model, optimizer=partial(adam, lr=1e-2), log_every=1)
    before = {name: value.clone() for name, value in model.named_parameters()}
    train(tmp_path, module, PairData(make_pairs(8), batch_size=4), steps=4)
    moved = {name for name, value in model.named_parameters() if not torch.equal(value, before[name])}
    assert moved == {name for name in before if "lora_" in name or "score_head" in name}


def test_a_run_with_adapters_loads_as_a_plain_model(tmp_path):
    module = dpo(lora(model=gpt(), **SETTINGS), tmp_path)
    train(tmp_path, module, PairData(make_pairs(8), batch_size=4), steps=3)
    plain = gpt(seed=5)
    load_weights(plain, tmp_path / "checkpoints/last.ckpt")
    ids = torch.randint(0, VOCAB, (2, 9))
    torch.testing.assert_close(plain(ids).hidden_BTC, module.model(ids).hidden_BTC, rtol=0, atol=1e-5)
    assert not adapted_layers(plain)
    assert all(p.requires_grad for p in plain.parameters())


def test_an_adapter_is_saved_alone_and_goes_back_onto_its_model(tmp_path):
    model = stirred(lora(model=gpt(), **SETTINGS))
    save_adapter(model, tmp_path / "adapter")
    size = (tmp_path / "adapter/adapter.safetensors").stat().st_size
    assert size < 4 * sum(p.numel() for p in adapter_state(model).values()) + 4096
    again, ids = load_adapter(gpt(), tmp_path / "adapter"), torch.randint(0, VOCAB, (2, 9))
    assert torch.equal(again(ids).hidden_BTC, model(ids).hidden_BTC)
    torch.manual_seed(0)
    other = GPT(vocab_size=VOCAB, seq_len=24, n_layer=1, n_head=2, n_embd=16, bias=False)
    with pytest.raises(RequestError, match="another model"):
        load_adapter(other, tmp_path / "adapter")


def test_N17_resume_is_exact(tmp_path):
    def fresh(seed=0):
        return dpo(lora(model=gpt(seed), **SETTINGS), tmp_path, reference="cached")

    straight, resumed = fresh(), fresh(seed=3)
    train(tmp_path / "straight", straight, PairData(make_pairs(12), batch_size=4), steps=6)
    train(tmp_path / "stopped", fresh(), PairData(make_pairs(12), batch_size=4), steps=2)
    train(tmp_path / "stopped", resumed, PairData(make_pairs(12), batch_size=4), steps=6, resume=True)
    assert all(torch.equal(resumed.state_dict()[name], value) for name, value in straight.state_dict().items())


def test_targets_by_name():
    assert chosen_layers(gpt(), ["qkv"]) == ["blocks.0.attention.qkv", "blocks.1.attention.qkv"]
    assert chosen_layers(gpt(), "mlp.up") == ["blocks.0.mlp.up", "blocks.1.mlp.up"]
    assert "lm_head" not in chosen_layers(gpt(), "all-linear")
    assert len(chosen_layers(gpt(), "all-linear")) == 8


@pytest.mark.parametrize(
    ("targets", "told"), [([], "names no layer"), (["qkv", "x"], "is called x"), ("x", "called x")]
)
def test_targets_that_name_no_layer_are_refused_with_those_that_there_are(targets, told):
    with pytest.raises(RequestError, match=rf"{told}\.\nThere are: down, proj, qkv, up; in full"):
        chosen_layers(gpt(), targets)


def test_layers_with_transposed_weights_are_named_and_refused_where_they_do_not_fit(tmp_path, monkeypatch):
    model = conv1d(tmp_path)
    assert chosen_layers(model, ["c_fc"]) == ["hf.transformer.h.0.mlp.c_fc", "hf.transformer.h.1.mlp.c_fc"]
    assert len(chosen_layers(model, "all-linear")) == 8
    with pytest.raises(RequestError, match="There are: c_attn, c_fc, c_proj"):
        lora(model=model, **(SETTINGS | {"targets": ["qkv"]}))
    with pytest.raises(RequestError, match=r"no nn\.Linear to correct"):
        LoRA(base=model)
    monkeypatch.setattr("models.adapters.lora.find_spec", lambda _: True)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    with pytest.raises(RequestError, match="hold in 4 bits"):
        qlora(model=model, **SETTINGS, double_quant=True)
    with pytest.raises(RequestError, match="this model has none"):
        lora(model=bare(), **SETTINGS)


def bare() -> GPT:
    """A model without a linear layer but its head."""
    model = gpt()
    model.blocks = torch.nn.ModuleList()
    return model


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"targets": ["q_proj"]}, "There are: down, proj, qkv, up"),
    ],
)
def test_wrong_settings_are_refused(settings, expected):
    with pytest.raises(RequestError, match=expected):
        lora(model=gpt(), **(SETTINGS | settings))


def test_qlora_leaves_whole_what_t5_would_read_as_bytes(monkeypatch):
    packed: list[str] = []
    monkeypatch.setattr("models.adapters.lora.find_spec", lambda _: True)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr("models.adapters.lora.quantize", lambda _, names, **__: packed.extend(names))
    model = T5(vocab_size=VOCAB, n_layer=1, n_head=2, n_embd=16, n_inner=16, seq_len=24)
    qlora(model=model, **(SETTINGS | {"targets": "all-linear"}), double_quant=True)
    adapted = {name.removesuffix(".base_layer") for name, _ in model.named_modules() if name.endswith(".base_layer")}
    assert {name.rpartition(".")[2] for name in adapted - set(packed)} == {"wo"}
    assert packed
    assert set(packed) < adapted


@pytest.mark.skipif(
    torch.cuda.is_available() and find_spec("bitsandbytes") is not None, reason="this machine has what it takes"
)
def test_qlora_says_what_is_missing():
    with pytest.raises(RequestError, match="adapter=lora"):
        qlora(model=gpt(), **SETTINGS, double_quant=True)


def products(model, *, backward: bool) -> int:
    """FLOPs of matrix products outside attention in a forward pass of SFT, or in the backward pass behind it."""
    from torch.utils.flop_counter import FlopCounterMode

    ids = torch.randint(0, VOCAB, (4, 16), generator=torch.Generator().manual_seed(0))
    loss = SFTModule(model=model).loss({"ids": ids, "targets": ids}).loss if backward else None
    with FlopCounterMode(display=False) as counter:
        if backward:
            loss.backward()
        else:
            SFTModule(model=model).loss({"ids": ids, "targets": ids})
    counts = counter.get_flop_counts()["Global"]
    return sum(n for op, n in counts.items() if op in (torch.ops.aten.mm, torch.ops.aten.addmm))


def test_nothing_is_spent_on_the_gradient_of_frozen_weights():
    """A weight takes 2 FLOPs a token forward and 2 to carry the gradient on; 2 more only where it learns.

    The head does all of that in the forward pass.
    """
    tokens, head, blocks = 64, VOCAB * 16, 2 * 12 * 16 * 16
    whole, adapted, upper = gpt(), lora(model=gpt(), **SETTINGS), gpt()
    thin = sum(p.numel() for p in adapted.parameters() if p.requires_grad)
    upper.embed.requires_grad_(False)
    upper.position.requires_grad_(False)
    upper.blocks[0].requires_grad_(False)
    assert products(whole, backward=False) == tokens * (6 * head + 2 * blocks)
    assert products(whole, backward=True) == tokens * 4 * blocks
    assert products(adapted, backward=False) == tokens * (4 * head + 2 * blocks + 2 * thin)
    first = 3 * 16 * 16  # queries, keys and values of the first block: below them nothing learns
    assert products(adapted, backward=True) == tokens * (2 * (blocks - first) + 4 * thin - 2 * 16 * SETTINGS["rank"])
    assert products(upper, backward=False) == tokens * (4 * head + 2 * blocks)
    assert products(upper, backward=True) == tokens * 4 * blocks // 2  # nothing of the lower half
