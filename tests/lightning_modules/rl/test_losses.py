"""Surrogates, KL, value loss and their division, worked by hand."""

import math

import pytest
import torch

from lightning_modules.rl.losses import SURROGATES, Bounds, clip, clipped, k3, summed, units, value_loss

YES = torch.tensor([[True, True, False], [True, False, False]])  # rows of 2 actions and of 1


@pytest.mark.parametrize(
    ("ratio", "advantage", "loss", "is_clipped"),
    [
        (1.0, 2.0, -2.0, False),
        (1.5, 2.0, -2.4, True),
        (1.5, -2.0, 3.0, False),
        (0.5, -2.0, 1.6, True),
        (0.5, 2.0, -1.0, False),
    ],
)
def test_the_clip_takes_the_worse_of_both(ratio, advantage, loss, is_clipped):
    log_ratio, A = torch.tensor([[math.log(ratio)]]), torch.tensor([[advantage]])
    assert clip(log_ratio, log_ratio, A, Bounds(0.2, 0.2)).item() == pytest.approx(loss, rel=1e-6)
    assert clipped(log_ratio, A, Bounds(0.2, 0.2)).item() is is_clipped


def test_clip_higher_moves_the_upper_bound_alone():
    log_ratio, A = torch.full((1, 1), math.log(1.5)), torch.ones(1, 1)
    assert clip(log_ratio, log_ratio, A, Bounds(0.2, 0.28)).item() == pytest.approx(-1.28, rel=1e-6)
    assert not clipped(torch.full((1, 1), math.log(1.25)), A, Bounds(0.2, 0.28)).item()


@pytest.mark.parametrize("name", sorted(SURROGATES))
def test_at_ratio_1_every_surrogate_has_the_policy_gradient(name):
    log_probs = torch.tensor([[-1.0, -2.0]], dtype=torch.float64, requires_grad=True)
    A = torch.tensor([[1.5, -0.5]], dtype=torch.float64)
    SURROGATES[name](log_probs - log_probs.detach(), log_probs, A, Bounds()).sum().backward()
    torch.testing.assert_close(log_probs.grad, -A)


def test_N57_k3_pulls_back_and_the_plain_log_ratio_does_not():
    """In expectation over the policy, the gradient of k3 is that of the KL, the gradient of the log-ratio is 0."""
    logits = torch.tensor([0.3, -0.2, 0.9], dtype=torch.float64, requires_grad=True)
    ref = torch.tensor([0.2, 0.5, 0.3], dtype=torch.float64).log()

    def gradient(of):
        return torch.autograd.grad(of, logits, retain_graph=True)[0]

    log_p = logits.log_softmax(0)
    p = log_p.exp()
    kl = gradient((p * (log_p - ref)).sum())
    # what a loss on samples does: the distribution that is averaged over has no gradient
    as_loss = {"k1": gradient((p.detach() * (log_p - ref)).sum()), "k3": gradient((p.detach() * k3(log_p, ref)).sum())}
    assert as_loss["k1"].abs().max() < 1e-12
    assert kl.abs().max() > 0.1
    # k3 as a loss: the gradient of KL(reference || policy) direction, zero only where both agree
    assert torch.dot(as_loss["k3"], kl) > 0
    torch.testing.assert_close((p * k3(log_p, ref)).sum(), (p * (log_p - ref)).sum())  # unbiased
    assert (k3(log_p, ref) >= 0).all()


def test_value_loss_is_pessimistic_about_long_steps():
    V, old, R = (torch.tensor([[v]]) for v in (1.0, 0.0, 1.0))
    assert value_loss(V, old, R, 0.2).item() == pytest.approx(0.5 * 0.8**2)  # the clipped value is 0.2
    assert value_loss(V, old, -R, 0.2).item() == pytest.approx(0.5 * 2.0**2)


def test_N44_N45_N47_division_by_hand():
    """Rows of 2 and 1 actions; what stands in padding, even NaN, counts for nothing."""
    losses = torch.tensor([[1.0, 3.0, math.nan], [5.0, math.inf, 7.0]])
    assert summed(losses, YES, "constant").item() == 9.0
    assert summed(losses, YES, "tokens").item() == 9.0
    assert summed(losses, YES, "sequence").item() == 2.0 + 5.0
    sizes = {norm: units(norm, rows=2, actions=3, longest=4) for norm in ("constant", "tokens", "sequence")}
    assert sizes == {"constant": 8, "tokens": 3, "sequence": 2}


def test_N47_an_action_counts_the_same_in_long_and_short_answers_but_per_sequence():
    weight = {}
    for norm in ("constant", "tokens", "sequence"):
        losses = torch.ones(2, 3, requires_grad=True)
        summed(losses, YES, norm).backward()
        weight[norm] = (losses.grad[0, 0] / losses.grad[1, 0]).item()
    assert weight == {"constant": 1.0, "tokens": 1.0, "sequence": 0.5}
