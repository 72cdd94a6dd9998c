"""F20: a signal in any phase, from the first import to the last file: the promised status, true words, nothing half."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
SHOOT = Path(__file__).with_name("shoot.py")
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
SMALL = (
    *("model.n_layer=1", "model.n_head=1", "model.n_embd=16", "model.seq_len=16", "data=text", "data.path=text.txt"),
    *("data.cache_dir=cache", "trainer.max_steps=4", "trainer.val_every=2", "trainer.checkpoint_every=2"),
    *("hardware=cpu", "run_dir=run", "data.batch_size=2", "trainer.log_every=1"),
)
# before torch is loaded
LIGHT = (
    *("launcher.cli", "hydra", "omegaconf", "launcher.config.compose:compose", "launcher.jobs.job:claim_folder"),
    *("launcher.jobs.run_folder:save_config", "launcher.jobs.run_folder:write_atomically", "launcher.jobs.job:work"),
)
IMPORTS = ("numpy", "torch", "torch.nn.modules.linear", "torch.optim", "lightning.pytorch", "tasks.trainer")
SET_UP = (
    *("tasks.fit:fit", "tasks.parts:build_data", "datamodules.preparing.prepare:write_both"),
    *("datamodules.preparing.prepare:move_into_place", "tasks.parts:build_model", "tasks.parts:build_objective"),
    *("tasks.fit:build_trainer", "callbacks.checkpoints:Checkpoints.on_fit_start"),
    *("callbacks.stop:StopOnSignal.on_train_start", "loggers.metrics_csv:MetricsCSV.save"),
)
TRAINING = (
    *("lightning_modules.base:LanguageModule.training_step", "callbacks.validation:Validation.on_train_batch_end"),
    *("lightning_modules.base:LanguageModule.validation_step", "callbacks.sample_text:SampleText.on_validation_end"),
    *("torch:save!", "callbacks.checkpoints:Checkpoints.save_last", "callbacks.checkpoints:Checkpoints.on_train_end"),
    "callbacks.stop:StopOnSignal.on_train_end",
)
AFTERWARDS = (
    *("tasks.fit:record", "tasks.fit:log_hyperparameters", "tasks.fit:farewell", "launcher.jobs.job:close"),
    *("launcher.jobs.summary:record", "launcher.jobs.summary:record!"),
)
FAST = {"launcher.cli", "launcher.config.compose:compose", "launcher.jobs.run_folder:save_config", "torch.optim"}


def aimed(places: tuple[str, ...]) -> list[Any]:
    """Each place with one of the three signals; what takes long is marked so."""
    marks = [() if place in FAST else (pytest.mark.slow,) for place in places]
    return [
        pytest.param(place, SIGNALS[i % 3], id=f"{place}-{SIGNALS[i % 3].name}", marks=marks[i])
        for i, place in enumerate(places)
    ]


def shot(place: str, number: int, folder: Path, *words: str, program: str = "", **environment: str) -> str:
    """What was said on the way; the status is checked here."""
    command = [sys.executable, str(SHOOT), place, str(int(number)), program or str(ROOT / "run.py"), *words]
    done = subprocess.run(
        command,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"} | environment,
        capture_output=True,
        text=True,
        timeout=240,
        start_new_session=True,
    )
    assert f"[shot at {place}]" in done.stderr, f"the phase was never reached\n{done.stdout}\n{done.stderr}"
    assert done.returncode == 128 + number, f"exit {done.returncode}\n{done.stdout}\n{done.stderr}"
    assert "Traceback" not in done.stderr, done.stderr
    return done.stderr


@pytest.mark.parametrize(("place", "number"), aimed((*LIGHT, *IMPORTS, *SET_UP, *TRAINING, *AFTERWARDS)))
def test_F20_a_signal_in_a_training(place: str, number: int, tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text("The cat sat on the mat and ate the rat. " * 200)
    logger = ["logger=csv"] if "metrics_csv" in place else []
    said = shot(place, number, tmp_path, *SMALL, *logger)
    assert f"stopped by {signal.Signals(number).name}" in said
    run = tmp_path / "run"
    assert not [*tmp_path.rglob("*.tmp"), *run.rglob(".*.[0-9]*")], "no half file"
    if not (run / ".hydra/config.yaml").exists():
        return
    summary = json.loads((run / "summary.json").read_text())
    if summary["status"] == "interrupted":
        assert summary["exit_status"] == 128 + number
    else:
        assert summary["status"] == "finished"
    if place in TRAINING:
        assert (run / "checkpoints/last.ckpt").is_file()
        assert summary["step"] >= 1


@pytest.mark.slow
@pytest.mark.parametrize("place", ["launcher.jobs.sweep:job_name", "tasks.parts:build_model", "tasks.fit:farewell"])
def test_F20_a_signal_ends_the_whole_sweep(place: str, tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text("The cat sat on the mat and ate the rat. " * 200)
    shot(place, signal.SIGTERM, tmp_path, "-m", "seed=1,2", *SMALL)
    assert len(list((tmp_path / "run").glob("[0-9]-*"))) <= 1


@pytest.mark.slow
@pytest.mark.parametrize(
    "place", ["crawl.processing.pool:Pool.warm_up", "crawl.state:State.__init__", "crawl.report:finish", "scrapy"]
)
@pytest.mark.parametrize("number", SIGNALS)
def test_F20_a_signal_to_the_group_as_a_crawl_starts(place: str, number: int, tmp_path: Path) -> None:
    words = ("start_urls=[http://127.0.0.1:9/]", "contact=me@example.org", "allow_private=true", "retries=0")
    shot(place, number, tmp_path, *words, "output=corpus", program="crawl", GROUP="1")
