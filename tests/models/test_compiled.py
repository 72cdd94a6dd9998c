"""torch.compile of what depends on the data: experts, capacities, sinks. Losses are those of the uncompiled model."""

import copy

import pytest
import torch

from models.layers.moe.settings import MoESettings
from models.transformer import Transformer

VARIANTS = {
    "experts and learned sinks": {"moe": {}, "sinks": "learned", "n_kv_head": 1},
    "all at once": {
        "moe": {"router": "sigmoid_bias", "n_shared": 1, "capacity_factor": 1.0, "bias_update": 0.01},
        "sinks": "tokens", "n_sink": 2, "window": 5, "qk_norm": "head", "checkpoint_blocks": True, "n_layer": 1,
    },
}  # fmt: skip


def make(name):
    settings = dict(VARIANTS[name])
    settings["moe"] = MoESettings(n_experts=4, top_k=2, ff=16, router_init_std=0.5, **settings["moe"])
    torch.manual_seed(0)
    return Transformer(vocab_size=20, seq_len=16, **({"n_layer": 2, "n_head": 2, "n_embd": 16} | settings))


def losses(model, *, steps=3):
    """Of each update; the number of tokens, where padding begins and the sizes of the groups change on the way."""
    optimizer, found = torch.optim.AdamW(model.parameters(), lr=1e-2), []
    for step in range(steps):
        ids = torch.randint(0, 20, (3, 12 + step), generator=torch.Generator().manual_seed(step))
        real = torch.arange(12 + step) < torch.tensor([[12], [9 + step], [5]])
        targets = ids.roll(-1, 1).masked_fill(~real, -100)
        out = model(ids, targets_BT=targets, padding_BT=real if step else None)
        loss = out.loss / 30 + sum(out.aux.values())
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        model.after_update(out.stats, step=step)
        found += [loss.item(), *(float(s.sum()) for s in out.stats.values())]
    return found


@pytest.mark.slow
@pytest.mark.timeout(900)  # the compiler's own time
@pytest.mark.parametrize("name", VARIANTS)
@pytest.mark.parametrize("backend", ["aot_eager", "inductor"])
def test_compiled_training_is_the_same(name, backend):
    torch._dynamo.reset()
    plain, compiled = make(name), make(name)
    compiled.load_state_dict(copy.deepcopy(plain.state_dict()))
    compiled.compile(backend=backend)
    assert losses(compiled) == pytest.approx(losses(plain), rel=1e-4, abs=1e-4)
    with torch.no_grad():
        ids = torch.randint(0, 20, (2, 16))
        a, b = (m.eval()(ids, logits="all").logits for m in (compiled, plain))
    torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-3)
