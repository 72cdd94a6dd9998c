"""PPO: it learns with either critic, explains returns, goes on exactly, and keeps the critic apart from the policy."""

import pytest
import torch

from errors import RequestError
from lightning_modules.ppo import PPOModule
from lightning_modules.rl.advantages import gae, token_rewards
from lightning_modules.rl.checks import mask_of
from tests.prompts import Fixed, PromptData, make_policy, train

SETTINGS = {"prompts": 24, "minibatches": 2, "critic_lr": 1e-2, "log_every": 2}


@pytest.mark.parametrize("critic", ["own", "shared"])
@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in (1, 2, 3, 4))])
def test_the_share_of_token_a_rises(tmp_path, critic, seed):
    """At a rate of 1e-2 the policy still leaps at the end, and one run in ten was seen to end in a dip of .81."""
    data = PromptData()
    module = make_policy(PPOModule, data, seed=seed, critic=critic, lr=4e-3, **SETTINGS)
    train(tmp_path, module, data, steps=120)
    assert module.found.before["reward"] < 0.3
    assert module.found.after["reward"] > 0.8


@pytest.mark.parametrize("critic", ["own", "shared"])
@pytest.mark.parametrize("stop", [1, 2, 3])
def test_N61_a_run_goes_on_bit_for_bit(tmp_path, critic, stop):
    settings = SETTINGS | {"critic": critic, "kl": 0.1}
    whole_data, data, rest = PromptData(), PromptData(), PromptData()
    whole = make_policy(PPOModule, whole_data, **settings)
    train(tmp_path / "whole", whole, whole_data, steps=5)
    train(tmp_path / "parts", make_policy(PPOModule, data, **settings), data, steps=stop)
    again = make_policy(PPOModule, rest, seed=4, **settings)
    train(tmp_path / "parts", again, rest, steps=5, resume=True)
    for name, value in whole.state_dict().items():
        assert torch.equal(value, again.state_dict()[name]), name


def test_advantages_are_those_of_the_formulas_whitened(tmp_path):
    data = PromptData()
    module = make_policy(PPOModule, data, kl=0.3, gamma=0.9, lam=0.5, **SETTINGS)
    train(tmp_path, module, data, steps=3)  # the second rollout: the critic has values, the policy has moved
    r, mask = module.rollout, mask_of(module.rollout)
    rewards = token_rewards(r["scores"], r["old"] - r["ref"], mask, kl=0.3)
    raw = gae(rewards, r["values"], mask, gamma=0.9, lam=0.5)
    assert r["values"][mask].abs().max() > 1e-3
    torch.testing.assert_close(r["returns"], (raw + r["values"]).where(mask, 0.0))
    torch.testing.assert_close(
        r["advantages"][mask], (raw[mask] - raw[mask].mean()) / raw[mask].std(correction=0), rtol=1e-4, atol=1e-5
    )
    assert (r["advantages"][~mask] == 0).all()


def test_the_critic_has_its_own_rate_and_norm(tmp_path):
    data = PromptData()
    module = make_policy(PPOModule, data, lr=0.0, grad_clip=1e-9, **SETTINGS)
    policy = {name: p.detach().clone() for name, p in module.model.named_parameters()}
    train(tmp_path, module, data, steps=4)
    assert all(torch.equal(p, policy[name]) for name, p in module.model.named_parameters())
    assert module.critic.value_head.bias.abs().item() > 1e-4  # learned all the same
    assert module.measured.train["loss/value_avg"] > 0
    assert set(module.measured.train) >= {
        "objective/rlhf_reward", "objective/scores", "objective/non_score_reward", "objective/kl", "objective/entropy",
        "policy/clipfrac_avg", "policy/approxkl_avg", "policy/ratio_max", "loss/policy_avg", "value/clipfrac_avg",
        "value/explained_variance", "rollout/length", "rollout/truncated", "rollout/used", "rollout/gap",
        "time/generation", "time/scoring", "time/update", "reward/a",
    }  # fmt: skip
    found = module.measured.train
    assert found["objective/rlhf_reward"] == pytest.approx(
        found["objective/scores"] + found["objective/non_score_reward"]
    )


def test_whitened_scores_are_logged_as_they_were(tmp_path):
    """The update sees mean 0 and deviation 1; a shift of all scores changes nothing."""
    ends = {}
    for shift in (0.0, 7.0):
        data = PromptData()
        reward = {"a": Fixed(lambda text, shift=shift: shift + text.split().count("5"), whiten=True)}
        module = make_policy(PPOModule, data, reward=reward, **SETTINGS)
        train(tmp_path / str(shift), module, data, steps=4)
        ends[shift] = module.model.head.weight.detach()
        assert module.rollout["scores"].mean().item() == pytest.approx(0.0, abs=1e-5)
        assert module.measured.train["objective/scores"] >= shift
    torch.testing.assert_close(ends[0.0], ends[7.0], rtol=0, atol=1e-4)


def test_only_the_policy_is_what_others_load(tmp_path):
    data = PromptData()
    train(tmp_path, make_policy(PPOModule, data, **SETTINGS), data, steps=1)
    saved = torch.load(tmp_path / "checkpoints/last.ckpt", weights_only=True)["state_dict"]
    assert {name.split(".")[0] for name in saved} == {"model", "critic", "reference"}


@pytest.mark.parametrize(("settings", "words"), [({"lam": 1.5}, "objective.lam"), ({"gamma": -0.1}, "objective.gamma")])
def test_refused(settings, words):
    with pytest.raises(RequestError, match=words):
        make_policy(PPOModule, PromptData(), **SETTINGS | settings)
