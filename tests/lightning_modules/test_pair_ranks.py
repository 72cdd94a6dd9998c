"""DPO and the reward model on two processes give what one gives: losses, metrics, validation, weights (gloo, CPU)."""

from pathlib import Path

import pytest
import torch

from tests.lightning_modules import test_ranks

WORKER = Path(__file__).with_name("pair_rank_worker.py")


@pytest.mark.parametrize("objective", [pytest.param(name, marks=pytest.mark.slow) for name in ("dpo", "reward")])
def test_N18_N41_two_ranks_equal_one_process(tmp_path, monkeypatch, objective):
    """Five validation pairs on two ranks: one has three of them."""
    monkeypatch.setattr(test_ranks, "WORKER", WORKER)
    (alone,) = test_ranks.run("single", tmp_path / "alone", objective, 1)
    for facts in test_ranks.run("ddp", tmp_path / "two", objective, 2):
        for steps in ("3", "5"):
            assert facts[steps].keys() == alone[steps].keys()
            for name, value in alone[steps].items():
                assert facts[steps][name] == pytest.approx(value, abs=1e-5), (steps, name)
    weights = [
        torch.load(tmp_path / run / "checkpoints/last.ckpt", weights_only=True)["state_dict"]
        for run in ("alone", "two")
    ]
    for name, value in weights[0].items():
        torch.testing.assert_close(weights[1][name], value, rtol=0, atol=1e-4)
