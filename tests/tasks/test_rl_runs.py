"""Online RL through the command line: alone, with a reward model, with adapters, after kill -9; pages and refusals."""

import json
from pathlib import Path

import pytest
import torch

from launcher.cli import main
from launcher.config.compose import compose
from launcher.lab import Lab
from reports.expected import record

ROOT = Path(__file__).parents[2]
SMALL = ["model.n_layer=1", "model.n_embd=16", "model.n_head=2", "model.seq_len=128", "tokenizer=byte", "hardware=cpu"]
PAIRS = ["data.pairs=8", "data.val_pairs=4", "data.max_steps=1", "data.batch_size=2"]
SHORT = [
    "trainer.max_steps=2", "trainer.val_every=1", "trainer.log_every=1", "objective.checks=warn",
    "objective.prompts=4", "objective.max_new_tokens=6", "objective.val_prompts=4", "objective.val_group=2",
    "callbacks.exact_match.questions=2", "callbacks.rollouts.every=1", "objective.truncated=rule",
]  # fmt: skip
START = "objective.sft_steps=2"
FORMAT = ["reward=format", "reward.format.pattern=[0-9]"]  # random bytes differ in it


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def lab(*words: str) -> int:
    return main(list(words), root=ROOT)


def fit(run: str, *words: str) -> int:
    return lab(*SMALL, *SHORT, *PAIRS, START, f"run_dir={run}", *words)


def summary(run: str) -> dict:
    return json.loads(Path(run, "summary.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("objective", ["grpo", "rloo"])
def test_alone_it_learns_a_start_and_shows_what_it_wrote(objective, capsys):
    assert fit("run", f"objective={objective}", *FORMAT) == 0
    facts = summary("run")
    assert facts["step"] == 2
    assert facts["data"] == "arithmetic_pairs_many"
    assert {"val/reward", "val/sampled_exact_match", "val/exact_match", "objective/kl", "reward/format"} <= facts[
        "metrics"
    ].keys()
    assert facts["held_out"]["after"]["reward"] == facts["metrics"]["val/reward"]
    assert facts["held_out"]["gain"].keys() == {"value", "low", "high"}
    assert torch.load("run/start/checkpoints/last.ckpt", weights_only=True)["global_step"] == 2
    rows = [json.loads(line) for line in Path("run/rollouts.jsonl").read_text().splitlines()]
    assert {row["step"] for row in rows} == {0, 1}
    assert rows[0].keys() >= {"prompt", "answer", "expected", "score", "parts", "advantage", "tokens", "cut_off"}
    told = capsys.readouterr().out
    assert "right and wrong ones, come first" in told
    assert "right answers 0.0% -> 0.0%: +0.0 points" in told  # random weights know nothing
    assert lab("task=inspect", "inspect.view=rollouts", "init_from=run", "run_dir=page") == 0
    page = Path("page/rollouts.html").read_text(encoding="utf-8")
    assert "Reward and right answers" in page
    assert "<script src" not in page
    assert json.loads(Path("page/rollouts.json").read_text())["answers"] == len(rows)
    assert lab("task=generate", "init_from=run", "prompt=1", "max_new_tokens=2", "run_dir=text") == 0


def test_rerun_and_the_view_say_whether_a_run_is_inside_the_curves_to_expect(tmp_path, monkeypatch, capsys):
    """Recorded from two seeds; a third is not told to be outside, nor is one that does the same again."""
    words = ["objective=grpo", *FORMAT, "callbacks=minimal", *[w for w in SHORT if not w.startswith("callbacks")]]
    for seed in (0, 1):
        assert lab(*SMALL, *PAIRS, START, *words, f"seed={seed}", f"run_dir=run{seed}") == 0
    (tmp_path / "curves").mkdir()
    record(tmp_path / "curves/toy.yaml", "python run.py objective=grpo", "docs/rl.md", [Path("run0"), Path("run1")])
    monkeypatch.setattr("runs.expected.FOLDER", tmp_path / "curves")
    capsys.readouterr()
    assert lab("rerun=run0", "run_dir=again") == 0
    told = capsys.readouterr().out
    assert "the same data, the same result" in told
    assert "curves  inside the curves of docs/rl.md (2 seeds of python run.py objective=grpo)" in told
    assert summary("again")["rerun"]["curves"].startswith("curves  inside")
    assert lab("rerun=run0", "run_dir=other", "objective.kl=0.5") == 0
    assert "curves " not in capsys.readouterr().out  # of other settings nothing is known


def test_ppo_trains_its_reward_model_first_and_goes_on_with_it(capsys):
    words = ["objective=ppo", "objective.reward_steps=2"]
    assert fit("run", *words) == 0
    assert "2 updates on pairs come first" in capsys.readouterr().out
    assert Path("run/reward_model/checkpoints/last.ckpt").is_file()
    assert {"objective/rlhf_reward", "value/explained_variance", "reward/reward_model"} <= summary("run")[
        "metrics"
    ].keys()
    kept = torch.load("run/checkpoints/last.ckpt", weights_only=True)["state_dict"]
    assert fit("whole", *words, "trainer.max_steps=3") == 0
    assert lab("resume=run", "trainer.max_steps=3") == 0
    ends = [torch.load(f"{run}/checkpoints/last.ckpt", weights_only=True)["state_dict"] for run in ("run", "whole")]
    assert ends[0].keys() == ends[1].keys() == kept.keys()
    for name, value in ends[1].items():
        assert torch.equal(ends[0][name], value), name
    judge = [name for name in kept if name.startswith("reward.reward_model.model.")]
    assert judge
    assert all(torch.equal(kept[name], ends[0][name]) for name in judge)  # it is judged by, not trained


def test_what_comes_first_takes_a_batch_an_update_however_many_a_rollout_serves():
    for run, more in (("one", []), ("two", ["objective.epochs=2"])):
        assert fit(run, "objective=grpo", *FORMAT, *more) == 0
    one, two = (torch.load(f"{run}/start/checkpoints/last.ckpt", weights_only=True) for run in ("one", "two"))
    for name, value in one["state_dict"].items():
        assert torch.equal(two["state_dict"][name], value), name


def test_another_run_goes_on_from_the_start_with_its_tokenizer():
    """Built from the start's data: other data would give another one, with other ids."""
    small = [word for word in SMALL if not word.startswith("tokenizer")] + ["tokenizer=bpe_small"]
    assert lab(*small, *SHORT, "data.pairs=200", *PAIRS[1:], START, "run_dir=run", "objective=grpo", *FORMAT) == 0
    words = ["objective=sft", "data=arithmetic", "data.val_examples=4", "trainer.max_steps=1", "callbacks=minimal"]
    assert lab(*words, *small[:-1], "init_from=run/start", "run_dir=sft") == 0
    assert Path("sft/tokenizer/merges.tsv").read_bytes() == Path("run/tokenizer/merges.tsv").read_bytes()


def test_ppo_with_a_named_reward_model_from_one_start():
    assert fit("grpo", "objective=grpo", *FORMAT) == 0
    assert (
        lab("objective=reward", "init_from=grpo", *PAIRS, "trainer.max_steps=2", "run_dir=judge", "hardware=cpu") == 0
    )
    words = [w for w in SHORT if not w.startswith("objective.sft")]
    assert (
        lab(
            "objective=ppo",
            "init_from=grpo",
            "reward.reward_model.run=judge",
            *words,
            *PAIRS,
            "run_dir=ppo",
            "hardware=cpu",
        )
        == 0
    )
    assert not Path("ppo/reward_model").exists()


@pytest.mark.slow
@pytest.mark.parametrize(("objective", "more"), [("grpo", []), ("ppo", ["objective.critic=shared"])])
def test_N54_adapters_are_the_policy_and_switched_off_they_are_the_reference(objective, more, capsys):
    """No second model in the checkpoint, KL 0 at the start, and exact after a resume in the middle of a rollout."""
    assert fit("base", "objective=grpo", *FORMAT) == 0
    words = ["init_from=base", "adapter=lora", f"objective={objective}", *FORMAT, "objective.epochs=2", *more]
    assert fit("whole", *words, "trainer.max_steps=3") == 0
    assert fit("parts", *words, "trainer.max_steps=1") == 0
    found = summary("parts")["metrics"]
    assert found["objective/kl"] == pytest.approx(0.0, abs=1e-5)
    saved = torch.load("parts/checkpoints/last.ckpt", weights_only=True)
    assert "rollout" in saved
    assert not any(name.startswith("reference.") for name in saved["state_dict"])
    assert lab("resume=parts", "trainer.max_steps=3") == 0
    ends = [torch.load(f"{run}/checkpoints/last.ckpt", weights_only=True)["state_dict"] for run in ("parts", "whole")]
    for name, value in ends[1].items():
        assert torch.equal(ends[0][name], value), name
    assert any("lora" in name for name in ends[1])


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["objective=grpo", "data=pydoc"], "do not go together"),
        (["objective=grpo", "objective.group=1"], "objective.group=8"),
        (["objective=grpo", "trainer.accumulate=2"], "objective.rows"),
        (["objective=ppo", "data=arithmetic", "data.val_examples=4"], "reward.reward_model.run="),
        (["objective=grpo", "objective.temperature=0"], "objective.temperature=1"),
        (["objective=grpo", "reward.answer.weight=0"], "every weight is 0"),
    ],
)
def test_refused_with_what_to_type(words, told, capsys):
    pairs = [] if any(word.startswith("data=") for word in words) else PAIRS
    assert lab(*SMALL, *pairs, *words, "run_dir=run") == 2
    assert told in capsys.readouterr().err


@pytest.mark.parametrize("objective", ["grpo", "rloo", "ppo"])
def test_other_optimizers_and_schedules_can_be_chosen(objective):
    plan = compose([f"objective={objective}", "optimizer=muon_small", "schedule=wsd"], Lab(ROOT))
    assert plan.cfg.optimizer.lr_matrix == 0.02


@pytest.mark.parametrize(
    ("words", "rows", "beside"),
    [
        (["objective=grpo", *FORMAT], 3, {"reference": 1}),
        (["objective=ppo"], 2, {"critic": 1, "reference": 1, "reward.reward_model": 1}),  # 4 prompts, 2 minibatches
        (["objective=ppo", "objective.critic=shared", *FORMAT], 2, {"critic": 0, "reference": 1}),
    ],
)
def test_the_plan_counts_every_network(words, rows, beside, capsys):
    """Beside the policy: each that is as large as it, and heads of some numbers. Rows are those of answers."""
    assert fit("plan", *words, "objective.rows=3", "task=check") == 0
    facts = summary("plan")
    size, plan = facts["parameters"]["total"], facts["plan"]
    found = dict(part.rsplit(" ", 1) for part in plan["beside the model"].replace(", trained", "").split(", "))
    numbers = {name: int(value.replace(",", "")) for name, value in found.items()}
    assert numbers.keys() == beside.keys()
    assert all(0 <= numbers[name] - beside[name] * size <= 17 for name in beside)  # 16 channels and a bias
    assert plan["micro-batch"].startswith(f"{rows} x ")
