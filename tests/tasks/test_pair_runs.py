"""Runs on pairs through the command line: alone, from an earlier run, with adapters; and what is refused."""

import json
from pathlib import Path

import pytest
import torch

from launcher.cli import main

ROOT = Path(__file__).parents[2]
SMALL = ["model.n_layer=1", "model.n_embd=16", "model.n_head=2", "model.seq_len=64", "tokenizer=byte"]
SHORT = ["trainer.max_steps=2", "trainer.val_every=1", "trainer.log_every=1", "hardware=cpu"]
PAIRS = ["data.pairs=8", "data.val_pairs=4", "data.max_steps=1", "data.batch_size=2", "data.seq_len=128"]
START = "objective.sft_steps=2"


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def lab(*words: str) -> int:
    return main(list(words), root=ROOT)


def fit(run: str, *words: str) -> int:
    return lab(*SMALL, "model.seq_len=128", *SHORT, f"run_dir={run}", *words)


def summary(run: str) -> dict:
    return json.loads(Path(run, "summary.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("experiment", ["dpo_arithmetic", "reward_arithmetic"])
def test_each_experiment_runs(experiment):
    assert fit("run", f"experiment={experiment}", *PAIRS, START) == 0
    assert summary("run")["step"] == 2


def test_dpo_alone_starts_from_the_chosen_answers(capsys):
    assert fit("dpo", "objective=dpo", *PAIRS, START) == 0
    facts = summary("dpo")
    assert facts["data"] == "arithmetic_pairs"
    for name in (
        "val/loss",
        "val/rewards/accuracies",
        "val/rewards/margins",
        "val/exact_match",
        "train/rewards/margins",
    ):
        assert name in facts["metrics"]
    start = torch.load("dpo/start/checkpoints/last.ckpt", weights_only=True)
    assert start["global_step"] == 2
    assert "2 updates on the chosen answers come first" in capsys.readouterr().out
    assert not Path("dpo/start/metrics.csv").exists()


def test_S12_chain_reward_and_dpo_from_one_run_and_no_text_from_a_reward_model(capsys):
    assert fit("dpo", "objective=dpo", *PAIRS, START) == 0
    assert lab("objective=reward", "init_from=dpo", *SHORT, *PAIRS, "run_dir=reward") == 0
    facts = summary("reward")
    assert {"val/accuracy", "val/ece", "val/margin", "val/loss"} <= facts["metrics"].keys()
    assert facts["tokenizer_fingerprint"] == summary("dpo")["tokenizer_fingerprint"]
    assert not Path("reward/start").exists()  # it had a model to start from
    assert lab("objective=reward", "init_from=reward", *SHORT, *PAIRS, "run_dir=again") == 0
    capsys.readouterr()
    for words in (["objective=dpo", *PAIRS], ["objective=sft", "data.seq_len=128"]):
        assert lab("init_from=reward", *SHORT, *words, "run_dir=wrong") == 2
        assert "is a reward model" in capsys.readouterr().err


def test_a_run_with_adapters_goes_on_and_is_a_start_for_others(capsys):
    assert fit("lora", "objective=dpo", "adapter=lora", "adapter.rank=2", *PAIRS, START) == 0
    facts = summary("lora")
    assert 0 < facts["parameters"]["trainable"] < facts["parameters"]["total"]
    assert Path("lora/adapter/adapter.safetensors").stat().st_size < 40_000
    assert lab("resume=lora", "trainer.max_steps=3") == 0
    assert summary("lora")["step"] == 3
    assert lab("objective=reward", "init_from=lora", *SHORT, *PAIRS, "run_dir=reward") == 0


def test_adapters_serve_every_objective():
    words = ["data=text", "data.path=text.txt", "adapter=lora", "adapter.rank=2", "adapter.targets=[qkv]"]
    Path("text.txt").write_text("The quick brown fox jumps over the lazy dog.\n" * 60, encoding="utf-8")
    assert fit("run", *words) == 0
    assert summary("run")["parameters"]["trainable"] == 2 * (16 + 48)


def test_N16_adapters_over_tokens_that_are_new_are_told(capsys):
    Path("text.txt").write_text("The quick brown fox jumps over the lazy dog.\n" * 60, encoding="utf-8")
    assert fit("base", "data=text", "data.path=text.txt") == 0
    tuned = ["objective=sft", "data.seq_len=128", "data.val_examples=4", "data.batch_size=2", "adapter=lora", *SHORT]
    assert lab(*tuned, "init_from=base", "run_dir=first") == 0
    assert "tokens are new to this model" in capsys.readouterr().out
    assert lab(*tuned, "init_from=first", "run_dir=second") == 0
    assert "tokens are new" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["objective=dpo", "data=pydoc"], "objective=dpo and data=pydoc do not go together"),
        (["objective=reward", "data=arithmetic"], "arithmetic_pairs"),
        (["objective=dpo", *PAIRS, "objective.sft_steps=0", "adapter=lora", "adapter.targets=[nope]"], "There are:"),
        (["objective=dpo", *PAIRS, "objective.beta=0"], "objective.beta=0"),
        (["objective=dpo", "data=preference", "data.path=missing.jsonl"], "missing.jsonl"),
    ],
)
def test_wrong_requests_exit_2(capsys, words, expected):
    assert fit("wrong", *words) == 2
    screen = capsys.readouterr()
    assert expected in screen.err
    assert "Traceback" not in screen.err + screen.out


def test_evaluate_measures_pairs_and_answers(capsys):
    assert fit("dpo", "objective=dpo", *PAIRS, START) == 0
    assert lab("objective=reward", "init_from=dpo", *SHORT, *PAIRS, "run_dir=reward") == 0
    assert "task=generate" not in capsys.readouterr().out.rpartition("finished at")[2]  # it writes no text
    for run, names in (("dpo", {"accuracy", "accuracy_per_token", "margin", "exact_match"}), ("reward", {"accuracy"})):
        assert (
            lab("task=evaluate", f"init_from={run}/checkpoints/last.ckpt", "hardware=cpu", f"run_dir=looked_at_{run}")
            == 0
        )
        facts = json.loads(Path(f"looked_at_{run}/evaluation.json").read_text(encoding="utf-8"))
        assert names <= facts.keys()
        assert (facts["unit"], facts["n"]) == ("pair", 4)
        assert facts["accuracy"]["low"] <= facts["accuracy"]["value"] <= facts["accuracy"]["high"]
    # the same numbers as the run's own last validation measured
    last, looked = summary("reward")["metrics"], summary("looked_at_reward")["metrics"]
    for name in ("val/accuracy", "val/margin", "val/mean_reward", "val/ece"):
        assert looked[name] == pytest.approx(last[name], abs=1e-5), name
    capsys.readouterr()
    assert lab("task=evaluate", "init_from=reward", "data=arithmetic", "hardware=cpu", "run_dir=no") == 2
    assert "objective=reward needs pairs" in capsys.readouterr().err


def test_stages_boosted_on_pairs_alone_again_and_looked_at(capsys):
    """From nothing the base learns the chosen answers; task=check refuses what the run would refuse."""
    words = ["objective=gbft", "data=arithmetic_pairs", *PAIRS, "gbft.dev_fraction=0.3", "gbft.steps_per_stage=2"]
    words += ["gbft.best_every=1", "gbft.base_steps=2", "gbft.tol=-1"]
    assert lab(*SMALL, "model.seq_len=128", *words, "task=check", "run_dir=refused") != 0
    assert "Type gbft.loss=dpo." in capsys.readouterr().err
    assert lab(*SMALL, "model.seq_len=128", *words, "gbft.loss=dpo", "task=check", "run_dir=plan") == 0
    assert lab(*SMALL, "model.seq_len=128", "hardware=cpu", *words, "gbft.loss=dpo", "run_dir=run") == 0
    facts = summary("run")
    assert [stage["stage"] for stage in facts["stages"]] == [0, 1, 2]
    assert "2 updates on the chosen answers come first" in capsys.readouterr().out
    assert lab("resume=run", "gbft.stages=3") == 0
    assert summary("run")["step"] == 6
    assert lab("task=inspect", "inspect.view=boosting", "init_from=run", "run_dir=page") == 0
    assert "the chosen answer is looked at" in capsys.readouterr().out
    assert Path("page/boosting.html").is_file()
    assert lab("task=evaluate", "init_from=run", "gbft.use_stages=1", "run_dir=evaluated") == 0
    assert "accuracy" in json.loads(Path("evaluated/evaluation.json").read_text(encoding="utf-8"))
