"""What a stage is fitted to: pure functions of what the ensemble says so far and what the learner adds.

The ensemble lives in hidden space: F_m = G_m W^T with G_m = G_{m-1} + eta_m Delta_m, because the head W is linear and
frozen. A learner's logits are h = Delta W^T. Residuals (tokens x vocabulary) are never held whole: everything walks
over the tokens in chunks, and each objective gives its gradient with respect to h in closed form.

    r = onehot(y) - softmax(F_{m-1}),  p = softmax(F_{m-1}),  both without gradient

Shapes: N tokens, n tokens of a chunk, C channels, V vocabulary.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from batch import IGNORE

WEIGHT_FLOOR = 1e-3  # smallest curvature p(1-p) that newton_diag divides by
CHUNK_TOKENS = 1024  # rows of logits at a time: 200 MB in fp32 at V = 50,257


class Residual(NamedTuple):
    """What a chunk of tokens has to say about F_{m-1}."""

    probs_nV: Tensor
    residual_nV: Tensor  # onehot(y) - probs
    nll_n: Tensor


def logits_of(hidden_nC: Tensor, weight_VC: Tensor, softcap: float | None = None) -> Tensor:
    """Logits in float32 (float64 stays)."""
    logits = hidden_nC @ weight_VC.T
    logits = logits if logits.dtype == torch.float64 else logits.float()
    return logits if softcap is None else softcap * torch.tanh(logits / softcap)


def residual_of(hidden_nC: Tensor, weight_VC: Tensor, targets_n: Tensor, softcap: float | None = None) -> Residual:
    """softmax, onehot - softmax, and the loss of each target, none of which may be `IGNORE`."""
    logp = logits_of(hidden_nC, weight_VC, softcap).log_softmax(-1)
    probs = logp.exp()
    residual = (-probs).scatter_add_(1, targets_n[:, None], torch.ones_like(probs[:, :1]))
    return Residual(probs, residual, -logp.gather(1, targets_n[:, None]).squeeze(1))


def hidden_residual(hidden_NC: Tensor, weight_VC: Tensor, targets_N: Tensor) -> Tensor:
    """rho = W^T r, (N, C): minus the gradient of each token's cross-entropy with respect to its hidden state."""
    found = torch.zeros_like(hidden_NC)
    for rows in chunks(targets_N):
        found[rows] = residual_of(hidden_NC[rows], weight_VC, targets_N[rows]).residual_nV @ weight_VC
    return found


def chunks(targets_N: Tensor, size: int | None = None) -> Iterator[Tensor]:
    """Indices of the tokens that count, some at a time."""
    counted = (targets_N != IGNORE).nonzero().squeeze(1)
    yield from counted.split(size or CHUNK_TOKENS) if len(counted) else ()


# (h, residual, strength) -> loss of each token (n,), its gradient with respect to h (n, V)
Quadratic = Callable[[Tensor, Residual, float], tuple[Tensor, Tensor]]


def mse(h_nV: Tensor, at: Residual, strength: float) -> tuple[Tensor, Tensor]:
    """1/2 ||h - r||^2: the literal recipe of gradient boosting, the learner regressed on the residuals."""
    gap = h_nV - at.residual_nV
    return 0.5 * gap.square().sum(1), gap


def newton(h_nV: Tensor, at: Residual, strength: float) -> tuple[Tensor, Tensor]:
    """-<r, h> + 1/2 Var_p(h) + strength/2 mean(h^2): the loss to second order, with softmax's whole Hessian.

    diag(p) - p p^T is applied, never built.
    """
    mean = (at.probs_nV * h_nV).sum(1, keepdim=True)
    curved = at.probs_nV * (h_nV - mean)  # Hessian times h
    damped = strength / h_nV.shape[1] * h_nV
    loss = (h_nV * (0.5 * (curved + damped) - at.residual_nV)).sum(1)
    return loss, curved + damped - at.residual_nV


def newton_diag(h_nV: Tensor, at: Residual, strength: float) -> tuple[Tensor, Tensor]:
    """1/2 sum w h^2 - <r, h>, w = max(p(1-p), floor): XGBoost's and GrowNet's form (2002.07971), without dividing by w.

    The same gradient as 1/2 w (h - r/w)^2, whose targets r/w reach 1/p for rare tokens.
    """
    weights = (at.probs_nV * (1 - at.probs_nV)).clamp_min(WEIGHT_FLOOR)
    slope = weights * h_nV
    return (h_nV * (0.5 * slope - at.residual_nV)).sum(1), slope - at.residual_nV


QUADRATICS: dict[str, Quadratic] = {"mse": mse, "newton": newton, "newton_diag": newton_diag}


def quadratic_loss(
    name: str,
    delta_NC: Tensor,
    hidden_NC: Tensor,
    weight_VC: Tensor,
    targets_N: Tensor,
    *,
    strength: float = 0.0,
    curvature_CC: Tensor | None = None,
    weights_N: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Summed loss of one of the quadratic objectives, differentiable in `delta_NC` alone.

    Args:
        name: mse, newton, newton_diag or fisher. delta_NC: the learner's correction. hidden_NC: G_{m-1}.
        strength: newton's lambda. curvature_CC: fisher's matrix (see `fisher_matrix`). weights_N: of each token.

    Returns:
        loss: (). For all but mse the constant CE(F_{m-1}) is added, so that it approximates the loss of F_{m-1} + h.
        nll_N: cross-entropy of F_{m-1}, 0 where ignored.
    """
    if weights_N is None:
        weights_N = torch.ones_like(targets_N, dtype=torch.float32)
    return _Quadratic.apply(delta_NC, hidden_NC.detach(), weight_VC, targets_N, weights_N, name, strength, curvature_CC)


class _Quadratic(torch.autograd.Function):
    @staticmethod
    def forward(ctx, delta_NC, hidden_NC, weight_VC, targets_N, weights_N, name, strength, curvature_CC):
        grad_NC = torch.zeros_like(delta_NC)
        nll_N = torch.zeros(len(targets_N), dtype=hidden_NC.dtype, device=hidden_NC.device)
        total = delta_NC.new_zeros(())
        for rows in chunks(targets_N):
            at = residual_of(hidden_NC[rows], weight_VC, targets_N[rows])
            weights, delta = weights_N[rows].to(delta_NC.dtype), delta_NC[rows]
            nll_N[rows] = at.nll_n.to(nll_N.dtype)
            if name == "fisher":
                rho = at.residual_nV.to(delta.dtype) @ weight_VC
                curved = delta @ curvature_CC
                loss, slope_nC = (delta * (0.5 * curved - rho)).sum(1), curved - rho
            else:
                loss, slope_nV = QUADRATICS[name](logits_of(delta, weight_VC), at, strength)
                slope_nC = slope_nV.to(delta.dtype) @ weight_VC
            constant = 0.0 if name == "mse" else at.nll_n
            total = total + ((loss + constant) * weights).sum().to(total.dtype)
            grad_NC[rows] = slope_nC * weights[:, None]
        ctx.save_for_backward(grad_NC)
        ctx.mark_non_differentiable(nll_N)
        return total, nll_N

    @staticmethod
    def backward(ctx, grad_loss, _):
        (grad_NC,) = ctx.saved_tensors
        return grad_NC * grad_loss, None, None, None, None, None, None, None


def mse_by_products(delta_NC: Tensor, rho_NC: Tensor, square_N: Tensor, weight_VC: Tensor) -> Tensor:
    """`mse`, (N,), without a vocabulary: 1/2 Delta^T K Delta - Delta^T rho + 1/2 ||r||^2, K = W^T W."""
    gram_CC = weight_VC.T @ weight_VC
    return ((delta_NC @ gram_CC) * delta_NC).sum(1) / 2 - (delta_NC * rho_NC).sum(1) + square_N / 2


def fisher_matrix(hidden_NC: Tensor, weight_VC: Tensor, targets_N: Tensor, *, damping: float = 1e-3) -> Tensor:
    """Mean over tokens of W^T (diag p - p p^T) W, plus damping: one (C, C) curvature for all tokens of a stage."""
    total = torch.zeros(weight_VC.shape[1], weight_VC.shape[1], dtype=torch.float64, device=weight_VC.device)
    count = 0
    for rows in chunks(targets_N):
        probs = residual_of(hidden_NC[rows], weight_VC, targets_N[rows]).probs_nV.to(weight_VC.dtype)
        mean_nC = probs @ weight_VC
        total += (weight_VC.T * probs.sum(0)) @ weight_VC - mean_nC.T @ mean_nC
        count += len(rows)
    eye = torch.eye(len(total), dtype=total.dtype, device=total.device)
    return (total / max(1, count) + damping * eye).to(weight_VC.dtype)


def focus_weights(nll_N: Tensor, counted_N: Tensor, focus: float) -> Tensor:
    """(1 - p_y)^focus, mean 1 over tokens that count: more where the ensemble is wrong (focal loss, 1708.02002)."""
    weights = (1 - (-nll_N).exp()).clamp_min(0).pow(focus) * counted_N
    return weights * (counted_N.sum() / weights.sum().clamp_min(1e-12))
