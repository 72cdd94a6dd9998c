"""Muon on FSDP2's sharded parameters: two processes come to the same weights as one. As a script, it is one rank."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.distributed as dist

ROOT = Path(__file__).parents[2]


def main() -> None:
    """One rank: shard, take three steps, compare the gathered weights with those of an unsharded copy."""
    from torch.distributed.fsdp import fully_shard

    from models.gpt import GPT
    from optimization.muon import muon

    dist.init_process_group("gloo")
    mesh = dist.device_mesh.init_device_mesh("cpu", (2,))
    shape = {"vocab_size": 13, "seq_len": 8, "n_layer": 2, "n_head": 1, "n_embd": 9, "bias": False}  # 9 rows: uneven
    settings = {"momentum": 0.95, "ns_steps": 5, "betas": [0.8, 0.95], "eps": 1e-10, "weight_decay": 0.1}
    rates = {"lr_matrix": 0.02, "lr_embedding": 0.01, "lr_unembedding": 0.01, "lr_vector": 0.01, "width_base": 768}
    runs = []
    for shards in (False, True):
        torch.manual_seed(0)
        model = GPT(**shape)
        if shards:
            fully_shard(model, mesh=mesh)
        optimizer = muon(model=model, **rates, **settings)
        for step in range(3):
            ids = torch.randint(13, (4, 9), generator=torch.Generator().manual_seed(step))
            model(ids[:, :-1], targets_BT=ids[:, 1:]).loss.backward()
            optimizer.step()
            optimizer.zero_grad()
        runs.append([p.full_tensor() if shards else p.detach() for p in model.parameters()])
    for alone, sharded in zip(*runs, strict=True):
        torch.testing.assert_close(sharded, alone, rtol=1e-4, atol=1e-5)
    dist.destroy_process_group()


@pytest.mark.slow
def test_two_shards_step_like_one_process(tmp_path: Path):
    ranks = [
        subprocess.Popen(
            [sys.executable, __file__],
            env=os.environ
            | {"PYTHONPATH": str(ROOT), "RANK": str(rank), "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1"}
            | {"MASTER_PORT": str(20_000 + os.getpid() % 20_000), "OMP_NUM_THREADS": "1"},
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    errors = [rank.communicate(timeout=120)[1] for rank in ranks]
    assert [rank.returncode for rank in ranks] == [0, 0], errors


if __name__ == "__main__":
    main()
