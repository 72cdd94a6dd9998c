"""Online RL on two processes gives what one gives: rollouts, metrics, weights, a resume in a rollout (gloo, CPU)."""

from pathlib import Path

import pytest
import torch

from tests.lightning_modules import test_ranks

WORKER = Path(__file__).with_name("policy_rank_worker.py")
# of each rank's own forward passes, or of pairs within a rank
OWN = ("rollout/gap", "reward/agreement", "value/explained_variance")


@pytest.mark.parametrize(
    "objective", [pytest.param(name, marks=pytest.mark.slow) for name in ("grpo", "ppo_own", "ppo_shared")]
)
def test_N61_N63_two_ranks_equal_one_process(tmp_path, monkeypatch, objective):
    monkeypatch.setattr(test_ranks, "WORKER", WORKER)
    (alone,) = test_ranks.run("single", tmp_path / "alone", objective, 1)
    for facts in test_ranks.run("ddp", tmp_path / "two", objective, 2):
        for steps in ("3", "5"):
            assert facts[steps].keys() == alone[steps].keys()
            for name, value in alone[steps].items():
                if name not in OWN:
                    assert facts[steps][name] == pytest.approx(value, abs=1e-5), (steps, name)
    weights = [
        torch.load(tmp_path / run / "checkpoints/last.ckpt", weights_only=True)["state_dict"]
        for run in ("alone", "two")
    ]
    assert weights[0].keys() == weights[1].keys()
    for name, value in weights[0].items():
        torch.testing.assert_close(weights[1][name], value, rtol=0, atol=1e-6, msg=name)
