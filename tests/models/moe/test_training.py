"""A mixture in training: balanced by default, biases moved once per update, the same on two devices as on one."""

import csv
import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from loggers.metrics_csv import MetricsCSV
from models.layers.moe.settings import MoESettings
from optimization.groups import parameter_groups
from optimization.muon import muon
from tests.models.moe.rank_worker import make_module
from tests.small import RandomTokens, make_trainer, micro

WORKER = Path(__file__).with_name("rank_worker.py")
ROOT = WORKER.parents[3]


def train(folder: Path, steps: int, *, data: RandomTokens | None = None, **settings):
    module = make_module(**settings)
    trainer = make_trainer(
        folder, max_steps=steps, log_every=5, val_every=50, loggers=[MetricsCSV(run_dir=folder, start_step=0)]
    )
    trainer.fit(module, data or RandomTokens())
    return module


def rows(folder: Path) -> list[dict[str, str]]:
    with open(folder / "metrics.csv") as file:
        return list(csv.DictReader(file))


def test_N23_S16_by_default_the_router_learns_from_the_balancing_loss(tmp_path):
    assert MoESettings(n_experts=4, top_k=2, ff=8).load_balance == 0.01
    module = make_module()
    batch = micro(0, 0)
    aux = module.loss(batch).aux
    assert aux.keys() == {"load_balance", "router_z"}
    aux["load_balance"].backward()
    for moe in module.model.experts.values():
        assert moe.router.weight.grad.abs().max() > 0


def test_N24_50_steps_keep_experts_busy_and_say_so(tmp_path):
    module = train(tmp_path, 50, lb_coef=0.1)
    last = next(row for row in reversed(rows(tmp_path)) if row["train/loss"])
    assert float(last["train/moe/load_entropy"]) > 0.9
    for name in ("load_entropy", "maxvio", "min_load", "dead_experts", "dropped", "confidence", "load_balance"):
        for layer in (0, 1):
            assert f"train/moe/{name}/layer_{layer}" in last
    # the loss that is reported has no auxiliary part, in training and in validation
    batch = micro(10_000, 0)
    out = module.loss(batch)
    torch.testing.assert_close(out.loss, out.nll_BT.sum())
    assert out.aux["load_balance"] > 0.09


def test_counts_are_sums_over_the_micro_batches_of_all_updates_since_the_last_log(tmp_path):
    module = make_module()
    counted = []
    original = module.model.stats_metrics
    module.model.stats_metrics = lambda stats: counted.append(stats) or original(stats)
    trainer = make_trainer(tmp_path, max_steps=4)
    trainer.fit(module, RandomTokens(lambda step: [micro(step, i) for i in range(3)]))
    # logs at steps 1, 2 and 4: one, one and two updates of three micro-batches of 2 x 8 tokens, two experts each
    assert [stats["moe/tokens"].tolist() for stats in counted] == [[48.0] * 2, [48.0] * 2, [96.0] * 2]
    assert [stats["moe/loads"].sum(1).tolist() for stats in counted] == [[96.0] * 2, [96.0] * 2, [192.0] * 2]


def test_the_bias_moves_once_per_update_by_the_loads_of_all_its_micro_batches(tmp_path):
    batches = [micro(0, i) for i in range(3)]
    fresh = make_module(router="sigmoid_bias")
    with torch.no_grad():
        loads = sum(fresh.loss(batch).stats["moe/loads"] for batch in batches)
    expected = 1e-3 * (loads.mean(1, keepdim=True) - loads).sign()
    module = train(tmp_path, 1, data=RandomTokens(lambda step: batches), router="sigmoid_bias")
    for moe, bias in zip(module.model.experts.values(), expected, strict=True):
        assert torch.equal(moe.balance_E, bias)
    stopped = train(tmp_path, 3, router="sigmoid_bias", bias_steps=1)
    assert all(moe.balance_E.abs().max() <= 1e-3 for moe in stopped.model.experts.values())


def test_checkpoints_keep_the_bias_and_no_optimizer_has_it(tmp_path):
    module = train(tmp_path, 7, router="sigmoid_bias")
    state = torch.load(tmp_path / "checkpoints/last.ckpt", weights_only=True)["state_dict"]
    for layer, moe in module.model.experts.items():
        assert moe.balance_E.abs().max() > 0
        assert torch.equal(state[f"model.blocks.{layer}.mlp.balance_E"], moe.balance_E)
    held = [p for group in parameter_groups(module.model).values() for p in group]
    assert not any(moe.balance_E is p for moe in module.model.experts.values() for p in held)


def test_muon_turns_each_expert_by_itself():
    """One stacked parameter moves as its matrices would alone."""
    module = make_module()
    moe = module.model.blocks[0].mlp
    gradient = torch.randn(moe.w13.shape, generator=torch.Generator().manual_seed(0))
    settings = {"lr_matrix": 0.1, "lr_embedding": 0.1, "lr_unembedding": 0.1, "lr_vector": 0.1, "momentum": 0.9}
    settings |= {"ns_steps": 5, "betas": [0.9, 0.99], "eps": 1e-8, "weight_decay": 0.0, "width_base": 8}

    class Alone(torch.nn.Module):
        def __init__(self, weight):
            super().__init__()
            self.weight = torch.nn.Parameter(weight.clone())
            self.head = torch.nn.Linear(8, 8)

    alone = [Alone(w) for w in moe.w13.detach()]
    moe.w13.grad = gradient
    muon(model=module.model, **settings).step()
    for e, single in enumerate(alone):
        single.weight.grad = gradient[e]
        muon(model=single, **settings).step()
        torch.testing.assert_close(moe.w13[e], single.weight, rtol=1e-4, atol=1e-5)


def run(strategy: str, router: str, folder: Path, world: int) -> list[dict[str, float]]:
    folder.mkdir()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    processes = []
    for rank in range(world):
        env = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
        if world > 1:
            env |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(world)}
            env |= {"LOCAL_WORLD_SIZE": str(world), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
            env |= {"TORCHELASTIC_RUN_ID": "test"}
        command = [sys.executable, str(WORKER), strategy, router, str(folder)]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
        processes.append(subprocess.Popen(command, env=env, **pipes))
    for process in processes:
        output, _ = process.communicate(timeout=240)
        assert process.returncode == 0, output
    return [json.loads((folder / f"rank{rank}.json").read_text()) for rank in range(world)]


@pytest.mark.parametrize(
    ("strategy", "router"),
    [
        pytest.param("ddp", "softmax", marks=pytest.mark.slow),
        pytest.param("fsdp", "sigmoid_bias", marks=pytest.mark.slow),
    ],
)
def test_two_devices_train_the_same_mixture_as_one(tmp_path, strategy, router):
    (expected,) = run("single", router, tmp_path / "one", 1)
    for found in run(strategy, router, tmp_path / "two", 2):
        assert found == pytest.approx(expected, abs=2e-5)
    assert expected["train/moe/load_balance"] != 1
    one, two = (torch.load(tmp_path / f"{n}/checkpoints/last.ckpt", weights_only=True) for n in ("one", "two"))
    for name, value in one["state_dict"].items():
        torch.testing.assert_close(two["state_dict"][name], value, rtol=0, atol=2e-5, msg=name)
