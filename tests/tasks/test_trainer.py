"""Derived numbers of a run: micro-batches per update, accelerator, precision, duration."""

import time

import pytest
import torch

from callbacks.deadline import Deadline
from errors import RequestError
from models.layers.attention import any_length
from tasks.trainer import micro_batches_per_step, resolve_accelerator, resolve_precision, settle_torch
from tests.small import RandomTokens, make_module, make_trainer


def batches(**changes):
    defaults = {"accumulate": 1, "tokens_per_step": None, "batch_tokens": 1024, "world_size": 2}
    return micro_batches_per_step(**(defaults | changes))


def test_accumulation_by_steps_or_by_tokens():
    assert batches(accumulate=5) == 5
    assert batches(tokens_per_step=262_144) == 128


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"tokens_per_step": 3000}, ["3000", "2048", "tokens_per_step=2048", "4096"]),
        ({"tokens_per_step": 4096, "accumulate": 2}, ["accumulate=2", "tokens_per_step=4096"]),
    ],
)
def test_wrong_batch_requests(changes, words):
    with pytest.raises(RequestError) as raised:
        batches(**changes)
    assert all(word in str(raised.value) for word in words)


def test_auto_is_32_bit_on_a_cpu():
    assert resolve_precision("auto", "cpu") == "32-true"
    assert resolve_precision("bf16-mixed", "cpu") == "bf16-mixed"


def test_an_accelerator_that_is_not_here(monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr("torch.backends.mps.is_available", lambda: False)
    assert resolve_accelerator("auto") == "cpu"
    with pytest.raises(RequestError, match=r"accelerator=gpu[\s\S]*hardware=auto"):
        resolve_accelerator("gpu")


def test_F23_the_shell_of_a_batch_system_is_no_task_of_it(monkeypatch, tmp_path):
    """There SLURM_NTASKS is set, of which Lightning made as many ranks, or a traceback."""
    monkeypatch.setenv("SLURM_NTASKS", "4")
    trainer = make_trainer(tmp_path, max_steps=1)
    assert (trainer.world_size, trainer.global_rank) == (1, 0)


def test_max_time_counts_from_the_beginning_of_the_run(tmp_path):
    """Set-up has taken it all: one look at the clock, no update; a run that began now goes on to its last one."""
    for name, began, steps in (("late", time.monotonic() - 61, 0), ("early", time.monotonic(), 3)):
        trainer = make_trainer(tmp_path / name, max_steps=3, max_time="0:1:0", began=began)
        trainer.fit(make_module(), RandomTokens())
        assert trainer.global_step == steps, name


def test_max_time_adds_up_over_resumes(tmp_path):
    first = Deadline("0:10:00", began=time.monotonic() - 400)
    second = Deadline("00:10:00", began=time.monotonic() - 250)
    second.load_state_dict(first.state_dict())
    assert second.time_elapsed() == pytest.approx(650, abs=5)
    assert first.time_remaining() == pytest.approx(200, abs=5)


def test_attention_that_plans_for_each_length_is_off_unless_training_asks_for_it():
    """On an H100 each token took 46 ms with it (models/layers/attention.py, any_length)."""
    with any_length():  # and the setting back in the end
        torch.backends.cuda.enable_cudnn_sdp(True)
        settle_torch()
        assert not torch.backends.cuda.cudnn_sdp_enabled()
