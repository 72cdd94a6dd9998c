"""N17: forty kills, each followed by an exact resume; in a process of its own, which forks."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_N17_kill_9_at_forty_moments_and_every_run_ends_on_the_same_bits() -> None:
    command = [sys.executable, str(Path(__file__).with_name("kills.py"))]
    done = subprocess.run(command, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "40 of 40" in done.stdout


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_N61_kill_9_inside_each_phase_of_online_rl_and_every_policy_ends_on_the_same_bits() -> None:
    """Ten kills of each: GRPO, RLOO, PPO with its reward model, and adapters as the policy of GRPO and PPO."""
    command = [sys.executable, str(Path(__file__).with_name("rl_kills.py"))]
    done = subprocess.run(command, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "50 of 50" in done.stdout
