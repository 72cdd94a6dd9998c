"""The end of a stage: how far to go, whether it helped, and what can be said about it. All of it on the dev part.

Shapes: B rows, T tokens, N dev tokens, C channels, V vocabulary.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from batch import IGNORE
from models.boosting.ensemble import Boosted
from models.boosting.objectives import chunks, logits_of
from models.boosting.plan import Plan
from models.boosting.states import RowStates, row_key, share_of
from models.boosting.steps import along, golden_section, line_search, refit
from models.layers.loss import linear_cross_entropy

NEGLIGIBLE = 1e-3  # a step below this is none


class DevRow(NamedTuple):
    """One row of a batch."""

    ids_1T: Tensor
    targets_1T: Tensor
    documents_1T: Tensor | None = None

    @property
    def documents(self) -> Tensor | None:
        return None if self.documents_1T is None else self.documents_1T[0]

    @property
    def identity(self) -> bytes:
        return identity_of(self.ids_1T[0], self.targets_1T[0], self.documents)

    def to(self, device: torch.device) -> "DevRow":
        return DevRow(*(None if tensor is None else tensor.to(device) for tensor in self))  # type: ignore[arg-type]

    def batch(self, *, like: dict[str, Tensor]) -> dict[str, Tensor]:
        named = {"ids": self.ids_1T, "targets": self.targets_1T, "documents": self.documents_1T}
        return {k: v.to(like["ids"].device) for k, v in named.items() if v is not None and k in like}


def identity_of(ids_T: Tensor, targets_T: Tensor, documents_T: Tensor | None) -> bytes:
    """A hash of a row up to its last target: the same however far it is padded to lie beside longer ones."""
    counted = (targets_T != IGNORE).nonzero()
    end = int(counted[-1]) + 1 if len(counted) else 0
    return row_key(ids_T[:end], None if documents_T is None else documents_T[:end])


def is_dev(key: bytes, seed: int, plan: Plan) -> bool:
    """Whether a row is held out of training, to choose steps; by its hash."""
    return share_of(key, 0, seed) < plan.dev_fraction


class Dev(NamedTuple):
    """Supervised tokens of the dev part, flat: G before the stage, its correction, targets."""

    ensemble_NC: Tensor
    delta_NC: Tensor
    targets_N: Tensor


@torch.no_grad()
def gather(model: Boosted, states: RowStates, rows: list[DevRow], m: int, *, seen: int) -> Dev:
    parts: list[tuple[Tensor, ...]] = []
    for row in rows:
        ids, targets_1T, documents = row.to(model.head.weight.device)
        inputs, ensemble = states.read(ids, documents, stage=seen)
        targets = targets_1T[0]
        if model.plan.space == "weight":
            ensemble = model.bent_state(inputs, model.weights(m))
            delta = model.bent_state(inputs, model.weights(m, current=1.0)) - ensemble
        else:
            delta = model.correction(m, inputs)
        counted = targets != IGNORE
        parts.append((ensemble[0][counted], delta[0][counted], targets[counted]))
    return Dev(*(torch.cat(tensors) for tensors in zip(*parts, strict=True)))


def mean_loss(model: Boosted, hidden_NC: Tensor, targets_N: Tensor) -> float:
    with torch.no_grad():
        weight = model.head.weight
        loss, _ = linear_cross_entropy(hidden_NC.to(weight.dtype), weight, targets_N, softcap=model.softcap)
    return float(loss) / max(1, int((targets_N != IGNORE).sum()))


@torch.no_grad()
def dev_loss(model: Boosted, states: RowStates, rows: list[DevRow], *, stage: int) -> float:
    """Mean loss of the ensemble of `stage` stages."""
    total, count = 0.0, 0
    for row in rows:
        ids, targets, documents = row.to(model.head.weight.device)
        inputs, state = states.read(ids, documents, stage=stage)
        if model.plan.space == "weight":
            state = model.bent_state(inputs, model.weights(stage))
        n = int((targets != IGNORE).sum())
        total, count = total + n * mean_loss(model, state[0], targets[0]), count + n
    return total / max(1, count)


def dev_rows_loss(model: Boosted, states: RowStates, rows: list[DevRow], m: int, *, eta: float, seen: int) -> float:
    """Mean loss of the ensemble before stage m plus eta times its correction."""
    dev = gather(model, states, rows, m, seen=seen)
    return mean_loss(model, dev.ensemble_NC + eta * dev.delta_NC, dev.targets_N)


def closing(model: Boosted, states: RowStates, rows: list[DevRow], m: int) -> dict[str, Any]:
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
        return mean_loss(model, dev.ensemble_NC + eta * dev.delta_NC, dev.targets_N)

    before = phi(0.0)
    eta, best = choose(model, dev, phi, before)
    after = phi(eta)
    kept = before - after > plan.tol and eta >= NEGLIGIBLE
    record = {"eta": eta if kept else 0.0, "eta_best": best, "kept": kept, "dev/loss": after if kept else before}
    record |= {"dev/before": before, "dev/after": after}
    if kept and plan.refit_etas and m > 0:
        record["eta"] = _refit(model, states, rows, m, eta)
    return record | describe(model, dev, eta)


def choose(model: Boosted, dev: Dev, phi: Any, before: float) -> tuple[float, float | None]:
    """(step to take, best step where it was looked for). A fixed step that harms gives way to the best one."""
    plan = model.plan
    if plan.eta_rule == "fixed":
        eta = plan.eta * plan.shrinkage
        if plan.literal_recipe or before - phi(eta) > plan.tol:
            return eta, None
    if plan.space == "weight" or model.softcap is not None:
        best = golden_section(phi, eta_max=min(plan.eta_max, 4.0))
    else:
        best = line_search(along(dev.ensemble_NC, dev.delta_NC, model.head.weight, dev.targets_N), eta_max=plan.eta_max)
    return best * plan.shrinkage, best


def _weight_space_loss(model: Boosted, states: RowStates, rows: list[DevRow], m: int, eta: float) -> float:
    total, count = 0.0, 0
    for row in rows:
        ids, targets, documents = row.to(model.head.weight.device)
        with torch.no_grad():
            inputs, _ = states.read(ids, documents, stage=0)
            state = model.bent_state(inputs, model.weights(m, current=eta))
        n = int((targets != IGNORE).sum())
        total, count = total + n * mean_loss(model, state[0], targets[0]), count + n
    return total / max(1, count)


@torch.no_grad()
def _refit(model: Boosted, states: RowStates, rows: list[DevRow], m: int, eta: float) -> float:
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
def describe(model: Boosted, dev: Dev, eta: float) -> dict[str, float]:
    """Norms and directions, means over dev tokens: of the correction, of the residual, and how they agree.

    edge: cosine of h and r. r2: share of the residuals' variance that the best multiple of h explains.
    kl: KL(F_m || F_{m-1}), how far the stage moved the predictions.
    """
    weight, sums, count = model.head.weight, torch.zeros(8, dtype=torch.float64), 0
    for rows in chunks(dev.targets_N):
        hidden, delta, targets = dev.ensemble_NC[rows], dev.delta_NC[rows], dev.targets_N[rows]
        logp = logits_of(hidden, weight, model.softcap).log_softmax(-1)
        new = logits_of(hidden + eta * delta, weight, model.softcap).log_softmax(-1)
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
    return {
        **{"learner_norm": norm, "residual_norm": residual, "edge": edge, "kl": kl, "dev/accuracy": right},
        "r2": hr * hr / max(hh * rr, 1e-12),
    }
