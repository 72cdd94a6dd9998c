"""nanolab from Python: the same runs, words and numbers as on the command line."""

import inspect
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml

import nanolab
from launcher.cli import main

ROOT = Path(__file__).parents[2]
SMALL = ["model.n_layer=1", "model.n_embd=16", "model.n_head=2", "model.seq_len=32", "data.seq_len=32", "hardware=cpu"]
SHORT = ["trainer.max_steps=2", "trainer.val_every=1", "trainer.log_every=1", "data.batch_size=2", "logger=csv"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A working folder with one run in it."""
    folder = tmp_path_factory.mktemp("lab")
    (folder / "text.txt").write_text("The quick brown fox jumps over the lazy dog.\n" * 60, encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        nanolab.train("data=text", "data.path=text.txt", "run_dir=outputs/one", *SMALL, *SHORT)
    return folder


@pytest.fixture
def run(trained, monkeypatch):
    monkeypatch.chdir(trained)
    return nanolab.load("outputs/one", "hardware=cpu")


def test_M4_a_run_as_it_was_trained(run) -> None:
    assert run.config.model.n_embd == 16
    assert run.summary["status"] == "finished"
    assert list(run.metrics.index) == [1, 2]
    assert run.metrics["val/loss"].iloc[-1] == pytest.approx(run.summary["metrics"]["val/loss"])
    assert run.tokenizer.decode(run.tokenizer.encode("fox")) == "fox"
    assert sum(p.numel() for p in run.model.parameters()) == run.summary["parameters"]["total"]


def test_M4_text_is_that_of_task_generate(run, trained) -> None:
    words = ["task=generate", "init_from=outputs/one", "prompt=The ", "n=2", "max_new_tokens=12", "seed=3", "stop=o"]
    assert main([*words, "run_dir=outputs/said", "hardware=cpu"], ROOT) == 0
    texts = run.generate("The ", n=2, max_new_tokens=12, seed=3, stop="o")
    assert [f"The {text}" for text in texts] == Path("outputs/said/sample.txt").read_text()[:-1].split("\n\n")


def test_M4_defaults_are_those_of_the_tasks() -> None:
    for task, function in (("generate", nanolab.Run.generate), ("chat", nanolab.Run.chat)):
        written = yaml.safe_load((ROOT / f"conf/task/{task}.yaml").read_text())
        for name, parameter in inspect.signature(function).parameters.items():
            if parameter.default is not inspect.Parameter.empty and name not in ("seed", "stop"):
                assert parameter.default == written[name], name


def test_M4_logits_give_the_probability_of_what_comes_next(run) -> None:
    short, long = run.logits(["The", "The qu"])
    assert short.shape == (3, run.model.vocab_size)
    torch.testing.assert_close(short, long[:3])
    torch.testing.assert_close(run.logits("The"), short)
    ids = torch.tensor([list(run.tokenizer.encode("The qu"))])
    nll = run.model(ids[:, :-1], targets_BT=ids[:, 1:], per_token=True).nll_BT
    picked = long[:-1].log_softmax(-1).gather(1, ids[0, 1:, None])[:, 0]
    torch.testing.assert_close(-picked, nll[0].float(), rtol=1e-4, atol=1e-4)
    with pytest.raises(nanolab.RequestError, match="from 1 to 32 can be read"):
        run.logits(["x" * 33])


def test_M4_chat_asks_for_a_model_that_knows_turns(run) -> None:
    with pytest.raises(nanolab.RequestError, match="not trained on conversations"):
        run.chat("hello")
    assert run.chat("a?", template="plain", max_new_tokens=5, temperature=0) == run.chat(
        [{"role": "user", "content": "a?"}], template="plain", max_new_tokens=5, temperature=0
    )


def test_M4_runs_and_what_differs_as_data_frames(run, trained) -> None:
    other = nanolab.train("rerun=outputs/one", "optimizer.lr=0.5", "run_dir=outputs/two")
    frame = nanolab.runs(where="task=fit", sort="path")
    assert list(frame.index) == ["outputs/one", "outputs/two"]
    assert frame.loc["outputs/one", "val/loss"] == run.summary["metrics"]["val/loss"]
    found = nanolab.compare(run, other)
    assert found.loc[("config", "optimizer.lr"), "outputs/two"] == 0.5
    assert "model.n_embd" not in found.index.get_level_values("name")
    assert nanolab.load("last").path == Path("outputs/two")


def test_M4_wrong_requests_are_exceptions(run) -> None:
    with pytest.raises(nanolab.RequestError, match="Did you mean"):
        nanolab.train("model.n_layr=3")
    with pytest.raises(nanolab.RequestError, match="from Python one job of task=fit"):
        nanolab.train("task=check")
    with pytest.raises(nanolab.RequestError, match="is not there"):
        nanolab.load("outputs/nothing")
    with pytest.raises(nanolab.RequestError):
        run.generate(max_new_tokens=0)


def test_M4_importing_it_is_cheap() -> None:
    heavy = ("torch", "lightning", "transformers", "pandas")
    script = f"import sys, nanolab; assert not set({heavy!r}) & set(sys.modules)"
    subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=True)
