"""Boosting on pairs: DPO's loss of whole answers out of flat tokens, and the residual that is left to a stage."""

import math
from functools import partial

import pytest
import torch

from batch import IGNORE
from errors import RequestError
from models.boosting.ensemble import Boosted
from models.boosting.learners.lora import LoRA
from models.boosting.losses import stage_loss
from models.boosting.objectives import hidden_residual
from models.boosting.pair_loss import pair_losses, row_log_probs
from models.boosting.plan import Plan
from models.boosting.stage import closing, dev_loss, mean_loss
from models.boosting.states import RowStates
from models.boosting.units import joined, units_of
from models.gpt import GPT
from models.preference_losses import Knobs, Pairs, sigmoid
from tests.pairs import VOCAB, as_pairs, make_pairs

PLAN = {"loss": "dpo", "beta": 0.5, "steps_per_stage": 3, "stages": 2}


def boosted(**plan) -> Boosted:
    torch.manual_seed(3)
    base = GPT(vocab_size=VOCAB, seq_len=24, n_layer=3, n_head=2, n_embd=16)
    for p in base.parameters():
        torch.nn.init.normal_(p, std=0.3)
    model = Boosted(base=base, learner=partial(LoRA, rank=2), plan=Plan(**PLAN | plan), seed=0).double()
    for learner in model.learners:  # as if they had learned something
        for p in learner.parameters():
            torch.nn.init.normal_(p, std=0.2)
    return model


def micro(n: int = 4, **more):
    batch = as_pairs(make_pairs(n)).micro(range(n), **more)
    reference = torch.linspace(-9, -4, len(batch["ids"]), dtype=torch.float64)
    return batch | {"reference": reference}


def naive(model, state_BTC, batch) -> torch.Tensor:
    """The loss of each pair out of all logits."""
    logp = (state_BTC @ model.head.weight.T).log_softmax(-1)
    targets = batch["targets"]
    token = logp.gather(-1, targets.clamp_min(0)[..., None])[..., 0]
    chosen, rejected = (token * (targets != IGNORE)).sum(1).chunk(2)
    ref_chosen, ref_rejected = batch["reference"].chunk(2)
    margin = (chosen - ref_chosen) - (rejected - ref_rejected)
    return -torch.nn.functional.logsigmoid(model.plan.beta * margin)


def test_a_loss_worked_by_hand():
    """Log-ratios of +1 and -1 are a margin of 2; of 0 and 0 one of 0."""
    log_probs, reference = torch.tensor([-1.0, -5.0, -3.0, -7.0]), torch.tensor([-2.0, -5.0, -2.0, -7.0])
    loss_P, told = pair_losses(log_probs, reference, 0.5)
    torch.testing.assert_close(loss_P, torch.tensor([math.log1p(math.exp(-1)), math.log(2)]))
    assert told["rewards/margins"].tolist() == [1.0, 0.0]
    assert told["rewards/accuracies"].tolist() == [1.0, 0.0]  # a tie is not right
    one = torch.ones(2)
    pairs = Pairs(*log_probs.chunk(2), *reference.chunk(2), one, one)
    assert torch.equal(loss_P, sigmoid(pairs, Knobs(0.5)))


@pytest.mark.parametrize("space", ["logit", "weight"])
def test_a_stage_is_fitted_to_dpo_of_the_ensemble_with_it(space):
    model, batch = boosted(space=space), micro()
    model.etas[0], model.closed = 0.7, torch.tensor(1)
    out = stage_loss(model, RowStates(model, None, dtype=torch.float64), batch, 1)
    assert out.loss is not None
    with torch.no_grad():
        inputs = model.inputs(batch["ids"])
        if space == "weight":
            state = model.bent_state(inputs, [0.7, 1.0])
        else:
            state = inputs.hidden_BTC + 0.7 * model.correction(0, inputs) + model.correction(1, inputs)
        expected = naive(model, state, batch)
    # states of rows are kept in float32: 6e-8 of each, some thousand of which make a log-probability
    assert out.loss.item() == pytest.approx(expected.sum().item(), abs=1e-5)
    out.loss.backward()
    grads = [[p.grad is not None and bool(p.grad.any()) for p in learner.parameters()] for learner in model.learners]
    assert not any(grads[0])
    assert all(grads[1])


def test_what_is_left_to_a_stage_is_the_margins_residual():
    """-dloss/dG: beta sigmoid(-beta margin) times what cross-entropy leaves, the other way in rejected answers."""
    model, batch = boosted(), micro()
    state = model.inputs(batch["ids"]).hidden_BTC.detach().requires_grad_()
    naive(model, state, batch).sum().backward()
    with torch.no_grad():
        margin_P = torch.log(torch.expm1(naive(model, state, batch))).neg() / model.plan.beta
        weight_P = model.plan.beta * torch.sigmoid(-model.plan.beta * margin_P)
        rho = hidden_residual(state.flatten(0, 1), model.head.weight, batch["targets"].flatten()).view_as(state)
        expected = torch.cat([weight_P, -weight_P])[:, None, None] * rho
    torch.testing.assert_close(-state.grad, expected, rtol=1e-10, atol=1e-12)


def test_the_dev_part_is_told_as_a_batch_of_its_pairs_would_be():
    """Pairs of other lengths lie side by side, first rows before second ones."""
    model, batch = boosted(), micro()
    states = RowStates(model, None, dtype=torch.float64)
    reference_PR = batch["reference"].view(2, -1).T
    units = units_of(batch, model.plan)
    rows = [unit._replace(reference_R=reference_PR[i]) for i, unit in enumerate(units)]
    tokens = joined(rows)
    assert torch.equal(tokens.reference_R, batch["reference"])
    inputs = model.inputs(batch["ids"])
    hidden = torch.cat([inputs.hidden_BTC[i::4][row.targets_RT != IGNORE] for i, row in enumerate(rows)])
    expected = naive(model, inputs.hidden_BTC, batch)
    assert mean_loss(model, hidden, tokens) == pytest.approx(expected.mean().item(), abs=1e-9)
    assert dev_loss(model, states, rows, stage=0) == pytest.approx(expected.mean().item(), abs=1e-5)
    single = [row._replace(reference_R=row.reference_R.float()) for row in rows]
    delta = model.correction(0, inputs).detach()
    record = closing(model.float(), RowStates(model, None), single, 0)
    eta = model.plan.eta if record["eta_best"] is None else record["eta_best"]
    after = naive(model.double(), inputs.hidden_BTC + eta * delta, batch).mean().item()
    assert record["dev/before"] == pytest.approx(expected.mean().item(), abs=1e-4)
    assert record["dev/after"] == pytest.approx(after, abs=1e-4)
    assert 0 <= record["dev/accuracy"] <= 1
    assert "r2" not in record


def test_a_step_is_searched_for_along_dpos_loss_not_along_that_of_tokens():
    """No step on a grid is better than the one that is found; of a learner or of its opposite, one helps."""
    found = []
    for sign in (1, -1):
        model, batch = boosted(eta_rule="line_search", eta_max=3.0), micro()
        for name, p in model.learners[0].named_parameters():
            if name.startswith("up"):
                p.data *= sign
        delta = model.correction(0, model.inputs(batch["ids"])).detach()
        reference_PR = batch["reference"].view(2, -1).T.float()
        rows = [u._replace(reference_R=reference_PR[i]) for i, u in enumerate(units_of(batch, model.plan))]
        hidden = model.inputs(batch["ids"]).hidden_BTC
        grid = [naive(model, hidden + eta * delta, batch).mean().item() for eta in torch.linspace(0, 3, 61).tolist()]
        record = closing(model.float(), RowStates(model, None), rows, 0)
        assert record["dev/after"] <= min(grid) + 1e-4
        found.append(record["eta_best"])
    assert max(found) > 0.01


def test_a_row_counts_its_own_tokens_alone():
    model, batch = boosted(), micro()
    tokens = joined([u._replace(reference_R=torch.zeros(2)) for u in units_of(batch, model.plan)])
    hidden = torch.randn(len(tokens.targets_N), 16, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    nll = -(hidden @ model.head.weight.T).log_softmax(-1).gather(1, tokens.targets_N[:, None])[:, 0]
    expected = torch.stack([-nll[tokens.rows_N == r].sum() for r in range(8)])
    torch.testing.assert_close(row_log_probs(model, hidden, tokens), expected, rtol=1e-6, atol=1e-6)


def test_a_pull_is_refused_where_nothing_is_pulled():
    with pytest.raises(RequestError, match=r"gbft.beta=0.5 is for gbft.loss=dpo[\s\S]*Type gbft.beta=0.1"):
        Plan(beta=0.5)
    assert Plan(loss="dpo", beta=0.5).beta == 0.5


@pytest.mark.parametrize(
    "wrong",
    [{"objective": "newton", "eta_rule": "line_search"}, {"refit_etas": True}, {"focus": 1.0}, {"token_fraction": 0.5}],
)
def test_what_weighs_single_tokens_is_refused(wrong):
    with pytest.raises(RequestError, match=r"gbft.loss=dpo[\s\S]*Type gbft.objective=ce"):
        Plan(**PLAN | wrong)
