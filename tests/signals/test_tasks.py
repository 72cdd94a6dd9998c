"""F20 in tasks of several stages, and in those that write elsewhere than into their run: a signal in each phase."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.signals.test_phases import ROOT, SIGNALS, SMALL, shot

TEXT = "The cat sat on the mat and ate the rat. " * 200
SHAPE = ("model.n_layer=1", "model.n_head=1", "model.n_embd=16", "tokenizer=byte", "hardware=cpu", "run_dir=run")
RHYTHM = ("trainer.max_steps=2", "trainer.val_every=1", "trainer.checkpoint_every=1", "trainer.log_every=1")
PAIRS = ("data.pairs=8", "data.val_pairs=4", "data.max_steps=1", "data.batch_size=2", "objective.sft_steps=2")
ONLINE = (
    *("objective.prompts=2", "objective.group=2", "objective.max_new_tokens=4", "objective.val_prompts=2"),
    *(
        "objective.val_group=2",
        "objective.checks=warn",
        "objective.truncated=rule",
        "callbacks.exact_match.questions=2",
    ),
)
STAGED = (*SHAPE, "model.seq_len=128", *RHYTHM, *PAIRS)
DPO = ("objective=dpo", "data=arithmetic_pairs", *STAGED)
GRPO = ("objective=grpo", *STAGED, *ONLINE, "reward=format", "reward.format.pattern=[0-9]")
PPO = ("objective=ppo", "objective.reward_steps=2", *STAGED, *ONLINE)
BOOSTED = (
    *("objective=gbft", "gbft.stages=1", "gbft.steps_per_stage=2", "gbft.base_steps=2", "learner=bias"),
    *("data=text", "data.path=text.txt", "data.cache_dir=cache", "data.sampling=shuffle", "data.batch_size=2"),
    *(*SHAPE, "model.seq_len=16"),
)
STAGES = [
    (DPO, "lightning_modules.start:learn_likelihood"),
    (DPO, "tasks.fit:short_run!"),
    (DPO, "lightning_modules.reference:reference_log_probs"),
    (DPO, "lightning_modules.reference:_write!"),
    (GRPO, "lightning_modules.rl.policy:PolicyModule.collect"),
    (GRPO, "lightning_modules.rl.policy:PolicyModule.read!"),
    (GRPO, "callbacks.rollouts:RolloutTable.on_train_batch_end"),
    (PPO, "lightning_modules.ppo:PPOModule.learn_start!"),
    (PPO, "lightning_modules.rl.held_out:HeldOut.sums"),
    (BOOSTED, "lightning_modules.boosting_start:learn_base"),
    (BOOSTED, "tasks.fit:short_run"),
]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "place"), [pytest.param(words, place, id=f"{words[0]}-{place}") for words, place in STAGES]
)
def test_F20_a_signal_between_the_stages_of_a_run(words: tuple[str, ...], place: str, tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text(TEXT)
    number = SIGNALS[len(place) % 3]
    said = shot(place, number, tmp_path, *words)
    assert f"stopped by {signal.Signals(number).name}" in said
    assert not [*tmp_path.rglob("*.tmp"), *(tmp_path / "run").rglob(".*.[0-9]*")], "no half file"
    summary = json.loads((tmp_path / "run/summary.json").read_text())
    assert (summary["status"], summary["exit_status"]) == ("interrupted", 128 + number)
    there = (tmp_path / "run/checkpoints/last.ckpt").is_file()
    assert there == ("Saved. To go on" in said)


def run_py(folder: Path, *words: str) -> None:
    subprocess.run(
        [sys.executable, str(ROOT / "run.py"), *words],
        cwd=folder,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        check=True,
        capture_output=True,
        timeout=240,
    )


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two small runs; no test writes into them."""
    folder = tmp_path_factory.mktemp("runs")
    (folder / "text.txt").write_text(TEXT)
    small = [word for word in SMALL if not word.startswith("run_dir=")]
    run_py(folder, "-m", "seed=1,2", *small, "run_dir=both", "callbacks=minimal", "logger=csv")
    return folder / "both"


def files(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("task", "place"),
    [
        ("export", "models.weights.saving:save_hf!"),
        ("export", "models.weights.proving:prove"),
        ("export export.format=gguf", "models.weights.gguf:write_gguf!"),
        ("merge", "tasks.merge:averaged"),
        ("merge", "torch:save!"),
        ("evaluate", "tasks.evaluate:unit_totals"),
        ("evaluate", "launcher.jobs.summary:record"),
        ("generate max_new_tokens=8", "tasks.generate:_write"),
        ("inspect inspect.view=attention", "tasks.views.attention:show"),
        ("report", "tasks.report:write"),
        ("check", "tasks.check:check"),
        ("serve serve.port=0", "tasks.serving.server:listen"),
        ("serve serve.port=0", "tasks.serving.server:run_until_stopped"),
    ],
)
def test_F20_a_signal_in_a_task_that_reads_a_run(task: str, place: str, runs: Path, tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text(TEXT)  # which evaluate reads as the run did
    before, number = files(runs), SIGNALS[len(place) % 3]
    first, second = sorted(runs.glob("[0-9]*-*"))
    more = {"merge": [f"merge.others=[{second}]"], "report": [f"runs={[str(first), str(second)]}"]}.get(task, [])
    start = [] if task == "report" else [f"init_from={first}", "hardware=cpu"]
    written = ["export.path=model"] if task.startswith("export") else []
    said = shot(
        place, number, tmp_path, f"task={task.split()[0]}", *task.split()[1:], *start, *more, *written, "run_dir=run"
    )
    assert f"stopped by {signal.Signals(number).name}" in said
    assert files(runs) == before
    assert not (tmp_path / "model").exists(), "half an export"
    assert not [*tmp_path.rglob("*.tmp"), *(tmp_path / "run").rglob(".*.[0-9]*")], "no half file"
    ended = "finished" if place == "launcher.jobs.summary:record" else "interrupted"  # all is done, and is told so
    assert json.loads((tmp_path / "run/summary.json").read_text())["status"] == ended
