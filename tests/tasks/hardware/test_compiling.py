"""trainer.compile=auto: what is compiled, what is not and why; the choice is kept with the run."""

from pathlib import Path
from types import SimpleNamespace

import pytest
from omegaconf import OmegaConf

from launcher.cli import main
from models.gpt import GPT
from tasks.hardware import choice, compiling
from tests.tasks.test_runs import ROOT, SHORT, SMALL

DATA = SimpleNamespace(provides=("tokens",), batch_size=4, seq_len=8)


def config(**trainer):
    defaults = {"accelerator": "gpu", "precision": "bf16-mixed", "strategy": "single", "devices": 1, "max_steps": 100}
    defaults |= {"max_time": None, "tokens_per_step": None, "accumulate": 2, "compile": "auto"}
    return OmegaConf.create({"trainer": defaults | trainer})


@pytest.fixture(autouse=True)
def machine(monkeypatch):
    """On which 100 updates of 64 tokens, each of 1 FLOP, take 1,000 seconds."""
    monkeypatch.setattr(compiling, "peak_flops", lambda _: 6400 / 0.3 / 1000)
    monkeypatch.setattr(compiling, "resolve_accelerator", lambda name: name)
    monkeypatch.setattr(compiling, "is_there", lambda: True)


def decided(data=DATA, model=None, **trainer):
    model = model or SimpleNamespace(flops_per_token=lambda _: 1, inactive_parameters=lambda: 0)
    return compiling.decide(config(**trainer), model, data)


def test_a_run_must_earn_it_back_three_times():
    assert compiling.shortest(1.5) == pytest.approx(540)  # a third less of 540 s is 180 s
    assert compiling.shortest(compiling.GAIN) == pytest.approx(1080)
    yes, why = decided(max_steps=120)
    assert yes
    assert "0:20:00" in why
    no, why = decided(max_steps=70)
    assert not no
    assert "0:11:40" in why
    assert "0:18:00" in why
    assert not decided(max_steps=120, max_time="00:10:00")[0]
    assert decided(max_steps=120, max_time="01:10:00")[0]
    assert decided(max_steps=60, tokens_per_step=128)[0]
    assert decided(max_steps=120, max_time="10m")[0]  # the Trainer says what is wrong with it


@pytest.mark.parametrize(
    ("trainer", "words"),
    [
        ({"accelerator": "cpu"}, "on a CPU nothing is gained"),
        ({"accelerator": "mps"}, "on mps"),
        ({"strategy": "ddp"}, "one device"),
        ({"devices": 2}, "one device"),
    ],
)
def test_where_it_was_not_seen_to_pay_it_is_left_out(trainer, words):
    chosen, why = decided(**trainer)
    assert not chosen
    assert words in why


def test_shapes_that_vary_and_a_missing_compiler_speak_against_it(monkeypatch):
    assert "shapes" in decided(data=SimpleNamespace(provides=("conversations",), batch_size=4, seq_len=8))[1]
    assert "shapes" in decided(model=SimpleNamespace(inactive_parameters=lambda: 7))[1]
    monkeypatch.setattr(compiling, "is_there", lambda: False)
    assert "Triton is not there" in decided()[1]


def test_a_compiler_is_looked_for(monkeypatch):
    monkeypatch.undo()
    for found in (None, True):
        monkeypatch.setattr(compiling, "find_spec", lambda name, found=found: found if name == "triton" else None)
        assert compiling.is_there() is bool(found)


def test_a_model_of_ours_can_be_asked():
    model = GPT(vocab_size=32, seq_len=8, n_layer=2, n_head=2, n_embd=16)
    assert compiling.decide(config(), model, DATA)[0]


def test_a_run_keeps_the_choice(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("text.txt").write_text("The quick brown fox jumps over the lazy dog.\n" * 60, encoding="utf-8")
    words = [*SMALL, *SHORT, "data=text", "data.path=text.txt", "trainer.compile=auto"]
    assert main([*words, "run_dir=run"], root=ROOT) == 0
    assert "trainer.compile=false: on a CPU nothing is gained by it" in capsys.readouterr().out
    assert OmegaConf.load("run/.hydra/config.yaml").trainer.compile is False
    assert main([*words, "task=check", "run_dir=plan"], root=ROOT) == 0
    monkeypatch.setattr(choice.compiling, "decide", lambda *_: pytest.fail("asked"))
    assert main(["-m", *words, "seed=1,2", "run_dir=sweep"], root=ROOT) == 0
    assert "arms of a sweep are compared" in capsys.readouterr().out
