"""Which library multiplies where a model is only read: the faster one, where it is left open and pays."""

import pytest
import torch
from omegaconf import OmegaConf

from errors import RequestError
from launcher.jobs.run_folder import RunFolder
from launcher.lab import SWEEP_RECORD
from models.gpt import GPT
from models.layers import products
from tasks.hardware import reading
from tests.tasks.hardware.test_hardware import lab
from tests.tasks.test_runs import SHORT, SMALL


@pytest.fixture(autouse=True)
def own_products():
    with products.by("torch"):
        yield


def model(n_embd=64) -> GPT:
    torch.manual_seed(0)
    return GPT(vocab_size=64, seq_len=8, n_layer=1, n_head=2, n_embd=n_embd)


def config(**trainer):
    return OmegaConf.create(
        {"trainer": {"accelerator": "cpu", "precision": "auto", "products": "auto", "compile": False} | trainer}
    )


@pytest.fixture
def probed(monkeypatch):
    """oneDNN twice as fast on this machine; the shapes that are asked about."""
    asked = []
    monkeypatch.setattr(products, "is_there", lambda: True)
    monkeypatch.setattr(reading.probe, "probed", lambda shapes: asked.append(set(shapes)))
    monkeypatch.setattr(reading, "product_seconds", lambda known, shapes, kind, n: {"fp32": 2.0, "onednn": 1.0}[kind])
    return asked


def is_followed(of: GPT) -> bool:
    return isinstance(of.blocks[0].mlp.up, products.Linear)


def test_the_faster_one_is_taken_by_products_large_enough(probed):
    reading.settle_reading(config(), large := model())
    assert products.chosen() == "onednn"
    assert is_followed(large)
    assert probed == [{(1024, 64, 192), (1024, 64, 64), (1024, 64, 256), (1024, 256, 64)}]
    reading.settle_reading(config(), small := model(n_embd=32))  # 32 wide: nothing to measure
    assert not is_followed(small)
    assert products.chosen() == "onednn"  # the first one's, which is still there
    assert len(probed) == 1


def test_where_it_is_slower_pytorchs_own_stay(probed, monkeypatch):
    monkeypatch.setattr(reading, "product_seconds", lambda known, shapes, kind, n: {"fp32": 1.05, "onednn": 1.0}[kind])
    reading.settle_reading(config(), slow := model())
    assert products.chosen() == "torch"
    assert not is_followed(slow)


def test_what_is_typed_is_taken_and_a_sweep_and_a_server_choose_nothing(probed, tmp_path):
    reading.settle_reading(config(products="onednn"), model(), probes=False)
    assert products.chosen() == "onednn"
    reading.settle_reading(config(products="torch"), model())
    assert products.chosen() == "torch"
    (tmp_path / SWEEP_RECORD).write_text("{}")
    reading.settle_reading(config(), model(), RunFolder(tmp_path / "0"))
    reading.settle_reading(config(), model(), probes=False)
    assert products.chosen() == "torch"
    assert not probed


def test_onednn_where_it_is_not_is_refused(probed, monkeypatch):
    monkeypatch.setattr(reading, "resolve_accelerator", lambda name: name)
    with pytest.raises(RequestError, match="onednn is for a CPU"):
        reading.settle_reading(config(products="onednn", accelerator="gpu"), model())
    monkeypatch.setattr(products, "is_there", lambda: False)
    with pytest.raises(RequestError, match="onednn is for a CPU"):
        reading.settle_reading(config(products="onednn"), model())


@pytest.mark.skipif(not products.is_there(), reason="this PyTorch has no oneDNN")
def test_logits_by_either_are_the_same_but_for_rounding():
    ids_BT = torch.randint(0, 64, (16, 8), generator=torch.Generator().manual_seed(0))
    found = []
    for library in ("torch", "onednn"):
        reading.settle_reading(config(products=library), of := model())
        found.append(of.eval()(ids_BT, logits="all").logits)
    torch.testing.assert_close(*found, rtol=1e-5, atol=1e-5)


@pytest.mark.skipif(not products.is_there(), reason="this PyTorch has no oneDNN")
def test_an_evaluation_by_either_tells_the_same_and_gives_it_back(probed, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("NANOLAB_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    words = [*SMALL, *SHORT, "hardware=cpu", "trainer.max_steps=1", "model.n_embd=64", "model.n_head=2"]
    assert lab(*words, "run_dir=run") == 0
    seen = []
    monkeypatch.setattr(products, "SMALLEST", 8)  # of rows, too
    by_onednn = products.by_onednn
    monkeypatch.setattr(products, "by_onednn", lambda *of: seen.append(1) or by_onednn(*of))
    losses = []
    for library in ("torch", "auto"):
        capsys.readouterr()
        asked = ["task=evaluate", "init_from=run", "hardware=cpu", f"trainer.products={library}", f"run_dir={library}"]
        assert lab(*asked) == 0
        losses.append(next(line.split()[1] for line in capsys.readouterr().out.splitlines() if "  loss  " in line))
        assert bool(seen) == (library == "auto")
        assert products.chosen() == "torch"
    assert losses[0] == losses[1]
