"""router=sigmoid_bias against transformers' DeepSeek-V3 block: the same choice, weights, output and gradients."""

import pytest
import torch

from models.layers.moe.layer import MoE
from models.layers.moe.settings import MoESettings

transformers = pytest.importorskip("transformers")
E, C, FF = 6, 16, 8


def pair(*, norm_topk):
    """Their block, with random weights and a random bias, and ours with the same."""
    from transformers.models.deepseek_v3.modeling_deepseek_v3 import DeepseekV3Config, DeepseekV3MoE

    torch.manual_seed(0)
    config = DeepseekV3Config(
        hidden_size=C, moe_intermediate_size=FF, n_routed_experts=E, num_experts_per_tok=2, n_shared_experts=2,
        n_group=1, topk_group=1, routed_scaling_factor=2.5, norm_topk_prob=norm_topk,
    )  # fmt: skip
    theirs = DeepseekV3MoE(config)
    for p in theirs.parameters():
        torch.nn.init.normal_(p, std=0.5)
    theirs.gate.e_score_correction_bias.normal_(std=0.3)
    settings = MoESettings(
        n_experts=E, top_k=2, ff=FF, router="sigmoid_bias", n_shared=2, routed_scale=2.5, norm_topk=norm_topk
    )
    ours = MoE(settings, n_embd=C, dropout=0.0)
    names = {"gate.weight": "router.weight", "gate.e_score_correction_bias": "balance_E"}
    names |= {"experts.gate_up_proj": "w13", "experts.down_proj": "w2"}
    names |= {f"shared_experts.{part}_proj.weight": f"shared.{part}.weight" for part in ("gate", "up", "down")}
    ours.load_state_dict({names[name]: value for name, value in theirs.state_dict().items()})
    return theirs, ours, names


@pytest.mark.parametrize("norm_topk", [True, False])
def test_the_router_and_its_experts_are_deepseek_v3s(norm_topk):
    theirs, ours, _ = pair(norm_topk=norm_topk)
    x = torch.randn(2, 30, C)
    expected, (found, routing) = theirs(x), ours(x)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    _, weights, experts = theirs.gate(x)
    assert torch.equal(routing.loads_E, experts.flatten().bincount(minlength=E).float())
    with torch.no_grad():  # the bias decides for a good part of the tokens, so the test can see it
        theirs.gate.e_score_correction_bias.zero_()
        assert (theirs.gate(x)[2].sort(-1).values != experts.sort(-1).values).any(-1).float().mean() > 0.1
    assert weights.sum(-1).std() < 1e-5 if norm_topk else weights.sum(-1).std() > 0.1


def test_their_gradients():
    theirs, ours, names = pair(norm_topk=True)
    x, project = torch.randn(2, 30, C), torch.randn(2, 30, C)
    (theirs(x) * project).sum().backward()
    (ours(x)[0] * project).sum().backward()
    for name, p in theirs.named_parameters():
        mine = ours.get_parameter(names[name]).grad
        assert (mine - p.grad).norm() <= 1e-3 * p.grad.norm(), name
