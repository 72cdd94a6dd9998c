"""Choosing a token: filters, penalty and draws by hand; log-probabilities against the distribution drawn from."""

import pytest
import torch

from errors import RequestError
from models.sampling import GREEDY, Sampling, check_drawn, choose, draw, filter_logits, penalise, uniform

PROBS = torch.tensor([[0.5, 0.3, 0.15, 0.05]])


@pytest.mark.parametrize(
    ("settings", "kept"),
    [
        ({"top_k": 2}, [1, 1, 0, 0]),
        ({"top_k": 9}, [1, 1, 1, 1]),
        ({"top_p": 0.5}, [1, 0, 0, 0]),
        ({"top_p": 0.51}, [1, 1, 0, 0]),  # the token that crosses p is kept
        ({"top_p": 1.0}, [1, 1, 1, 1]),
        ({"top_k": 3, "top_p": 0.6}, [1, 1, 0, 0]),
        ({"min_p": 0.31}, [1, 1, 0, 0]),  # 0.31 * 0.5 = 0.155 > 0.15
        ({"min_p": 1.0}, [1, 0, 0, 0]),
    ],
)
def test_filters_by_hand(settings, kept):
    assert (filter_logits(PROBS.log(), **settings) > -torch.inf).long().tolist() == [kept]


def test_repetition_penalty_by_hand():
    seen = torch.tensor([[True, True, False]])
    assert penalise(torch.tensor([[3.0, -3.0, 3.0]]), seen, 2.0).tolist() == [[1.5, -6.0, 3.0]]


def test_draws_follow_the_probabilities_and_never_take_the_impossible():
    probs = torch.tensor([[0.0, 0.7, 0.0, 0.3, 0.0]]).expand(20_000, 5)
    counts = draw(probs, torch.tensor([uniform(3, row, 0) for row in range(20_000)])).bincount(minlength=5) / 20_000
    assert counts.tolist() == pytest.approx([0, 0.7, 0, 0.3, 0], abs=0.01)
    assert draw(probs[:2], torch.tensor([0.0, 1.0])).tolist() == [1, 3]


def test_log_probabilities_are_those_of_the_distribution_drawn_from():
    how = Sampling(temperature=2.0, top_k=2)
    token, logprob = choose(PROBS.log(), how, torch.tensor([0.99]))
    odds = PROBS[0, :2].sqrt()  # temperature 2
    assert token.item() == 1
    assert logprob.item() == pytest.approx((odds[1] / odds.sum()).log().item(), abs=1e-6)
    token, logprob = choose(PROBS.log() + 7, GREEDY, torch.tensor([0.99]))
    assert (token.item(), logprob.item()) == (0, pytest.approx(PROBS[0, 0].log().item(), abs=1e-6))


def test_uniform_numbers_are_uniform_and_differ_by_row_and_step():
    numbers = torch.tensor([[uniform(1, row, step) for step in range(100)] for row in range(100)])
    assert numbers.min() >= 0
    assert numbers.max() < 1
    assert numbers.unique().numel() > 9_900
    assert numbers.mean().item() == pytest.approx(0.5, abs=0.01)
    assert numbers.var().item() == pytest.approx(1 / 12, abs=0.003)


@pytest.mark.parametrize(
    "wrong", [{"temperature": -1}, {"top_k": 0}, {"top_p": 0}, {"min_p": 2}, {"repetition_penalty": 0}]
)
def test_settings_that_mean_nothing_are_refused(wrong):
    with pytest.raises(RequestError, match=next(iter(wrong))):
        Sampling(**wrong)


@pytest.mark.parametrize(
    ("filters", "named"), [({"top_p": 0.9}, "top_p=0.9"), ({"min_p": 0.1, "top_p": 1.0}, "top_p=1.0 and min_p=0.1")]
)
def test_a_filter_of_draws_is_refused_where_nothing_is_drawn(filters, named):
    check_drawn(Sampling(temperature=0.0, top_k=50))
    check_drawn(Sampling(temperature=0.5, **filters))
    with pytest.raises(RequestError, match=f"temperature=0 .*: {named} would change nothing"):
        check_drawn(Sampling(temperature=0.0, **filters))
