"""Two processes give what one gives: losses, gradients, validation, checkpoints (gloo, on the CPU)."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch

WORKER = Path(__file__).with_name("rank_worker.py")
ROOT = WORKER.parents[2]


def run(strategy: str, folder: Path, corpus: Path, world: int) -> list[dict]:
    """What each rank saw."""
    folder.mkdir()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    ranks = []
    for rank in range(world):
        env = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
        if world > 1:
            env |= {
                "RANK": str(rank),
                "LOCAL_RANK": str(rank),
                "WORLD_SIZE": str(world),
                "LOCAL_WORLD_SIZE": str(world),
            }
            env |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "TORCHELASTIC_RUN_ID": "test"}
        command = [sys.executable, str(WORKER), strategy, str(folder), str(corpus)]
        ranks.append(subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True))
    for process in ranks:
        output, _ = process.communicate(timeout=120)
        assert process.returncode == 0, output
    return [json.loads((folder / f"rank{rank}.json").read_text()) for rank in range(world)]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """Seven validation windows on two ranks: one rank has four, the other three (N41)."""
    path = tmp_path_factory.mktemp("corpus") / "text.txt"
    path.write_bytes(bytes(1 + i % 19 for i in range(10 * 7 * 8)))
    return path


@pytest.fixture(scope="module")
def alone(tmp_path_factory, corpus):
    folder = tmp_path_factory.mktemp("alone") / "run"
    return run("single", folder, corpus, 1)[0], folder


@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
def test_N18_N41_S3_two_ranks_equal_one_process(tmp_path, corpus, alone, strategy):
    expected, folder = alone
    for facts in run(strategy, tmp_path / "run", corpus, 2):
        for part in ("first", "resumed"):
            for name in ("train/loss", "train/grad_norm", "val/loss"):
                assert facts[part][name] == pytest.approx(expected[part][name], abs=1e-5), (part, name)
            for name in ("tokens_seen", "drawn"):
                assert facts[part][name] == expected[part][name]
    ours, theirs = (
        torch.load(path / "checkpoints/last.ckpt", weights_only=True) for path in (tmp_path / "run", folder)
    )
    assert ours["global_step"] == 8
    assert ours["state_dict"].keys() == theirs["state_dict"].keys()
    for name, value in theirs["state_dict"].items():
        torch.testing.assert_close(ours["state_dict"][name], value, rtol=0, atol=1e-4)
