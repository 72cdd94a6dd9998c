"""The average of the weights: its formula, that training does not notice it, and that a resume goes on with it."""

import pytest
import torch

from models.weights.checkpoints import read_checkpoint
from tests.small import RandomTokens, make_module, make_trainer

DECAY = 0.75


def trained(folder, *, steps: int, resume=None, **settings):
    module, data = make_module(), RandomTokens()
    trainer = make_trainer(folder, max_steps=steps, **settings)
    trainer.fit(module, data, ckpt_path=resume, weights_only=True)
    return module, trainer


def weights(path) -> dict[str, torch.Tensor]:
    return read_checkpoint(path)["state_dict"]


def test_the_average_is_the_formula_and_training_does_not_notice_it(tmp_path):
    """a <- 0.75 a + 0.25 w over the weights of each update, which are those of a run without it."""
    _, trainer = trained(tmp_path / "a", steps=3, ema=DECAY, checkpoint_every=1, keep_last=3)
    start = make_module().state_dict()
    average = {name: weight.detach().clone() for name, weight in start.items()}
    for step in (1, 2, 3):
        for name, weight in weights(tmp_path / f"a/checkpoints/step_{step:08d}.ckpt").items():
            average[name] = DECAY * average[name] + (1 - DECAY) * weight
    saved = weights(tmp_path / "a/checkpoints/ema.ckpt")
    for name, value in average.items():
        torch.testing.assert_close(saved[name], value, rtol=1e-6, atol=1e-7)
    trained(tmp_path / "b", steps=3)
    plain, beside = weights(tmp_path / "b/checkpoints/last.ckpt"), weights(tmp_path / "a/checkpoints/last.ckpt")
    for name, value in plain.items():
        assert torch.equal(beside[name], value)
    assert "val/ema/loss" in trainer.callback_metrics


def test_the_average_is_measured_as_its_checkpoint_is(tmp_path):
    _, trainer = trained(tmp_path / "a", steps=3, ema=DECAY)
    other, checker = make_module(), make_trainer(tmp_path / "b", max_steps=3)
    (tmp_path / "b/checkpoints").mkdir(parents=True)
    other.load_state_dict(weights(tmp_path / "a/checkpoints/ema.ckpt"))
    checker.validate(other, RandomTokens(), verbose=False)
    found = trainer.callback_metrics
    assert float(found["val/ema/loss"]) == pytest.approx(float(checker.callback_metrics["val/loss"]), abs=1e-6)
    assert float(found["val/ema/loss"]) != pytest.approx(float(found["val/loss"]), abs=1e-6)


def test_a_resume_goes_on_with_the_average_bit_for_bit(tmp_path):
    trained(tmp_path / "whole", steps=6, ema=DECAY)
    trained(tmp_path / "parts", steps=3, ema=DECAY)
    trained(tmp_path / "parts", steps=6, ema=DECAY, resume=tmp_path / "parts/checkpoints/last.ckpt")
    whole, parts = (weights(tmp_path / run / "checkpoints/ema.ckpt") for run in ("whole", "parts"))
    for name, value in whole.items():
        assert torch.equal(parts[name], value)
