"""Products of linear layers by oneDNN: the numbers, gradients and names of PyTorch's own, and only where asked for."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from models.generation import generate
from models.gpt import GPT
from models.layers import products
from models.layers.loss import linear_cross_entropy
from models.sampling import GREEDY

pytestmark = pytest.mark.skipif(not products.is_there(), reason="this PyTorch has no oneDNN")
EPS = torch.finfo(torch.float32).eps


def layer(n_in=96, n_out=64, *, bias=True) -> nn.Linear:
    torch.manual_seed(0)
    return nn.Linear(n_in, n_out, bias=bias)


def exact(linear, x, slope):
    """Output and gradients in float64."""
    other, x = copy.deepcopy(linear).double(), x.detach().double().requires_grad_()
    y = F.linear(x, other.weight, other.bias)
    y.backward(slope.double())
    return [y.detach(), x.grad, *(p.grad for p in other.parameters())]


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(128, 96), (4, 32, 96), (2, 2, 32, 96)])
def test_numbers_and_gradients_are_those_of_linear(shape, bias):
    linear = layer(bias=bias)
    products.follow(linear)
    x, slope = torch.randn(shape, requires_grad=True), torch.randn(*shape[:-1], 64)
    with products.by("onednn"):
        y = linear(x)
        assert "Product" in type(y.grad_fn).__name__
        y.backward(slope)
    found = [y.detach(), x.grad, *(p.grad for p in linear.parameters())]
    for value, expected in zip(found, exact(linear, x, slope), strict=True):
        # sums of at most 128 products of numbers of size 1 or less, rounded at each step at worst
        torch.testing.assert_close(value.double(), expected, rtol=0, atol=128 * EPS * float(expected.abs().max() + 1))


def test_a_transposed_input_is_read_as_it_is():
    linear = layer()
    products.follow(linear)
    x = torch.randn(96, 128).t()
    with products.by("onednn"):
        torch.testing.assert_close(linear(x), F.linear(x, linear.weight, linear.bias), rtol=0, atol=1e-5)


def test_only_what_learns_gets_a_gradient():
    linear = layer()
    products.follow(linear.requires_grad_(False))
    x = torch.randn(128, 96, requires_grad=True)
    with products.by("onednn"):
        linear(x).sum().backward()
        assert linear.weight.grad is None
        assert x.grad is not None
        with torch.no_grad():
            assert linear(x).grad_fn is None


@pytest.mark.parametrize("case", ["torch", "autocast", "float64", "few rows"])
def test_elsewhere_it_is_pytorchs_own(case):
    linear, x = layer(), torch.randn(128, 96)
    products.follow(linear)
    if case == "float64":
        linear, x = linear.double(), x.double()
    if case == "few rows":
        x = x[:8]
    with products.by("torch" if case == "torch" else "onednn"), torch.autocast("cpu", enabled=case == "autocast"):
        y = linear(x)
        assert "Product" not in type(y.grad_fn).__name__
        assert torch.equal(y, F.linear(x, linear.weight, linear.bias))


def test_the_choice_is_given_back():
    def fails() -> None:
        with products.by("onednn"):
            seen.append(products.chosen())
            raise ZeroDivisionError

    seen = [products.chosen()]
    with pytest.raises(ZeroDivisionError):
        fails()
    assert [*seen, products.chosen()] == ["torch", "onednn", "torch"]


def model() -> GPT:
    torch.manual_seed(0)
    return GPT(vocab_size=80, seq_len=32, n_layer=2, n_head=2, n_embd=64)


def test_a_model_keeps_its_names_its_loss_and_what_it_writes():
    plain, ids = model(), torch.randint(0, 80, (4, 33), generator=torch.Generator().manual_seed(0))
    other = copy.deepcopy(plain)
    products.follow(other)
    assert other.state_dict().keys() == plain.state_dict().keys()
    one = plain(ids[:, :-1], targets_BT=ids[:, 1:]).loss
    one.backward()
    with products.by("onednn"):
        two = copy.deepcopy(other)(ids[:, :-1], targets_BT=ids[:, 1:]).loss
        assert two.item() == pytest.approx(one.item(), rel=1e-5)
        other(ids[:, :-1], targets_BT=ids[:, 1:]).loss.backward()
        for a, b in zip(plain.parameters(), other.parameters(), strict=True):
            torch.testing.assert_close(a.grad, b.grad, rtol=0, atol=1e-5 * float(a.grad.abs().max() + 1))
        written = [generate(m, [[1, 2, 3]], max_new_tokens=20, sampling=GREEDY)[0] for m in (plain, other)]
    assert written[0] == written[1]


def test_the_head_takes_it_too():
    torch.manual_seed(0)
    hidden, weight = torch.randn(128, 64, requires_grad=True), torch.randn(200, 64, requires_grad=True)
    targets = torch.randint(0, 200, (128,))
    calls, found = [], []
    op = products.by_onednn
    for library in ("torch", "onednn"):
        with pytest.MonkeyPatch.context() as patch, products.by(library):  # type: ignore[arg-type]
            patch.setattr(products, "by_onednn", lambda *of: calls.append(1) or op(*of))
            loss, nll = linear_cross_entropy(hidden, weight, targets)
            found.append((float(loss.detach()), nll, *torch.autograd.grad(loss, (hidden, weight))))
        assert bool(calls) == (library == "onednn")
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(torch.as_tensor(a), torch.as_tensor(b), rtol=1e-5, atol=1e-4)
