"""Chunked head and loss against PyTorch's cross_entropy over all logits."""

import pytest
import torch
import torch.nn.functional as F

from batch import IGNORE
from models.layers import loss as loss_module
from models.layers.loss import linear_cross_entropy, linear_token_nll


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch):
    monkeypatch.setitem(loss_module.CHUNK_ELEMENTS, "cpu", 0)  # 64 rows at a time, the least


def inputs(n=150, channels=8, vocab=11, dtype=torch.float32):
    torch.manual_seed(0)
    hidden = torch.randn(n, channels, dtype=dtype, requires_grad=True)
    weight = torch.randn(vocab, channels, dtype=dtype, requires_grad=True)
    targets = torch.randint(0, vocab, (n,))
    targets[::7] = IGNORE
    return hidden, weight, targets


@pytest.mark.parametrize("softcap", [None, 2.0])
@pytest.mark.parametrize("weighted", [False, True])
def test_loss_and_gradients_equal_the_plain_way(softcap, weighted):
    hidden, weight, targets = inputs()
    weights = torch.rand(len(targets)) if weighted else None
    logits = hidden @ weight.T
    logits = logits if softcap is None else softcap * torch.tanh(logits / softcap)
    per_token = F.cross_entropy(logits, targets, reduction="none", ignore_index=IGNORE)
    expected = (per_token * (1 if weights is None else weights)).sum()
    expected_grads = torch.autograd.grad(expected * 0.3, (hidden, weight))

    loss, nll = linear_cross_entropy(hidden, weight, targets, softcap=softcap, weights_N=weights)
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(nll, per_token.detach())
    assert not nll.requires_grad
    for ours, theirs in zip(torch.autograd.grad(loss * 0.3, (hidden, weight)), expected_grads, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


def test_a_very_unlikely_target_has_a_finite_loss():
    hidden, weight = torch.tensor([[1.0]]), torch.tensor([[0.0], [300.0]])
    _, nll = linear_cross_entropy(hidden, weight, torch.tensor([0]))
    assert nll.item() == pytest.approx(300.0)


def test_frozen_head_or_hidden_gets_no_gradient():
    hidden, weight, targets = inputs()
    linear_cross_entropy(hidden, weight.detach(), targets)[0].backward()
    assert hidden.grad is not None
    assert weight.grad is None


def test_S4_S5_targets_are_used_as_given():
    """The loss does not shift again: an oracle for the given targets scores 0, one for the token beside does not."""
    weight = torch.eye(3) * 50
    targets = torch.tensor([1, 2, 0, 1])
    oracle = torch.eye(3)[targets]
    assert linear_cross_entropy(oracle, weight, targets)[0].item() == pytest.approx(0, abs=1e-6)
    assert linear_cross_entropy(oracle.roll(1, 0), weight, targets)[0].item() > 100


def test_bf16_under_autocast_is_close():
    hidden, weight, targets = inputs()
    exact, _ = linear_cross_entropy(hidden, weight, targets)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss, nll = linear_cross_entropy(hidden, weight, targets)
    assert nll.dtype == torch.float32
    assert loss.item() == pytest.approx(exact.item(), rel=0.02)
    assert torch.autograd.grad(loss, weight)[0].dtype == torch.float32


def test_logits_are_never_all_there_at_once():
    """The largest tensor made is a chunk of logits or the head's gradient, not (N, V)."""
    from torch.utils._python_dispatch import TorchDispatchMode

    largest = 0

    class Watch(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            nonlocal largest
            out = func(*args, **(kwargs or {}))
            if isinstance(out, torch.Tensor):
                largest = max(largest, out.untyped_storage().nbytes() // out.element_size())
            return out

    hidden, weight, targets = inputs(n=640, channels=4, vocab=100)
    with Watch():
        linear_cross_entropy(hidden, weight, targets)[0].backward()
    assert largest <= 64 * 100


def test_a_second_backward_pass_is_refused_rather_than_wrong():
    hidden, weight, targets = inputs()
    loss, _ = linear_cross_entropy(hidden, weight, targets)
    (loss / 2).backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        (loss / 2).backward()


def test_in_bf16_the_heads_gradient_is_summed_in_fp32_and_chunks_may_wait_for_each_other(monkeypatch):
    """A product is rounded to 8 bits: one of all chunks, or each of 40, whose sum is rounded no more."""
    hidden, weight, targets = inputs(n=64 * 40)
    found = []
    for wait in (0, 2**20):
        monkeypatch.setattr(loss_module, "WAIT_ELEMENTS", wait)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            loss, _ = linear_cross_entropy(hidden, weight, targets)
        found.append(torch.autograd.grad(loss, weight)[0])
    apart, together = found
    assert apart.dtype == together.dtype == torch.float32
    assert (apart - together).norm() < 2**-8 * together.norm()
    assert not torch.equal(apart, apart.bfloat16().float())
    assert torch.equal(together, together.bfloat16().float())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_no_target_at_all_is_a_gradient_of_zeros(dtype):
    hidden, weight, targets = inputs(dtype=dtype)
    loss, _ = linear_cross_entropy(hidden[:0], weight, targets[:0])
    (grad,) = torch.autograd.grad(loss, weight)
    assert grad.dtype == dtype
    assert not grad.any()


def test_in_64_bits_the_loss_is_made_in_64_bits():
    hidden, weight, targets = inputs(dtype=torch.float64)
    expected = F.cross_entropy(hidden @ weight.T, targets, reduction="sum")
    for loss in (linear_cross_entropy(hidden, weight, targets)[0], linear_token_nll(hidden, weight, targets).sum()):
        torch.testing.assert_close(loss, expected, rtol=1e-13, atol=0)
        for mine, theirs in zip(*(torch.autograd.grad(x, (hidden, weight), retain_graph=x is expected)
                                  for x in (loss, expected)), strict=True):  # fmt: skip
            torch.testing.assert_close(mine, theirs, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("softcap", [None, 2.0])
def test_a_head_padded_for_the_gpu_gives_the_same_chunk(softcap):
    hidden, weight, targets = (x.detach() for x in inputs())
    padded = torch.cat([weight, torch.zeros(5, weight.shape[1])])
    slope, nll = loss_module._chunk(hidden, weight, targets, softcap, len(weight))
    wide_slope, wide_nll = loss_module._chunk(hidden, padded, targets, softcap, len(weight))
    torch.testing.assert_close(wide_nll, nll)
    torch.testing.assert_close(wide_slope[:, : len(weight)], slope)
    assert not wide_slope[:, len(weight) :].any()


@pytest.mark.parametrize("function", [linear_cross_entropy, linear_token_nll])
@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize("softcap", [None, 2.0])
def test_rows_passed_over_a_few_at_a_time_give_the_same_bits(function, half, softcap, monkeypatch):
    """150 tokens in chunks of 50, 11 ids: slices of one row, of three, and of all."""

    def found(elements: int) -> list[torch.Tensor]:
        monkeypatch.setattr(loss_module, "SLICE_ELEMENTS", elements)
        hidden, weight, targets = inputs()
        if function is linear_token_nll:
            targets = targets.clamp_min(0)
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            out = function(hidden, weight, targets, softcap=softcap)
        out = out[0] if isinstance(out, tuple) else out
        return [out, *torch.autograd.grad(out.square().sum(), (hidden, weight))]

    whole = found(10**6)
    for elements in (1, 3 * 11):
        assert all(torch.equal(a, b) for a, b in zip(found(elements), whole, strict=True))
