"""The experts' arithmetic: every dispatch equals the oracle, gradients hold, padding and dropping do what they say."""

import math

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from errors import RequestError
from models.layers.moe import dispatch
from models.layers.moe.dispatch import make_plan
from models.layers.moe.layer import MoE
from models.layers.moe.settings import MoESettings

C = 16  # rows of 16 bytes or more, which grouped products want
WAYS = ["fused", "loop", "grouped"]


def layer(*, dtype=torch.float64, seed: int = 0, std: float = 0.5, **settings) -> MoE:
    torch.manual_seed(seed)
    moe = MoE(MoESettings(**({"n_experts": 6, "top_k": 2, "ff": 8} | settings)), n_embd=C, dropout=0.0).to(dtype)
    for p in moe.parameters():
        torch.nn.init.normal_(p, std=std)
    return moe.eval()


def draw(*shape: int, seed: int = 1, dtype=torch.float64) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def gradients(moe: MoE, x: Tensor, how: str) -> list[Tensor]:
    """Output, and the gradients of the input and all parameters of a random projection of it."""
    object.__setattr__(moe.settings, "dispatch", how)  # "naive" is not for users
    x = x.clone().requires_grad_()
    y, _ = moe(x)
    return [y.detach(), *torch.autograd.grad((y * draw(*y.shape, seed=9, dtype=y.dtype)).sum(), [x, *moe.parameters()])]


@pytest.mark.parametrize("how", ["fused", "loop"])
@pytest.mark.parametrize(
    ("shape", "settings"),
    [
        ((2, 9, C), {}),
        ((1, 1, C), {}),  # one token: four experts get nothing
        ((1, 7, C), {"top_k": 6}),
        ((1, 7, C), {"top_k": 1, "norm_topk": False}),
        ((2, 9, C), {"router": "sigmoid_bias", "routed_scale": 2.5}),
        ((2, 9, C), {"router": "expert_choice", "allow_noncausal": True}),
        ((2, 9, C), {"combine": "permute"}),
        ((2, 9, C), {"n_shared": 2}),
    ],
)
def test_every_dispatch_equals_the_loop_over_tokens_in_float64(how, shape, settings):
    x = draw(*shape)
    for got, want in zip(*(gradients(layer(**settings), x, way) for way in (how, "naive")), strict=True):
        torch.testing.assert_close(got, want, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("limit", [1, 100, 200])
def test_blocks_of_experts_change_nothing(limit, monkeypatch):
    """6 experts share 36 assignments of 16 channels: one expert to a block, and two or more."""
    x = draw(2, 9, C)
    whole = gradients(layer(), x, "naive")
    monkeypatch.setattr(dispatch, "BLOCK", limit)
    for got, want in zip(gradients(layer(), x, "fused"), whole, strict=True):
        torch.testing.assert_close(got, want, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("how", ["fused", "loop"])
def test_padding_alone_reaches_no_expert(how):
    moe, x = layer(dispatch=how), draw(2, 3, C).requires_grad_()
    y, _ = moe(x, torch.zeros(2, 3, dtype=torch.bool))
    assert not y.any()
    assert not any(g.any() for g in torch.autograd.grad(y.sum(), [x, moe.w13, moe.w2]))


def test_N24_every_dispatch_agrees_in_fp32():
    x = draw(2, 20, C, dtype=torch.float32)
    results = [gradients(layer(dtype=torch.float32), x, how) for how in WAYS]
    for other in results[1:]:
        for a, b in zip(results[0], other, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-5, atol=2e-5)


@pytest.mark.parametrize("how", ["fused", "loop"])
def test_gradcheck_of_outputs_and_losses(how):
    moe = layer(dispatch=how, n_experts=4, ff=3, z_coef=1.0)
    x = draw(1, 5, C).requires_grad_()
    logits = x[0].detach() @ moe.router.weight.T
    top = logits.topk(3).values
    assert (top[:, 1] - top[:, 2]).min() > 1e-3  # a small step changes no choice

    names = [name for name, _ in moe.named_parameters()]

    def run(x, *parameters):
        y, routing = torch.func.functional_call(moe, dict(zip(names, parameters, strict=True)), (x,))
        return y, routing.load_balance, routing.router_z

    assert torch.autograd.gradcheck(run, (x, *(p.detach().requires_grad_() for p in moe.parameters())))


def test_tokens_in_another_order_give_outputs_in_that_order_and_experts_may_be_renamed():
    moe, x = layer(), draw(1, 12, C)
    y, routing = moe(x)
    order = torch.randperm(12, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(moe(x[:, order])[0], y[:, order], rtol=0, atol=1e-14)
    names = torch.randperm(6, generator=torch.Generator().manual_seed(0))
    renamed = layer()
    with torch.no_grad():
        for mine, theirs in zip(renamed.parameters(), moe.parameters(), strict=True):
            mine.copy_(theirs[names])
    z, other = renamed(x)
    torch.testing.assert_close(z, y)
    torch.testing.assert_close(other.load_balance, routing.load_balance)
    assert torch.equal(other.loads_E, routing.loads_E[names])


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"capacity_factor": 0.5, "eval_dropless": False},
        {"router": "sigmoid_bias"},
        {"router": "expert_choice", "allow_noncausal": True},
    ],
)
@pytest.mark.parametrize("side", ["left", "right"])
def test_N23_S15_padding_changes_no_output_no_loss_and_no_count(settings, side):
    moe, x, junk = layer(**settings), draw(2, 8, C), 100 * draw(2, 5, C, seed=3)
    padded = torch.cat([junk, x] if side == "left" else [x, junk], dim=1)
    mask = torch.zeros(2, 13, dtype=torch.bool)
    mask[:, 5:] = True
    mask = mask if side == "left" else mask.flip(1)
    y, alone = moe(x)
    z, routing = moe(padded, mask)
    torch.testing.assert_close(z[mask].view_as(y), y, rtol=1e-12, atol=1e-12)
    assert z[~mask].abs().max() == 0
    for name in alone._fields:
        torch.testing.assert_close(getattr(routing, name), getattr(alone, name), msg=name)


@pytest.mark.parametrize("order", ["token", "choice", "prob"])
def test_an_expert_takes_what_it_has_room_for_and_no_more(order):
    settings = {"capacity_factor": 0.5, "drop_order": order, "eval_dropless": False, "allow_noncausal": True}
    moe, x = layer(**settings), draw(2, 12, C)
    room = math.ceil(0.5 * 24 * 2 / 6)
    y, routing = moe(x)
    assert routing.dropped == (routing.loads_E - room).clamp_min(0).sum() > 0
    weights, experts = (x.flatten(0, 1) @ moe.router.weight.T).softmax(-1).topk(2)
    weights = weights / weights.sum(-1, keepdim=True)
    ranks = {  # smaller goes first
        "token": lambda t, j: 2 * t + j, "choice": lambda t, j: 24 * j + t, "prob": lambda t, j: -weights[t, j].item()
    }  # fmt: skip
    expected = torch.zeros(24, C, dtype=torch.float64)
    for e in range(6):
        queue = sorted(((ranks[order](t, j), t, j) for t, j in (experts == e).nonzero().tolist()))
        for _, t, j in queue[:room]:
            gate, up = (moe.w13[e] @ x.flatten(0, 1)[t]).chunk(2)
            expected[t] += weights[t, j] * (moe.w2[e] @ (torch.nn.functional.silu(gate) * up))
    torch.testing.assert_close(y.flatten(0, 1), expected.detach())


def test_much_room_is_dropless_and_evaluation_drops_nothing():
    x = draw(2, 12, C)
    y = layer()(x)[0]
    torch.testing.assert_close(layer(capacity_factor=6.0, eval_dropless=False)(x)[0], y)
    torch.testing.assert_close(layer(capacity_factor=0.3)(x)[0], y)
    assert layer(capacity_factor=0.3).train()(x)[1].dropped > 0


def test_experts_that_choose_take_their_likeliest_tokens_and_exactly_so_many():
    moe, x = layer(router="expert_choice", allow_noncausal=True), draw(1, 12, C)
    y, routing = moe(x)
    assert routing.loads_E.tolist() == [4] * 6  # 12 tokens, 2 each, 6 experts
    probs, expected = (x[0] @ moe.router.weight.T).softmax(-1), torch.zeros(12, C, dtype=torch.float64)
    for e in range(6):
        for t in probs[:, e].argsort(descending=True)[:4].tolist():
            gate, up = (moe.w13[e] @ x[0, t]).chunk(2)
            expected[t] += probs[t, e] * (moe.w2[e] @ (torch.nn.functional.silu(gate) * up))
    torch.testing.assert_close(y[0], expected.detach())


@pytest.mark.parametrize(
    ("settings", "leaks"),
    [
        ({}, False),
        ({"capacity_factor": 0.6}, False),
        ({"capacity_factor": 0.6, "drop_order": "choice"}, True),
        ({"capacity_factor": 0.6, "drop_order": "prob"}, True),
        ({"router": "expert_choice"}, True),
    ],
)
def test_what_lets_later_tokens_change_earlier_outputs_is_refused_unless_asked_for(settings, leaks):
    base = {"n_experts": 6, "top_k": 2, "ff": 8}
    if leaks:
        with pytest.raises(RequestError, match="allow_noncausal=true"):
            MoESettings(**base, **settings)
    moe, x = layer(**settings, eval_dropless=False, allow_noncausal=True), draw(1, 24, C)
    changed = x.clone()
    changed[:, 16:] = 3 * draw(1, 8, C, seed=5)
    if moe.settings.capacity_factor:  # few seats, and a crowd that arrives late
        changed[:, 16:] = x[:, :1] * 5
    difference = (moe(x)[0] - moe(changed)[0])[:, :16].abs().max()
    assert (difference > 1e-3) == leaks


def test_the_bias_decides_who_is_chosen_but_not_how_much():
    moe, x = layer(router="sigmoid_bias", norm_topk=False), draw(1, 10, C)
    before, routing = moe(x)
    moe.balance_E += 0.5  # the same for all: nothing changes
    torch.testing.assert_close(moe(x)[0], before)
    moe.balance_E[3] += 10  # expert 3 is chosen by all
    assert moe(x)[1].loads_E[3] == 10 > routing.loads_E[3]
    scores = (x[0] @ moe.router.weight.T).sigmoid()
    plan_weight = scores[:, 3]
    other = (scores + torch.eye(6)[3] * 10).topk(2).indices[:, 1]
    expected = torch.zeros(10, C, dtype=torch.float64)
    for t in range(10):
        for e, w in ((3, plan_weight[t]), (int(other[t]), scores[t, other[t]])):
            gate, up = (moe.w13[e] @ x[0, t]).chunk(2)
            expected[t] += w * (moe.w2[e] @ (torch.nn.functional.silu(gate) * up))
    torch.testing.assert_close(moe(x)[0][0], expected.detach())


def test_noise_and_jitter_are_for_training_and_change_the_router_only():
    for settings in ({"noisy": True}, {"jitter": 0.3}):
        moe, x = layer(**settings), draw(1, 10, C)
        assert torch.equal(moe(x)[0], moe(x)[0])
        moe.train()
        assert not torch.allclose(moe(x)[0], moe(x)[0])
    same = layer(jitter=0.3, top_k=6, routed_scale=1.0).train()
    for p in (same.w13, same.w2):
        with torch.no_grad():
            p.copy_(p[:1].expand_as(p))  # equal experts: whatever the router says, one answer, of the clean input
    torch.testing.assert_close(same(x)[0], same(x)[0])


def test_a_plan_is_sorted_by_expert_and_leaves_out_what_is_masked():
    tokens, experts = torch.tensor([0, 0, 1, 1, 2, 2]), torch.tensor([2, 0, 0, 1, 2, 0])
    weights = torch.arange(6.0)
    plan = make_plan(tokens, experts, weights, n_experts=4, mask_N=None)
    assert plan.tokens_M.tolist() == [0, 1, 2, 1, 0, 2]
    assert plan.weights_M.tolist() == [1, 2, 5, 3, 0, 4]
    assert plan.counts_E.tolist() == [3, 1, 2, 0]
    masked = make_plan(tokens, experts, weights, n_experts=4, mask_N=torch.tensor([True, False, True]))
    assert masked.tokens_M.tolist() == [0, 2, 0, 2]
    assert masked.counts_E.tolist() == [2, 0, 2, 0]


def test_autocast_computes_experts_in_bf16_and_the_router_in_fp32():
    moe, x = layer(dtype=torch.float32), draw(1, 8, C, dtype=torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y, routing = moe(x)
    assert y.dtype == torch.bfloat16
    assert routing.router_z.dtype == torch.float32
    torch.testing.assert_close(routing.router_z, moe(x)[1].router_z)  # bf16 logits would differ in the third digit
    torch.testing.assert_close(y.float(), moe(x)[0], rtol=0.1, atol=0.1)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"top_k": 7}, ["top_k=7", "n_experts=6", "top_k=6"]),
        ({"top_k": 1}, ["norm_topk", "norm_topk=false"]),
    ],
)
def test_wrong_requests_say_what_to_type(settings, words):
    with pytest.raises(RequestError) as raised:
        MoESettings(**({"n_experts": 6, "top_k": 2, "ff": 8} | settings))
    assert all(word in str(raised.value) for word in words)


def test_the_bias_stays_in_fp32_whatever_the_model_is_cast_to():
    moe = layer(dtype=torch.float32, router="sigmoid_bias")
    moe.balance_E += 0.5 + 1e-3
    exact = moe.balance_E.clone()
    for cast in (moe.bfloat16, moe.half, moe.float):
        cast()
        assert moe.balance_E.dtype == torch.float32
        assert torch.equal(moe.balance_E, exact)
    moe.bfloat16().balance(torch.tensor([10.0, 0, 5, 5, 5, 5]), step=0)
    moved = moe.balance_E - exact
    torch.testing.assert_close(moved, torch.tensor([-1e-3, 1e-3, 0, 0, 0, 0]), rtol=0, atol=1e-7)


def test_which_layers_have_experts():
    def layers(**settings):
        s = MoESettings(n_experts=4, top_k=2, ff=8, **settings)
        return [i for i in range(6) if s.has_experts(i)]

    assert layers() == [0, 1, 2, 3, 4, 5]
    assert layers(every=2) == [1, 3, 5]  # Qwen's decoder_sparse_step, Switch
    assert layers(first_dense=1) == [1, 2, 3, 4, 5]  # DeepSeek's first_k_dense_replace
    assert layers(layers=[0, 4]) == [0, 4]


@pytest.mark.parametrize("how", ["fused", "loop"])
@pytest.mark.parametrize("rows", [4, 16])
def test_groups_filled_up_change_no_number(how, rows, monkeypatch):
    """In float64: an expert without tokens, one with as many as fit, and others; outputs and all gradients."""
    x, experts_M = draw(7, C), torch.tensor([0, 2, 2, 0, 2, 3, 2, 3])
    plan = make_plan(
        torch.tensor([0, 1, 2, 3, 4, 4, 5, 6]), experts_M, draw(8).abs(), n_experts=5, mask_N=None
    )  # fmt: skip
    w13, w2 = draw(5, 6, C, seed=2), draw(5, C, 3, seed=3)

    def found(fill: bool) -> list[Tensor]:
        leaves = [t.clone().requires_grad_() for t in (x, w13, w2, plan.weights_M)]
        given = plan._replace(weights_M=leaves[3])
        if fill:
            given, _ = dispatch.filled_up(given, leaves[3], rows)
            assert [n % rows for n in given.counts_E.tolist()] == [0] * 5
            assert given.counts_E.tolist()[1] == given.counts_E.tolist()[4] == 0
        y = dispatch.run_experts(*leaves[:3], given, how=how)
        return [y, *torch.autograd.grad(y.square().sum(), leaves)]

    for got, want in zip(found(True), found(False), strict=True):
        torch.testing.assert_close(got, want, rtol=1e-12, atol=1e-12)


def test_a_cpu_meets_few_numbers_of_rows_in_bf16(monkeypatch):
    """oneDNN compiles a kernel for each number of rows. fp32 is multiplied by a library that does not."""
    seen: list[int] = []
    real = dispatch._fused
    monkeypatch.setattr(dispatch, "_fused", lambda *given: seen.extend(given[-1].tolist()) or real(*given))
    moe = layer(dtype=torch.float32, dispatch="fused")
    with torch.autocast("cpu", torch.bfloat16):
        moe(draw(1, 37, C, dtype=torch.float32))
    assert {n % dispatch.WHOLE for n in seen} == {0}
    assert sum(seen) < 2 * 37 + 6 * dispatch.WHOLE
    seen.clear()
    moe(draw(1, 37, C, dtype=torch.float32))
    assert sum(seen) == 2 * 37


def test_filling_up_lets_no_other_token_in():
    """A masked token that is infinite: 0 times it would be nan."""
    x = draw(5, C)
    x[0] = torch.inf
    given = torch.tensor([1, 2, 3, 4]), torch.tensor([0, 1, 1, 3]), draw(4).abs()
    plan = make_plan(*given, n_experts=4, mask_N=torch.arange(5) > 0)
    filled, weights = dispatch.filled_up(plan, plan.weights_M, 4)
    y = dispatch.run_experts(x, draw(4, 6, C, seed=2), draw(4, C, 3, seed=3), filled, how="fused")
    assert y.isfinite().all()
    assert filled.tokens_M.tolist() == [1, 1, 1, 1, 2, 3, 3, 3, 4, 4, 4, 4]
    assert weights[[1, 2, 3, 6, 7, 9, 10, 11]].tolist() == [0] * 8


def test_nothing_is_filled_up_in_a_dry_run():
    with FakeTensorMode():
        weights_M, counts_E = torch.zeros(8), torch.zeros(4, dtype=torch.long)
        plan = dispatch.Plan(torch.zeros(8, dtype=torch.long), weights_M, counts_E)
        assert dispatch.filled_up(plan, weights_M, 16) == (plan, weights_M)
