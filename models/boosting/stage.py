"""The end of a stage: how far to go, whether it helped, and what can be said about it. All of it on the dev part.

Shapes: B rows, R rows of a unit or of all, T tokens, N dev tokens, C channels, V vocabulary, P pairs.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from batch import IGNORE
from models.boosting.ensemble import Boosted
from models.boosting.objectives import chunks, logits_of
from models.boosting.pair_loss import pair_losses, row_log_probs
from models.boosting.states import RowStates
from models.boosting.steps import along, golden_section, line_search, refit
from models.boosting.units import Tokens, Unit, joined
from models.layers.loss import linear_cross_entropy

NEGLIGIBLE = 1e-3  # a step below this is none


class Dev(NamedTuple):
    """The tokens of the dev part that count: G before the stage, its correction, what follows them."""

    ensemble_NC: Tensor
    delta_NC: Tensor
    tokens: Tokens

    @property
    def targets_N(self) -> Tensor:
        return self.tokens.targets_N


@torch.no_grad()
def gather(model: Boosted, states: RowStates, rows: list[Unit], m: int, *, seen: int, step: float = 1.0) -> Dev:
    """`step`: of the stage, in weight space."""
    parts: list[tuple[Tensor, ...]] = []
    for row in rows:
        row = row.to(model.head.weight.device)
        inputs, ensemble = states.read(row.ids_RT, row.documents_RT, stage=seen, lengths_B=row.lengths_R)
        if model.plan.space == "weight":
            ensemble = model.bent_state(inputs, model.weights(m))
            delta = model.bent_state(inputs, model.weights(m, current=step)) - ensemble
        else:
            delta = model.correction(m, inputs)
        counted = row.targets_RT != IGNORE
        parts.append((ensemble[counted], delta[counted]))
    ensemble_NC, delta_NC = (torch.cat(tensors) for tensors in zip(*parts, strict=True))
    return Dev(ensemble_NC, delta_NC, joined([row.to(model.head.weight.device) for row in rows]))


def loss_sum(model: Boosted, hidden_NC: Tensor, tokens: Tokens) -> tuple[float, int]:
    """Summed over what its mean is over: tokens, or pairs; and how many these are."""
    hidden_NC, weight = hidden_NC.to(model.head.weight.dtype), model.head.weight
    with torch.no_grad():
        if tokens.reference_R is not None:
            log_probs_R = row_log_probs(model, hidden_NC, tokens)
            loss_P, _ = pair_losses(log_probs_R, tokens.reference_R, model.plan.beta)
            return float(loss_P.sum()), len(loss_P)
        loss, _ = linear_cross_entropy(hidden_NC, weight, tokens.targets_N, softcap=model.softcap)
    return float(loss), len(tokens.targets_N)


def mean_loss(model: Boosted, hidden_NC: Tensor, tokens: Tokens) -> float:
    loss, count = loss_sum(model, hidden_NC, tokens)
    return loss / max(1, count)


def mean_over(model: Boosted, rows: list[Unit], state_of: Callable[[Unit], Tensor]) -> float:
    """Mean loss of rows whose final hidden states, (R, T, C), `state_of` gives."""
    total, count = 0.0, 0
    with torch.no_grad():
        for row in rows:
            row = row.to(model.head.weight.device)
            loss, n = loss_sum(model, state_of(row)[row.targets_RT != IGNORE], row.tokens)
            total, count = total + loss, count + n
    return total / max(1, count)


def dev_loss(model: Boosted, states: RowStates, rows: list[Unit], *, stage: int) -> float:
    """Mean loss of the ensemble of `stage` stages."""

    def state_of(row: Unit) -> Tensor:
        inputs, state = states.read(row.ids_RT, row.documents_RT, stage=stage, lengths_B=row.lengths_R)
        return model.bent_state(inputs, model.weights(stage)) if model.plan.space == "weight" else state

    return mean_over(model, rows, state_of)


def dev_rows_loss(model: Boosted, states: RowStates, rows: list[Unit], m: int, *, eta: float, seen: int) -> float:
    """Mean loss of the ensemble before stage m plus eta times its correction."""
    dev = gather(model, states, rows, m, seen=seen)
    return mean_loss(model, dev.ensemble_NC + eta * dev.delta_NC, dev.tokens)


def closing(model: Boosted, states: RowStates, rows: list[Unit], m: int) -> dict[str, Any]:
    """The record of stage m: eta (0 if it is dropped), whether it is kept, and what it did to the dev part.

    It is judged beside all stages before it, those of its own bag too.
    """
    plan = model.plan
    if plan.ensemble == "bagged":
        return {"eta": 1.0, "kept": True}  # all of them count alike, see Boosted.eta
    if not rows:
        return {"eta": plan.eta * plan.shrinkage, "kept": True}
    dev = gather(model, states, rows, m, seen=m)

    def phi(eta: float) -> float:
        if plan.space == "weight":
            return _weight_space_loss(model, states, rows, m, eta)
        return mean_loss(model, dev.ensemble_NC + eta * dev.delta_NC, dev.tokens)

    before = phi(0.0)
    eta, best = choose(model, dev, phi, before)
    after = phi(eta)
    kept = before - after > plan.tol and eta >= NEGLIGIBLE
    record = {"eta": eta if kept else 0.0, "eta_best": best, "kept": kept, "dev/loss": after if kept else before}
    record |= {"dev/before": before, "dev/after": after}
    if kept and plan.refit_etas and m > 0:
        record["eta"] = _refit(model, states, rows, m, eta)
    return record | describe(model, dev, _moved(model, states, rows, m, dev, eta))


def _moved(model: Boosted, states: RowStates, rows: list[Unit], m: int, dev: Dev, eta: float) -> Tensor:
    """(N, C), the dev part's states with the stage and its step: in weight space no multiple of a correction."""
    if model.plan.space == "weight":
        with_step = gather(model, states, rows, m, seen=m, step=eta)
        return with_step.ensemble_NC + with_step.delta_NC
    return dev.ensemble_NC + eta * dev.delta_NC


def choose(model: Boosted, dev: Dev, phi: Any, before: float) -> tuple[float, float | None]:
    """(step to take, best step where it was looked for). A fixed step that harms gives way to the best one."""
    plan = model.plan
    if plan.eta_rule == "fixed":
        eta = plan.eta * plan.shrinkage
        if plan.literal_recipe or before - phi(eta) > plan.tol:
            return eta, None
    if plan.space == "weight" or plan.of_pairs or model.softcap is not None:
        best = golden_section(phi, eta_max=min(plan.eta_max, 4.0))
    else:
        best = line_search(along(dev.ensemble_NC, dev.delta_NC, model.head.weight, dev.targets_N), eta_max=plan.eta_max)
    return best * plan.shrinkage, best


def _weight_space_loss(model: Boosted, states: RowStates, rows: list[Unit], m: int, eta: float) -> float:
    def state_of(row: Unit) -> Tensor:
        inputs, _ = states.read(row.ids_RT, row.documents_RT, stage=0, lengths_B=row.lengths_R)
        return model.bent_state(inputs, model.weights(m, current=eta))

    return mean_over(model, rows, state_of)


@torch.no_grad()
def _refit(model: Boosted, states: RowStates, rows: list[Unit], m: int, eta: float) -> float:
    """Steps of all stages at once; those of earlier stages are written to the model, the one of stage m returned."""
    active = [j for j in range(m) if float(model.etas[j]) != 0] + [m]
    devs = [gather(model, states, rows, j, seen=0) for j in active]
    start = [float(model.etas[j]) for j in active[:-1]] + [eta]
    head, targets = model.head.weight, devs[0].targets_N
    found = refit(devs[0].ensemble_NC, [dev.delta_NC for dev in devs], start, head, targets)
    for j, value in zip(active[:-1], found, strict=False):
        model.etas[j] = value
    return found[-1]


@torch.no_grad()
def describe(model: Boosted, dev: Dev, moved_NC: Tensor) -> dict[str, float]:
    """Norms and directions, means over dev tokens: of the correction, of the residual, and how they agree.

    moved_NC: where the stage's step leads. Of pairs residuals of tokens say nothing, and are left out.

    edge: cosine of h and r. r2: share of the residuals' variance that the best multiple of h explains.
    kl: KL(F_m || F_{m-1}), how far the stage moved the predictions.
    """
    weight, sums, count = model.head.weight, torch.zeros(8, dtype=torch.float64), 0
    for rows in chunks(dev.targets_N):
        hidden, delta, targets = dev.ensemble_NC[rows], dev.delta_NC[rows], dev.targets_N[rows]
        logp = logits_of(hidden, weight, model.softcap).log_softmax(-1)
        new = logits_of(moved_NC[rows], weight, model.softcap).log_softmax(-1)
        h = logits_of(delta, weight)
        p, y = logp.exp(), targets[:, None]
        r2 = 1 - 2 * p.gather(1, y).squeeze(1) + p.square().sum(1)
        hr = h.gather(1, y).squeeze(1) - (p * h).sum(1)
        hh = h.square().sum(1)
        parts = [hh.sqrt(), r2.sqrt(), hr / (hh * r2).sqrt().clamp_min(1e-12), hr, hh, r2]
        parts += [(new.exp() * (new - logp)).sum(1), (new.argmax(1) == targets).float()]
        sums += torch.stack([part.double().sum() for part in parts]).cpu()
        count += len(rows)
    norm, residual, edge, hr, hh, rr, kl, right = (sums / max(1, count)).tolist()
    if dev.tokens.reference_R is not None:
        return {"learner_norm": norm, "kl": kl} | _preferred(model, dev.tokens, moved_NC)
    return {
        **{"learner_norm": norm, "residual_norm": residual, "edge": edge, "kl": kl, "dev/accuracy": right},
        "r2": hr * hr / max(hh * rr, 1e-12),
    }


def _preferred(model: Boosted, tokens: Tokens, hidden_NC: Tensor) -> dict[str, float]:
    """Of pairs: how many are told right, and by how much, over the reference."""
    assert tokens.reference_R is not None
    _, told_P = pair_losses(row_log_probs(model, hidden_NC, tokens), tokens.reference_R, model.plan.beta)
    return {
        "dev/accuracy": float(told_P["rewards/accuracies"].mean()),
        "dev/margin": float(told_P["rewards/margins"].mean()),
    }
