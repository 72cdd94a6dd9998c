"""What an update minimises: a stage fits its learner to the ensemble before it; corrective steps fit all of them.

    stage m:     sum over tokens of L(G_{m-1}, Delta_m, y), with eta 1: its step is chosen afterwards
    corrective:  sum over tokens of CE(G_M W^T, y)          GrowNet's corrective step, 2002.07971

Of pairs the sums are over pairs (pair_loss.py).

Shapes: B rows, T tokens, N = B T, C channels, V vocabulary.
"""

import torch
from torch import Tensor

from batch import IGNORE, Batch
from models.base import Output
from models.boosting.ensemble import Boosted
from models.boosting.objectives import fisher_matrix, focus_weights, quadratic_loss
from models.boosting.pair_loss import pair_losses, row_log_probs
from models.boosting.passes import Inputs
from models.boosting.states import RowStates
from models.boosting.units import Tokens, Unit
from models.layers.loss import linear_cross_entropy
from models.preference_losses import sum_over


def stage_loss(
    model: Boosted, states: RowStates, micro: Batch, m: int, *, curvature_CC: Tensor | None = None
) -> Output:
    """The loss of stage m, differentiable in its learner alone; `curvature_CC` is asked for by fisher."""
    inputs, ensemble_BTC = read(states, micro, stage=model.plan.seen_by(m))
    weights_N = token_weights(model, micro, so_far(model, m, inputs, ensemble_BTC))
    if model.plan.objective == "ce":
        with model.in_training([model.learners[m]]):
            state_BTC = with_learner(model, m, inputs, ensemble_BTC)
        return _of_state(model, inputs, state_BTC, micro, weights_N)
    with model.in_training([model.learners[m]]):
        delta_BTC = model.correction(m, inputs)
    loss, nll_N = quadratic_loss(
        model.plan.objective,
        delta_BTC.flatten(0, 1),
        ensemble_BTC.flatten(0, 1),
        model.head.weight,
        micro["targets"].flatten(),
        strength=model.plan.newton_lambda,
        curvature_CC=curvature_CC,
        weights_N=weights_N,
    )
    return Output(inputs.hidden_BTC, loss, nll_N.view_as(micro["targets"]))


def corrective_loss(model: Boosted, states: RowStates, micro: Batch) -> Output:
    """The loss of the whole ensemble, differentiable in all learners that were kept."""
    inputs, _ = read(states, micro, stage=0)
    with model.in_training(list(model.learners)):
        state_BTC = with_all(model, inputs)
    return _of_state(model, inputs, state_BTC, micro, token_weights(model, micro, state_BTC.detach()))


def read(states: RowStates, micro: Batch, *, stage: int) -> tuple[Inputs, Tensor]:
    """What a learner of stage `stage` reads of a batch, and G_{stage}."""
    return states.read(micro["ids"], micro.get("documents"), stage=stage, lengths_B=micro.get("lengths"))


def with_learner(model: Boosted, m: int, inputs: Inputs, ensemble_BTC: Tensor) -> Tensor:
    """G_{m-1} + Delta_m, or in weight space the network with this stage's update on top."""
    if model.plan.space == "weight":
        return model.bent_state(inputs, model.weights(m, current=1.0))
    return ensemble_BTC + model.correction(m, inputs)


def with_all(model: Boosted, inputs: Inputs) -> Tensor:
    """G_M, each learner with the step that was chosen for it."""
    count, state_BTC = model.plan.stages, inputs.hidden_BTC
    if model.plan.space == "weight":
        return model.bent_state(inputs, model.weights(count))
    for m in range(count):
        if (eta := model.eta(m, of=count)) != 0:
            state_BTC = state_BTC + eta * model.correction(m, inputs)
    return state_BTC


@torch.no_grad()
def so_far(model: Boosted, m: int, inputs: Inputs, ensemble_BTC: Tensor) -> Tensor:
    """What the ensemble says before stage m, for `focus`; in weight space rows keep only what the base says."""
    if model.plan.focus and model.plan.space == "weight":
        return model.bent_state(inputs, model.weights(m))
    return ensemble_BTC


@torch.no_grad()
def token_weights(model: Boosted, micro: Batch, ensemble_BTC: Tensor) -> Tensor | None:
    """(N,), of each token in the loss: those of the data, and more where the ensemble is wrong, if `focus` is set."""
    given_N = micro["weights"].flatten() if "weights" in micro else None
    if model.plan.focus == 0:
        return given_N
    targets_N = micro["targets"].flatten()
    _, nll_N = linear_cross_entropy(ensemble_BTC.flatten(0, 1), model.head.weight, targets_N, softcap=model.softcap)
    focus_N = focus_weights(nll_N, targets_N != IGNORE, model.plan.focus)
    return focus_N if given_N is None else focus_N * given_N


def stage_curvature(model: Boosted, states: RowStates, dev: list[Unit], m: int) -> Tensor:
    """(C, C), fisher's matrix of stage m, from the dev part."""
    rows = [row.to(model.head.weight.device) for row in dev]
    hidden_NC = torch.cat(
        [
            states.read(row.ids_RT, row.documents_RT, stage=model.plan.seen_by(m), lengths_B=row.lengths_R)[1][0]
            for row in rows
        ]
    )
    targets_N = torch.cat([row.targets_RT[0] for row in rows])
    return fisher_matrix(hidden_NC, model.head.weight.detach(), targets_N)


def _of_state(model: Boosted, inputs: Inputs, state_BTC: Tensor, micro: Batch, weights_N: Tensor | None) -> Output:
    """The loss of final hidden states."""
    targets_BT = micro["targets"]
    if model.plan.of_pairs:
        counted_BT = targets_BT != IGNORE
        tokens = Tokens(targets_BT[counted_BT], counted_BT.nonzero()[:, 0], micro["reference"])
        log_probs_B = row_log_probs(model, state_BTC[counted_BT], tokens)
        loss_P, told = pair_losses(log_probs_B, micro["reference"], model.plan.beta)
        return Output(inputs.hidden_BTC, loss_P.sum(), None, sums=sum_over(torch.ones_like(loss_P).bool(), told))
    loss, nll_N = linear_cross_entropy(
        state_BTC.flatten(0, 1), model.head.weight, targets_BT.flatten(), softcap=model.softcap, weights_N=weights_N
    )
    return Output(inputs.hidden_BTC, loss, nll_N.view_as(targets_BT))
