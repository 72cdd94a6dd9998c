"""Baselines and GAE by hand; on a vocabulary of three, every sequence is summed over: the policy gradient itself."""

import itertools

import pytest
import torch

from lightning_modules.rl.advantages import (
    gae,
    group_relative,
    last_action,
    leave_one_out,
    moments,
    token_rewards,
    whitened,
)
from lightning_modules.rl.losses import Bounds, clip, summed, units

REWARDS = torch.tensor([[1.0, 0.0, 0.0, 1.0], [1.0, 1.0, 1.0, 1.0]])


def test_baselines_by_hand():
    torch.testing.assert_close(
        group_relative(REWARDS, std=False), torch.tensor([[0.5, -0.5, -0.5, 0.5], [0.0, 0.0, 0.0, 0.0]])
    )
    half = 0.5 / (1 / 3**0.5 + 1e-4)  # the standard deviation of four with n - 1
    torch.testing.assert_close(group_relative(REWARDS, std=True)[0], torch.tensor([half, -half, -half, half]))
    torch.testing.assert_close(leave_one_out(REWARDS)[0], torch.tensor([2 / 3, -2 / 3, -2 / 3, 2 / 3]))


def test_N58_a_group_is_judged_by_itself():
    """Shifting one question's scores changes nothing, for any of the group baselines."""
    shifted = REWARDS + torch.tensor([[7.0], [0.0]])
    for advantages in (leave_one_out, lambda r: group_relative(r, std=True)):
        torch.testing.assert_close(advantages(shifted), advantages(REWARDS))


def test_gae_by_hand():
    """gamma 0.9, lambda 0.5: delta = (0.16, 0.14, 0.4)."""
    rewards = torch.tensor([[9.0, 0.0, 0.0, 1.0, 9.0]])
    values = torch.tensor([[9.0, 0.2, 0.4, 0.6, 9.0]])
    mask = torch.tensor([[False, True, True, True, False]])
    found = gae(rewards, values, mask, gamma=0.9, lam=0.5)
    torch.testing.assert_close(found, torch.tensor([[0.0, 0.304, 0.32, 0.4, 0.0]]))
    torch.testing.assert_close((found + values)[mask], torch.tensor([0.504, 0.72, 1.0]))


def test_gae_passes_over_what_a_tool_wrote():
    """The same three actions with two forced tokens between them: the same advantages."""
    rewards = torch.tensor([[0.0, 9.0, 9.0, 0.0, 1.0, 9.0]])
    values = torch.tensor([[0.2, 9.0, 9.0, 0.4, 0.6, 9.0]])
    mask = torch.tensor([[True, False, False, True, True, False]])
    found = gae(rewards, values, mask, gamma=0.9, lam=0.5)
    torch.testing.assert_close(found, torch.tensor([[0.304, 0.0, 0.0, 0.32, 0.4, 0.0]]))


def test_N52_the_score_lands_on_the_last_action_whatever_is_padding():
    mask = torch.tensor([[False, True, True, False], [False, True, False, False]])
    ratio = torch.tensor([[9.0, 1.0, 2.0, 9.0], [9.0, 3.0, 9.0, 9.0]])
    found = token_rewards(torch.tensor([5.0, 7.0]), ratio, mask, kl=0.1)
    torch.testing.assert_close(found, torch.tensor([[0.0, -0.1, 4.8, 0.0], [0.0, 6.7, 0.0, 0.0]]))
    assert last_action(mask).tolist() == [2, 1]


def test_whitening_over_ranks_is_whitening_of_all():
    values = torch.randn(50, dtype=torch.float64)
    seen = moments(values[:13]) + moments(values[13:])
    torch.testing.assert_close(whitened(values[:13], seen), ((values - values.mean()) / values.std(correction=0))[:13])


def test_a_shift_of_scores_moves_ppo_unless_scores_are_whitened():
    """With lambda < 1 a constant reaches late actions more than early ones: whitened advantages do not undo it."""
    mask, values, ratio = torch.ones(3, 4, dtype=torch.bool), torch.zeros(3, 4), torch.zeros(3, 4)
    scores = torch.tensor([0.0, 1.0, 3.0])

    def advantages(s, lam):
        found = gae(token_rewards(s, ratio, mask, kl=0.0), values, mask, gamma=1.0, lam=lam)
        return whitened(found, moments(found)).float()

    assert (advantages(scores, 0.95) - advantages(scores + 7, 0.95)).abs().max() > 0.1
    torch.testing.assert_close(advantages(scores, 1.0), advantages(scores + 7, 1.0), rtol=1e-4, atol=1e-4)
    w = [whitened(s, moments(s)) for s in (scores, scores + 7)]
    torch.testing.assert_close(advantages(w[0], 0.95), advantages(w[1], 0.95), rtol=1e-4, atol=1e-4)


# ---- enumeration: 3 tokens of which 2 ends a text, at most 2 tokens; a policy of free logits per state ------------


END, LONGEST = 2, 2
TEXTS = [
    t
    for n in (1, 2)
    for t in itertools.product(range(3), repeat=n)
    if END not in t[:-1] and (n == LONGEST or t[-1] == END)
]
REWARD = {text: float(i * i % 5) for i, text in enumerate(TEXTS)}
STATES = [(), (0,), (1,)]


def policy():
    return torch.tensor([[0.3, -0.5, 0.2], [0.9, 0.1, -0.4], [-0.2, 0.4, 0.7]], dtype=torch.float64, requires_grad=True)


def log_probs_of(logits, texts):
    """(N, T) log-probabilities of each text's tokens, and the mask."""
    table = logits.log_softmax(-1)
    found = torch.zeros(len(texts), LONGEST, dtype=torch.float64)
    mask = torch.zeros(len(texts), LONGEST, dtype=torch.bool)
    for row, text in enumerate(texts):
        for t, token in enumerate(text):
            found = found.index_put((torch.tensor(row), torch.tensor(t)), table[STATES.index(text[:t]), token])
            mask[row, t] = True
    return found, mask


def expected_gradient(advantages, norm, G=2):
    """Of the loss over all groups of two texts, each weighted by its probability."""
    logits = policy()
    total = torch.zeros((), dtype=torch.float64)
    for group in itertools.product(TEXTS, repeat=G):
        log_probs, mask = log_probs_of(logits, group)
        rewards = torch.tensor([[REWARD[t] for t in group]], dtype=torch.float64)
        A = advantages(rewards).reshape(-1, 1).expand(-1, LONGEST)
        loss = summed(clip(log_probs - log_probs.detach(), log_probs, A, Bounds()), mask, norm)
        loss = loss / units(norm, rows=G, actions=int(mask.sum()), longest=LONGEST)
        total = total + log_probs.sum().exp().detach() * loss
    return -torch.autograd.grad(total, logits)[0]


def policy_gradient():
    logits = policy()
    log_probs, _ = log_probs_of(logits, TEXTS)
    expected = (log_probs.sum(1).exp() * torch.tensor([REWARD[t] for t in TEXTS])).sum()
    return torch.autograd.grad(expected, logits)[0]


def test_seven_texts_have_probability_1():
    assert len(TEXTS) == 7
    assert log_probs_of(policy(), TEXTS)[0].sum(1).exp().sum().item() == pytest.approx(1.0, abs=1e-12)


@pytest.mark.parametrize(
    ("advantages", "factor"), [(leave_one_out, 1.0), (lambda r: group_relative(r, std=False), 0.5)]
)
def test_enumerated_rloo_and_grpo_are_the_policy_gradient(advantages, factor):
    torch.testing.assert_close(
        expected_gradient(advantages, "constant"), policy_gradient() * factor / LONGEST, rtol=0, atol=1e-12
    )


@pytest.mark.parametrize(
    ("std", "norm"), [(False, "tokens"), (False, "sequence"), (True, "constant"), (True, "tokens"), (True, "sequence")]
)
def test_enumerated_the_other_divisions_are_not(std, norm):
    found = expected_gradient(lambda r: group_relative(r, std=std), norm)
    cosine = torch.nn.functional.cosine_similarity(found.flatten(), policy_gradient().flatten(), dim=0)
    assert 0.5 < cosine < 0.9999


def test_enumerated_kl_in_the_reward_is_the_gradient_of_the_penalised_objective():
    """RLOO's k1 in the reward: the gradient of E[R] - kl KL(policy || reference)."""
    ref = torch.tensor([[0.1, 0.2, -0.3], [0.0, 0.5, 0.1], [0.3, -0.6, 0.2]], dtype=torch.float64)
    kl = 0.3
    logits = policy()
    (log_probs, mask), (ref_probs, _) = log_probs_of(logits, TEXTS), log_probs_of(ref, TEXTS)
    p_N, ratio_N = log_probs.sum(1).exp(), (log_probs - ref_probs).sum(1)
    R_N = torch.tensor([REWARD[t] for t in TEXTS], dtype=torch.float64)
    wanted = torch.autograd.grad((p_N * (R_N - kl * ratio_N)).sum(), logits, retain_graph=True)[0]
    total = torch.zeros((), dtype=torch.float64)
    for i, j in itertools.product(range(len(TEXTS)), repeat=2):
        A = leave_one_out((R_N - kl * ratio_N.detach())[[i, j]].unsqueeze(0)).squeeze(0)
        rows = log_probs[[i, j]]
        loss = summed(
            clip(rows - rows.detach(), rows, A.unsqueeze(1).expand(-1, LONGEST), Bounds()), mask[[i, j]], "constant"
        )
        total = total + (p_N[i] * p_N[j]).detach() * loss / 2
    torch.testing.assert_close(-torch.autograd.grad(total, logits)[0], wanted, rtol=0, atol=1e-12)
