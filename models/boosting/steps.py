"""How far to go along a fitted stage: eta that minimises phi(eta) = mean CE((G + eta Delta) W^T, y) on the dev part.

phi is convex, since logits are linear in eta. Its derivatives cost one pass over the dev tokens in chunks:

    phi'  = mean(<p_eta, h> - h_y)        phi'' = mean(Var_{p_eta}(h))

Under a soft cap of the logits, or where the stage bends the network's weights, phi need not be convex: golden section.

Shapes: N dev tokens, C channels, V vocabulary, M stages.
"""

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from models.boosting.objectives import chunks, logits_of

RELATIVE_TOLERANCE = 1e-3
MAX_ITERATIONS = 25
GOLDEN = (math.sqrt(5) - 1) / 2
Derivatives = Callable[[float], tuple[float, float, float]]


def along(hidden_NC: Tensor, delta_NC: Tensor, weight_VC: Tensor, targets_N: Tensor) -> Derivatives:
    """phi, phi' and phi'' as a function of eta."""

    @torch.no_grad()
    def at(eta: float) -> tuple[float, float, float]:
        sums, count = torch.zeros(3, dtype=torch.float64), 0
        for rows in chunks(targets_N):
            h = logits_of(delta_NC[rows], weight_VC)
            logp = (logits_of(hidden_NC[rows], weight_VC) + eta * h).log_softmax(-1)
            probs, y = logp.exp(), targets_N[rows][:, None]
            mean = (probs * h).sum(1)
            variance = (probs * (h - mean[:, None]).square()).sum(1)
            parts = (-logp.gather(1, y).squeeze(1), mean - h.gather(1, y).squeeze(1), variance)
            sums += torch.stack([part.double().sum() for part in parts]).cpu()
            count += len(rows)
        return tuple((sums / max(1, count)).tolist())

    return at


def line_search(derivatives: Derivatives, *, eta_max: float) -> float:
    """argmin of a convex phi over [0, eta_max]: Newton steps from 0, bisection where they leave the bracket.

    0 where phi does not fall at 0.
    """
    _, slope, curvature = derivatives(0.0)
    if slope >= 0:
        return 0.0
    low, high, eta = 0.0, math.inf, 0.0
    for _ in range(MAX_ITERATIONS):
        step = -slope / curvature if curvature > 0 else math.inf
        proposed = eta + step
        if not low <= proposed <= high:
            proposed = 2 * max(low, 0.5) if math.isinf(high) else (low + high) / 2
        proposed = min(proposed, eta_max)
        converged = abs(proposed - eta) <= RELATIVE_TOLERANCE * max(abs(proposed), 1e-6)
        eta = proposed
        _, slope, curvature = derivatives(eta)
        if converged or slope == 0 or (eta == eta_max and slope < 0):
            break
        if slope < 0:
            low = eta
        else:
            high = eta
    return eta


def golden_section(phi: Callable[[float], float], *, eta_max: float, iterations: int = 18) -> float:
    """Minimum of phi over [0, eta_max] without derivatives; doubles its bracket from 1 on; 0 where nothing is below."""
    high, best = min(1.0, eta_max), phi(0.0)
    start = best
    while high < eta_max and phi(2 * high) < phi(high):
        high = min(2 * high, eta_max)
    low, high = 0.0, min(2 * high, eta_max)
    a, b = high - GOLDEN * (high - low), low + GOLDEN * (high - low)
    at_a, at_b = phi(a), phi(b)
    for _ in range(iterations):
        if at_a <= at_b:
            high, b, at_b = b, a, at_a
            a = high - GOLDEN * (high - low)
            at_a = phi(a)
        else:
            low, a, at_a = a, b, at_b
            b = low + GOLDEN * (high - low)
            at_b = phi(b)
    eta, value = (a, at_a) if at_a <= at_b else (b, at_b)
    return eta if value < start else 0.0


@torch.no_grad()
def refit(
    hidden_NC: Tensor,
    deltas_NC: Sequence[Tensor],
    etas: Sequence[float],
    weight_VC: Tensor,
    targets_N: Tensor,
    *,
    ridge: float = 1e-4,
    iterations: int = 10,
) -> list[float]:
    """All etas at once, from `etas` on: damped Newton on the convex mean CE((G_0 + sum a_j Delta_j) W^T, y)."""
    start = torch.tensor(list(etas), dtype=torch.float64)
    current = start.clone()

    def penalised(a: Tensor) -> tuple[float, Tensor, Tensor]:
        value, gradient, hessian = _joint(hidden_NC, deltas_NC, a, weight_VC, targets_N)
        away = a - start
        return value + ridge / 2 * float(away @ away), gradient + ridge * away, hessian + ridge * torch.eye(len(a))

    value, gradient, hessian = penalised(current)
    for _ in range(iterations):
        step, size = torch.linalg.solve(hessian, gradient), 1.0
        while size > 1e-3:
            tried = penalised(current - size * step)
            if tried[0] < value:
                break
            size /= 2
        else:
            break
        gained = value - tried[0]
        current = current - size * step
        value, gradient, hessian = tried
        if gained < 1e-7:
            break
    return current.tolist()


def _joint(hidden_NC, deltas_NC, a, weight_VC, targets_N) -> tuple[float, Tensor, Tensor]:
    """Mean loss, its gradient g_j = E[<p, h_j> - h_{j,y}] and Hessian H_jk = E[Cov_p(h_j, h_k)]."""
    M, count = len(a), 0
    loss, gradient = 0.0, torch.zeros(M, dtype=torch.float64)
    hessian = torch.zeros(M, M, dtype=torch.float64)
    for rows in chunks(targets_N):
        h_MnV = torch.stack([logits_of(delta[rows], weight_VC) for delta in deltas_NC]).double()
        base = logits_of(hidden_NC[rows], weight_VC).double()
        logp = (base + torch.einsum("m,mnv->nv", a.to(base.device), h_MnV)).log_softmax(-1)
        probs, y = logp.exp(), targets_N[rows]
        at = torch.arange(len(rows), device=y.device)
        mean_Mn = torch.einsum("nv,mnv->mn", probs, h_MnV)
        loss -= float(logp[at, y].sum())
        gradient += (mean_Mn - h_MnV[:, at, y]).sum(1).cpu()
        centred = h_MnV - mean_Mn[..., None]
        hessian += torch.einsum("nv,jnv,knv->jk", probs, centred, centred).cpu()
        count += len(rows)
    return loss / count, gradient / count, hessian / count
