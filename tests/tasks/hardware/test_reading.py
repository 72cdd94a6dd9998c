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
from tasks.hardware.choice import Products
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
    monkeypatch.setattr(reading, "products", lambda known, shapes: Products(1.0, 2.0, {}))
    return asked


def test_the_faster_one_is_taken_by_products_large_enough(probed):
    reading.settle_reading(config(), small := model())
    assert products.chosen() == "onednn"
    assert isinstance(small.blocks[0].mlp.up, products.Linear)
    assert probed == [{(1024, 64, 192), (1024, 64, 64), (1024, 64, 256), (1024, 256, 64)}]
    reading.settle_reading(config(), model(n_embd=32))  # 32 wide: nothing to measure
    assert products.chosen() == "torch"
    assert len(probed) == 1


def test_where_it_is_slower_pytorchs_own_stay(probed, monkeypatch):
    monkeypatch.setattr(reading, "products", lambda known, shapes: Products(1.0, 1.05, {}))
    reading.settle_reading(config(), model())
    assert products.chosen() == "torch"


def test_what_is_typed_is_taken_and_a_sweep_chooses_nothing(probed, tmp_path):
    reading.settle_reading(config(products="onednn"), model())
    assert products.chosen() == "onednn"
    reading.settle_reading(config(products="torch"), model())
    assert products.chosen() == "torch"
    (tmp_path / SWEEP_RECORD).write_text("{}")
    reading.settle_reading(config(), model(), RunFolder(tmp_path / "0"))
    assert products.chosen() == "torch"
    assert not probed


def test_onednn_for_what_is_no_fp32_on_a_cpu_is_refused(probed):
    with pytest.raises(RequestError, match="onednn is for fp32 on a CPU"):
        reading.settle_reading(config(products="onednn", precision="bf16-mixed"), model())


def test_an_evaluation_by_either_tells_the_same_and_gives_it_back(probed, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("NANOLAB_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    words = [*SMALL, *SHORT, "hardware=cpu", "trainer.max_steps=1", "model.n_embd=64", "model.n_head=2"]
    assert lab(*words, "run_dir=run") == 0
    seen = []
    monkeypatch.setattr(products, "SMALLEST", 8)  # of rows, too
    monkeypatch.setattr(products, "by_onednn", lambda x, w, b: seen.append(1) or torch.nn.functional.linear(x, w, b))
    losses = []
    for library in ("torch", "auto"):
        capsys.readouterr()
        asked = ["task=evaluate", "init_from=run", "hardware=cpu", f"trainer.products={library}", f"run_dir={library}"]
        assert lab(*asked) == 0
        losses.append(next(line.split()[1] for line in capsys.readouterr().out.splitlines() if "  loss  " in line))
        assert bool(seen) == (library == "auto")
        assert products.chosen() == "torch"
    assert losses[0] == losses[1]
