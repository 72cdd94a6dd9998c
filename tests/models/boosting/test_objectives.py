"""Residuals and stage objectives: against autograd, an explicit Hessian, and boosting worked by hand."""

import pytest
import torch
import torch.nn.functional as F

from models.boosting import objectives
from models.boosting.objectives import (
    IGNORE,
    fisher_matrix,
    hidden_residual,
    mse_by_products,
    quadratic_loss,
    residual_of,
)

N, C, V = 13, 4, 5


@pytest.fixture
def case():
    """hidden (N, C), head (V, C), targets (N,) of which two are ignored; float64."""
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(N, C, generator=generator, dtype=torch.float64)
    weight = torch.randn(V, C, generator=generator, dtype=torch.float64)
    targets = torch.randint(0, V, (N,), generator=generator)
    targets[[3, 12]] = IGNORE
    return hidden, weight, targets


def test_gbft2_residuals_are_minus_the_gradient_of_the_loss(case):
    hidden, weight, targets = case
    leaf = hidden.clone().requires_grad_()
    logits = leaf @ weight.T
    logits.retain_grad()
    F.cross_entropy(logits, targets, ignore_index=IGNORE, reduction="sum").backward()
    torch.testing.assert_close(hidden_residual(hidden, weight, targets), -leaf.grad, rtol=0, atol=1e-12)
    counted = targets != IGNORE
    residual = residual_of(hidden[counted], weight, targets[counted]).residual_nV
    torch.testing.assert_close(residual, -logits.grad[counted], rtol=0, atol=1e-12)


def test_gbft3_mse_without_a_vocabulary_is_mse(case):
    hidden, weight, targets = case
    delta = torch.randn_like(hidden)
    rho = hidden_residual(hidden, weight, targets)
    counted = targets != IGNORE
    at = residual_of(hidden[counted], weight, targets[counted])
    plain = 0.5 * (delta[counted] @ weight.T - at.residual_nV).square().sum(1)
    products = mse_by_products(delta[counted], rho[counted], at.residual_nV.square().sum(1), weight)
    torch.testing.assert_close(products, plain, rtol=0, atol=1e-12)
    torch.testing.assert_close(quadratic_loss("mse", delta, hidden, weight, targets)[0], plain.sum())


def test_newton_step_solves_the_explicit_hessian_on_five_tokens():
    """One token: h that zeroes the gradient of `newton` is (diag p - p p^T + lambda/V)^-1 r."""
    logits = torch.tensor([[0.3, -1.0, 2.0, 0.5, 0.0]], dtype=torch.float64)
    at = residual_of(logits, torch.eye(5, dtype=torch.float64), torch.tensor([1]))
    p, r = at.probs_nV[0], at.residual_nV[0]
    hessian = torch.diag(p) - p[:, None] * p[None]
    h = torch.linalg.solve(hessian + 0.1 / 5 * torch.eye(5, dtype=torch.float64), r)
    loss, gradient = objectives.newton(h[None], at, 0.1)
    assert gradient.abs().max() < 1e-12
    expected = -r @ h + 0.5 * h @ hessian @ h + 0.05 * h.square().mean()
    torch.testing.assert_close(loss[0], expected)


def test_gbft4_newton_is_the_loss_to_second_order(case):
    hidden, weight, targets = case
    delta = torch.randn(N, C, dtype=torch.float64, generator=torch.Generator().manual_seed(1))

    def error(t):
        true = F.cross_entropy((hidden + t * delta) @ weight.T, targets, ignore_index=IGNORE, reduction="sum")
        return abs(float(quadratic_loss("newton", t * delta, hidden, weight, targets)[0] - true))

    assert 7.0 < error(0.02) / error(0.01) < 9.0  # O(t^3)


@pytest.mark.parametrize("name", ["mse", "newton", "newton_diag", "fisher"])
def test_gradients_in_closed_form_are_those_of_the_losses(case, name):
    hidden, weight, targets = case
    curvature = fisher_matrix(hidden, weight, targets) if name == "fisher" else None
    delta = torch.randn(N, C, dtype=torch.float64, requires_grad=True)

    def loss(x):
        return quadratic_loss(name, x, hidden, weight, targets, strength=0.1, curvature_CC=curvature)[0]

    assert torch.autograd.gradcheck(loss, (delta,))


def test_fisher_matrix_is_the_mean_of_explicit_hessians(case):
    hidden, weight, targets = case
    counted = targets != IGNORE
    total = torch.zeros(C, C, dtype=torch.float64)
    for p in (hidden[counted] @ weight.T).softmax(-1):
        total += weight.T @ (torch.diag(p) - p[:, None] * p[None]) @ weight
    expected = total / counted.sum() + 1e-3 * torch.eye(C, dtype=torch.float64)
    torch.testing.assert_close(fisher_matrix(hidden, weight, targets), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("size", [1, 4, 5, 100])
def test_gbft6_ragged_chunks_and_ignored_tokens_change_nothing(case, size, monkeypatch):
    hidden, weight, targets = case
    delta = torch.randn(N, C, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    whole = quadratic_loss("newton", delta, hidden, weight, targets)
    monkeypatch.setattr(objectives, "CHUNK_TOKENS", size)
    parts = quadratic_loss("newton", delta, hidden, weight, targets)
    torch.testing.assert_close(parts, whole)
    counted = targets != IGNORE
    alone = quadratic_loss("newton", delta[counted], hidden[counted], weight, targets[counted])
    torch.testing.assert_close(parts[0], alone[0])
    assert (parts[1][~counted] == 0).all()


def test_boosting_a_linear_toy_is_gradient_boosting_worked_by_hand():
    """Two classes, no features: each stage's constant learner is the mean residual; eta 0.5, two stages.

    y = (0, 0, 0, 1). F_0 = (0, 0): p = (1/2, 1/2), mean residual (1/4, -1/4). F_1 = (1/8, -1/8);
    p_0 = 1 / (1 + e^(-1/4)); mean residual 3/4 - p_0 for class 0.
    """
    weight, targets = torch.eye(2, dtype=torch.float64), torch.tensor([0, 0, 0, 1])
    ensemble = torch.zeros(4, 2, dtype=torch.float64)
    found = []
    for _ in range(2):
        constant = torch.zeros(2, dtype=torch.float64, requires_grad=True)
        loss, _ = quadratic_loss("mse", constant.expand(4, 2), ensemble, weight, targets)
        (slope,) = torch.autograd.grad(loss, constant)  # quadratic with Hessian 4 I: one Newton step is exact
        fitted = -slope / 4
        found.append(fitted)
        ensemble = ensemble + 0.5 * fitted
    p = 1 / (1 + torch.exp(torch.tensor(-0.25, dtype=torch.float64)))
    torch.testing.assert_close(found[0], torch.tensor([0.25, -0.25], dtype=torch.float64))
    torch.testing.assert_close(found[1], torch.stack([0.75 - p, p - 0.75]))
