"""The MLP of a block: squares and shared inputs under autocast (models/layers/mlp.py, models/layers/autocast.py)."""

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from models.layers.autocast import in_autocast
from models.layers.grouped_attention import GroupedAttention
from models.layers.half_attention import is_fast
from models.layers.mlp import MLP, relu2


def test_relu2_and_its_gradient():
    x = torch.tensor([-2.0, 0.0, 0.5, 3.0], dtype=torch.float64, requires_grad=True)
    y = relu2(x)
    assert y.tolist() == [0.0, 0.0, 0.25, 9.0]
    y.backward(torch.tensor([1.0, 1.0, 1.0, 10.0], dtype=torch.float64))
    assert x.grad.tolist() == [0.0, 0.0, 1.0, 60.0]


def test_relu2_of_16_bits_is_the_square_in_fp32_rounded_once():
    torch.manual_seed(0)
    x = torch.randn(1000).bfloat16().requires_grad_()
    grad = torch.randn(1000).bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        y = relu2(x)
    y.backward(grad)
    assert y.dtype == torch.bfloat16
    assert torch.equal(y, x.detach().float().relu().square().bfloat16())
    assert torch.equal(x.grad, (2 * x.detach().float().relu() * grad.float()).bfloat16())


@pytest.mark.parametrize("kind", ["swiglu", "relu2"])
def test_compiled_it_is_the_same(kind):
    torch.manual_seed(0)
    mlp, x = MLP(n_embd=8, n_inner=16, kind=kind, bias=False, dropout=0.0), torch.randn(3, 8)
    plain = torch.autograd.grad(mlp(x).sum(), list(mlp.parameters()))
    compiled = torch.autograd.grad(torch.compile(mlp, backend="aot_eager")(x).sum(), list(mlp.parameters()))
    for a, b in zip(plain, compiled, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)


def layers():
    attention = GroupedAttention(
        n_embd=8, n_head=2, n_kv_head=1, head_dim=4, layer=0, capacity=5, qkv_bias=False, bias=False, qk_norm="none",
        norm_eps=1e-5, rope=None, dropout=0.0, learned_sink=False,
    )  # fmt: skip
    at = torch.arange(5)
    return {
        "attention": lambda x: attention(x, positions_T=at, mask_BTS=None, cache=None)[0],
        "gated": MLP(n_embd=8, n_inner=16, kind="swiglu", bias=False, dropout=0.0),
    }


class Casts(TorchDispatchMode):
    """Counts the casts of tensors of this shape."""

    def __init__(self, shape: tuple[int, ...]):
        super().__init__()
        self.shape, self.count = shape, 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func is torch.ops.aten._to_copy.default and tuple(args[0].shape) == self.shape:
            self.count += 1
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("name", ["attention", "gated"])
def test_an_input_of_several_layers_is_cast_once(name):
    layer, x = layers()[name], torch.randn(1, 5, 8)
    with torch.autocast("cpu", torch.bfloat16), Casts((1, 5, 8)) as casts:
        layer(x)
    assert casts.count == (2 if name == "attention" and not is_fast() else 1)  # fp32 attention's output is cast as well


def test_in_autocast():
    x = torch.randn(2)
    assert in_autocast(x) is x
    with torch.autocast("cpu", torch.bfloat16):
        assert in_autocast(x).dtype == torch.bfloat16
        assert in_autocast(x.double()).dtype == torch.float64  # as autocast leaves it
