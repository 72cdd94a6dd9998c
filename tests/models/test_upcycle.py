"""N25: a mixture made of a dense model computes the same, then its experts come apart."""

from typing import Any

import pytest
import torch

from errors import RequestError
from models.layers.moe.settings import MoESettings
from models.transformer import Transformer
from models.upcycle import upcycled

VOCAB = 40


def build(moe: MoESettings | None = None, **changes: Any) -> Transformer:
    torch.manual_seed(0 if moe is None else 1)
    settings = {
        "vocab_size": VOCAB,
        "seq_len": 16,
        "n_layer": 2,
        "n_head": 2,
        "n_embd": 16,
        "n_inner": 24,
        "tied": True,
    }
    model = Transformer(**settings | changes, moe=moe)
    if moe is None:
        for p in model.parameters():
            torch.nn.init.normal_(p, std=0.3)
    return model


def experts(**settings: Any) -> MoESettings:
    return MoESettings(**({"n_experts": 4, "top_k": 2, "ff": 24} | settings))


def draw(seed: int = 0) -> torch.Tensor:
    return torch.randint(VOCAB, (2, 16), generator=torch.Generator().manual_seed(seed))


def transplanted(dense: Transformer, moe: MoESettings, **options: Any) -> Transformer:
    model = build(moe)
    model.load_state_dict(upcycled(dense.state_dict(), model, **options))
    return model


def difference(a: Transformer, b: Transformer) -> float:
    with torch.no_grad():
        x, y = (model.eval()(draw(), logits="all").logits for model in (a, b))
    return ((x - y).norm() / y.norm()).item()


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"top_k": 4},
        {"every": 2},
        {"router": "sigmoid_bias"},
        {"n_shared": 1},
        {"n_experts": 12, "top_k": 3, "ff": 8, "routed_scale": 3.0},  # three shards make a replica
        {"n_experts": 12, "top_k": 6, "ff": 8, "routed_scale": 3.0},  # two replicas of three
    ],
)
def test_N25_without_noise_the_logits_are_the_dense_models(settings):
    dense = build()
    model = transplanted(dense, experts(**settings))
    assert difference(model, dense) <= 1e-5
    assert model.lm_head.weight is model.embed.weight


def test_noise_is_relative_and_random_experts_are_random():
    dense = build()
    assert 1e-4 < difference(transplanted(dense, experts(), noise=0.01), dense) < 0.1
    model = transplanted(dense, experts(), experts="random")
    assert difference(model, dense) > 0.1
    fresh = build(experts())
    assert torch.equal(model.blocks[0].mlp.w13, fresh.blocks[0].mlp.w13)
    assert torch.equal(model.blocks[0].attention.q.weight, dense.blocks[0].attention.q.weight)


def test_N25_at_first_the_router_learns_nothing_and_experts_see_different_tokens():
    model = transplanted(build(), experts()).train()
    model(draw(), targets_BT=draw(1)).loss.backward()
    moe = model.blocks[0].mlp
    assert moe.router.weight.grad.abs().max() < 1e-5  # whoever is chosen, the output is the same
    assert moe.w13.grad.abs().max() > 1e-2
    assert not torch.allclose(moe.w13.grad[0], moe.w13.grad[1])


def test_N25_after_50_steps_experts_differ():
    model = transplanted(build(), experts()).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    losses = []
    for step in range(50):
        ids = draw(step % 5)
        out = model(ids[:, :-1], targets_BT=ids[:, 1:])
        loss = out.loss / 30 + sum(out.aux.values())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(out.loss.item() / 30)
    assert losses[-1] < losses[0] - 0.5
    for layer in model.experts.values():
        flat = torch.nn.functional.normalize(layer.w13.detach().flatten(1), dim=1)
        alike = (flat @ flat.T)[~torch.eye(4, dtype=torch.bool)]
        assert alike.max() < 0.999
        apart = (layer.w13[0] - layer.w13[1]).norm() / layer.w13[0].norm()
        assert apart > 0.01


@pytest.mark.parametrize(
    ("dense", "settings", "words"),
    [
        ({}, {"norm_topk": False}, ["norm_topk=true"]),
        ({}, {"ff": 16}, ["24 wide", "ff=24"]),
        ({}, {"ff": 12}, ["routed_scale=2.0"]),
        ({"mlp": "gelu"}, {}, ["gate", "mlp=swiglu"]),
        ({"bias": True}, {}, ["bias=false"]),
    ],
)
def test_what_would_not_be_the_same_is_refused(dense, settings, words):
    with pytest.raises(RequestError) as raised:
        transplanted(build(**dense), experts(**settings))
    assert all(word in str(raised.value) for word in words)
