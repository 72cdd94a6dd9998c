"""Step sizes: derivatives against autograd, minima against a grid and a known quadratic."""

import pytest
import torch
import torch.nn.functional as F

from models.boosting.steps import along, golden_section, line_search, refit

N, C, V = 40, 4, 7


@pytest.fixture
def case():
    generator = torch.Generator().manual_seed(3)
    hidden, delta = (torch.randn(N, C, generator=generator, dtype=torch.float64) for _ in range(2))
    weight = torch.randn(V, C, generator=generator, dtype=torch.float64)
    targets = (hidden + 0.8 * delta) @ weight.T
    return hidden, delta, weight, targets.argmax(1)


def test_gbft5_derivatives_are_those_of_autograd(case):
    hidden, delta, weight, targets = case
    eta = torch.tensor(0.37, dtype=torch.float64, requires_grad=True)
    loss = F.cross_entropy((hidden + eta * delta) @ weight.T, targets)
    (first,) = torch.autograd.grad(loss, eta, create_graph=True)
    (second,) = torch.autograd.grad(first, eta)
    expected = (loss.item(), first.item(), second.item())
    assert along(hidden, delta, weight, targets)(0.37) == pytest.approx(expected, abs=1e-12)


def test_gbft5_line_search_is_below_a_grid(case):
    phi = along(*case)
    eta = line_search(phi, eta_max=50)
    assert phi(eta)[0] <= min(phi(e)[0] for e in torch.linspace(0, 2 * eta, 101).tolist()) + 1e-6
    assert phi(eta)[0] < phi(0.0)[0]
    assert golden_section(lambda e: phi(e)[0], eta_max=50) == pytest.approx(eta, rel=0.02)


def test_line_search_finds_the_minimum_of_a_known_quadratic():
    assert line_search(lambda e: ((e - 3) ** 2, 2 * (e - 3), 2.0), eta_max=50) == pytest.approx(3.0)
    assert line_search(lambda e: ((e - 3) ** 2, 2 * (e - 3), 2.0), eta_max=2) == 2  # the bound
    # a curvature that lies: bisection has to help
    assert line_search(lambda e: ((e - 3) ** 2, 2 * (e - 3), 0.01), eta_max=50) == pytest.approx(3.0, rel=0.01)
    assert golden_section(lambda e: (e - 3) ** 2, eta_max=50) == pytest.approx(3.0, rel=0.01)


def test_gbft5_a_learner_that_cannot_help_gets_zero(case):
    hidden, delta, weight, targets = case
    assert line_search(along(hidden, torch.zeros_like(delta), weight, targets), eta_max=50) == 0
    worse = -(torch.eye(V, dtype=torch.float64)[targets] @ weight)
    assert line_search(along(hidden, worse, weight, targets), eta_max=50) == 0
    assert golden_section(lambda e: e, eta_max=50) == 0


def test_refitting_all_etas_finds_the_joint_minimum(case):
    hidden, delta, weight, targets = case
    other = torch.randn(N, C, dtype=torch.float64, generator=torch.Generator().manual_seed(9))
    targets = torch.randint(0, V, (N,), generator=torch.Generator().manual_seed(4))
    found = torch.tensor(refit(hidden, [delta, other], [0.1, 0.1], weight, targets, ridge=0.0, iterations=50))
    found.requires_grad_()
    loss = F.cross_entropy((hidden + found[0] * delta + found[1] * other) @ weight.T, targets)
    (slope,) = torch.autograd.grad(loss, found)
    assert slope.abs().max() < 1e-3
