"""Reward model: hand-worked loss, scores that padding cannot move, calibration, invariance, resume."""

import math
from functools import partial

import pytest
import torch

from lightning_modules.reward import (
    BINS,
    RewardModule,
    bradley_terry,
    calibration_counts,
    calibration_error,
    loss_at_tokens,
)
from models.gpt import GPT
from models.heads import RewardModel, last_real, score
from tests.pairs import VOCAB, PairData, adam, as_pairs, make_pairs, sgd, train


def reward_model(seed=0, **settings) -> RewardModel:
    torch.manual_seed(seed)
    model = GPT(vocab_size=VOCAB, seq_len=24, n_layer=2, n_head=2, n_embd=16, **settings)
    return RewardModule.prepare_model(model)


def module(*, seed=0, **settings) -> RewardModule:
    defaults = {"log_every": 1, "seed": 1}
    return RewardModule(
        model=reward_model(seed), optimizer=partial(adam, lr=1e-2), grad_clip=None, **(defaults | settings)
    )


def test_loss_worked_by_hand():
    chosen, rejected = torch.tensor([1.0, 0.0]), torch.tensor([-1.0, 0.5])
    plain = bradley_terry(chosen, rejected)
    assert plain.tolist() == pytest.approx([math.log1p(math.exp(-2)), math.log1p(math.exp(0.5))])
    margin = bradley_terry(chosen, rejected, torch.tensor([0.5, 0.0]))
    assert margin.tolist() == pytest.approx([math.log1p(math.exp(-1.5)), plain[1].item()])
    centred = bradley_terry(chosen, rejected, centering=0.1)
    assert (centred - plain).tolist() == pytest.approx([0.0, 0.1 * 0.25])


def test_loss_at_tokens_worked_by_hand():
    """Both texts share two tokens; from the third on scores are compared, as far as both go."""
    ids = torch.tensor([[5, 6, 7, 8, 9], [5, 6, 1, 8, 0]])
    real = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 1, 0]]).bool()
    scores = torch.tensor([[9.0, -9.0, 1.0, 0.0, 50.0], [0.0, 0.0, -1.0, 0.5, 0.0]])
    expected = (math.log1p(math.exp(-2)) + math.log1p(math.exp(0.5))) / 2
    assert loss_at_tokens(scores, ids, real).tolist() == pytest.approx([expected])
    nothing = loss_at_tokens(scores, ids, torch.zeros_like(real))  # a pair that fills up a batch
    assert nothing.tolist() == [0.0]


def test_calibration_worked_by_hand():
    """Four pairs at confidence 0.731, three of them right; one at 0.95, right. One fills up and does not count."""
    gap = torch.tensor([1.0, 1.0, 1.0, -1.0, 3.0, 9.0])
    counts = calibration_counts(gap, torch.zeros(6), torch.tensor([True] * 5 + [False]))
    assert counts.shape == (3, BINS)
    assert counts[0].sum() == 5
    a, b = 1 / (1 + math.exp(-1)), 1 / (1 + math.exp(-3))
    assert calibration_error(counts) == pytest.approx((4 * abs(a - 0.75) + abs(b - 1)) / 5, abs=1e-6)


def test_S19_score_does_not_see_padding_on_either_side():
    """Also with the end-of-text id inside the prompt, and with a padding id that is a real one."""
    model = reward_model().eval()
    rows = [[3, 1, 4], [1, 0, 5, 9, 2, 6], [0]]
    alone = torch.cat([score(model, torch.tensor([row]), torch.ones(1, len(row), dtype=torch.bool))[0] for row in rows])
    for side in ("left", "right"):
        for width, fill in ((6, 0), (11, 7)):
            ids = torch.full((3, width), fill)
            mask = torch.zeros(3, width, dtype=torch.bool)
            for i, row in enumerate(rows):
                where = slice(width - len(row), width) if side == "left" else slice(0, len(row))
                ids[i, where], mask[i, where] = torch.tensor(row), True
            assert torch.allclose(score(model, ids, mask)[0], alone, atol=1e-6), (side, width)


def test_last_real_position():
    mask = torch.tensor([[1, 1, 0], [0, 1, 1], [0, 0, 0], [1, 0, 1]]).bool()
    assert last_real(mask).tolist() == [1, 2, 0, 2]


def test_S20_training_scores_with_the_token_that_ends_the_answer():
    """The module's scores are `score()` of the whole rows, end included."""
    rewards, pairs = module(), make_pairs(3)
    found = rewards.loss(as_pairs(pairs).micro(range(3))).hidden_BTC
    rows = [p + c for p, c, _ in pairs] + [p + r for p, _, r in pairs]
    expected = [score(rewards.model, torch.tensor([row]), torch.ones(1, len(row), dtype=torch.bool))[0] for row in rows]
    torch.testing.assert_close(found, torch.cat(expected), rtol=0, atol=1e-6)


@pytest.mark.parametrize(("nll_weight", "token_weight"), [(0.0, 0.0), (0.5, 0.0), (0.0, 2.0)])
def test_N18_micro_batches_do_not_change_the_update(tmp_path, nll_weight, token_weight):
    pairs, found = make_pairs(8), []
    for batch_size in (8, 2, 1):
        rewards = module(center_rewards=0.01, nll_weight=nll_weight, token_weight=token_weight)
        rewards._make_optimizer = sgd
        data = PairData(pairs, batch_size=batch_size, accumulate=8 // batch_size, margins=[0.1 * i for i in range(8)])
        train(tmp_path / str(batch_size), rewards, data, steps=2)
        found.append((rewards.state_dict(), rewards.measured.train | rewards.measured.val))
    for state, logged in found[1:]:
        for name, value in found[0][0].items():
            torch.testing.assert_close(state[name], value, rtol=1e-5, atol=1e-6)
        for name, value in found[0][1].items():
            assert logged[name] == pytest.approx(value, rel=1e-6, abs=1e-5), name


def test_N17_resume_is_exact(tmp_path):
    pairs = make_pairs(20)
    straight, resumed = module(), module(seed=9)
    train(tmp_path / "straight", straight, PairData(pairs, batch_size=4), steps=8)
    train(tmp_path / "stopped", module(), PairData(pairs, batch_size=4), steps=3)
    train(tmp_path / "stopped", resumed, PairData(pairs, batch_size=4), steps=8, resume=True)
    assert all(torch.equal(resumed.state_dict()[name], value) for name, value in straight.state_dict().items())
    assert resumed.measured.val == straight.measured.val


def test_it_learns_and_moves_every_trainable_parameter(tmp_path):
    rewards = module()
    before = {name: value.clone() for name, value in rewards.model.named_parameters()}
    train(tmp_path, rewards, PairData(make_pairs(16), batch_size=8), steps=15)
    assert rewards.measured.train["train/accuracy"] > 0.9
    assert set(rewards.measured.val) == {"val/loss", "val/accuracy", "val/margin", "val/mean_reward", "val/ece"}
    stayed = {name for name, value in rewards.model.named_parameters() if torch.equal(value, before[name])}
    # this bias adds the same to both scores of a pair: its gradient is zero but for rounding, which may leave nothing
    assert stayed <= {"backbone.norm.bias"}


def test_an_untied_head_of_the_vocabulary_is_not_trained():
    """It has no gradient: DDP would wait for one."""
    torch.manual_seed(0)
    model = GPT(vocab_size=VOCAB, seq_len=24, n_layer=1, n_head=2, n_embd=16)
    assert RewardModel(model).head.weight.requires_grad  # tied: the embedding learns
    model.lm_head.weight = torch.nn.Parameter(model.lm_head.weight.detach().clone())
    assert not RewardModel(model).head.weight.requires_grad
