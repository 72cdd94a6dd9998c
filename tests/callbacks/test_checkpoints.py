"""Whole files or none; plain data only."""

import pickle
import shutil
from pathlib import Path

import pytest
import torch
from lightning.pytorch import Callback

from callbacks.checkpoints import AtomicCheckpointIO, Checkpoints
from errors import RequestError, RunError
from models.weights.checkpoints import read_checkpoint
from tasks.trainer import early_stopping, fit_and_validate
from tests.small import RandomTokens, make_module, make_trainer


def test_a_failed_write_leaves_the_old_file_and_no_other(tmp_path, monkeypatch):
    path = tmp_path / "checkpoints" / "last.ckpt"
    path.parent.mkdir()
    AtomicCheckpointIO().save_checkpoint({"state_dict": {}, "step": 1}, path)

    def disk_full(obj, file):
        file.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", disk_full)
    with pytest.raises(RunError, match=r"No space left[\s\S]*GB are free[\s\S]*resume="):
        AtomicCheckpointIO().save_checkpoint({"step": 2}, path)
    assert [p.name for p in path.parent.iterdir()] == ["last.ckpt"]
    assert AtomicCheckpointIO().load_checkpoint(path)["step"] == 1


def test_F29_of_a_first_checkpoint_nothing_is_said_to_be_left(tmp_path, monkeypatch):
    (tmp_path / "checkpoints").mkdir()

    def disk_full(obj, file):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", disk_full)
    with pytest.raises(RunError, match="There is no earlier one") as caught:
        AtomicCheckpointIO().save_checkpoint({"step": 2}, tmp_path / "checkpoints" / "last.ckpt")
    assert "untouched" not in str(caught.value)


def test_F29_an_error_of_another_kind_is_not_the_disks(tmp_path, monkeypatch):
    def broken(obj, file):
        raise RuntimeError("CUDA error: device-side assert triggered")

    monkeypatch.setattr(torch, "save", broken)
    with pytest.raises(RuntimeError, match="CUDA error"):
        AtomicCheckpointIO().save_checkpoint({"step": 2}, tmp_path / "last.ckpt")
    assert list(tmp_path.iterdir()) == []


def test_F29_on_a_full_disk_the_run_is_named_not_the_folder_of_its_start(tmp_path, monkeypatch):
    """What is learned first lies below the run's folder, and cannot be resumed by itself."""

    def full(obj, file):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    run = tmp_path / "run"
    for name in (".hydra", "checkpoints", "base/checkpoints"):
        (run / name).mkdir(parents=True)
    with pytest.raises(RunError, match=f"rerun={run}$"):
        AtomicCheckpointIO().save_checkpoint({}, run / "base/checkpoints/last.ckpt")
    (run / "checkpoints/last.ckpt").touch()
    with pytest.raises(RunError, match=f"resume={run}$"):
        AtomicCheckpointIO().save_checkpoint({}, run / "checkpoints/best.ckpt")


@pytest.mark.skipif(not shutil.os.path.exists("/dev/full"), reason="no /dev/full here")
def test_a_really_full_disk_is_named(tmp_path, monkeypatch):
    import builtins

    real = builtins.open
    monkeypatch.setattr(
        builtins, "open", lambda name, *a, **k: real("/dev/full" if str(name).endswith(".tmp") else name, *a, **k)
    )
    with pytest.raises(RunError, match="could not write"):
        AtomicCheckpointIO().save_checkpoint({"x": torch.zeros(100_000)}, tmp_path / "last.ckpt")


def test_N32_a_checkpoint_that_runs_code_is_refused_and_does_not_run(tmp_path):
    class Bomb:
        def __reduce__(self):
            return (open, (str(tmp_path / "written"), "w"))

    path = tmp_path / "bad.ckpt"
    torch.save({"state_dict": {}, "bomb": Bomb()}, path)
    with pytest.raises(RequestError, match="holds code"):
        read_checkpoint(path)
    with pytest.raises(pickle.UnpicklingError):
        AtomicCheckpointIO().load_checkpoint(path)
    assert not (tmp_path / "written").exists()


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "it is empty"),
        (b"hello", "another kind of file"),
        (b"PK\x03\x04half a zip", r"cut off: .* \(14 bytes are there\)"),
        (b"\x80\x02 not a pickle", "damaged, or holds code"),
    ],
)
def test_a_damaged_checkpoint_is_named(tmp_path, content, why):
    path = tmp_path / "bad.ckpt"
    path.write_bytes(content)
    with pytest.raises(RequestError, match=rf"bad.ckpt cannot be read as a checkpoint: .*{why}.*") as caught:
        read_checkpoint(path)
    assert "init_from=" in str(caught.value)


@pytest.fixture
def run_folder(tmp_path) -> Path:
    """A run with two checkpoints, in a folder with a blank in its name."""
    run = tmp_path / "a run"
    (run / "checkpoints").mkdir(parents=True)
    (run / ".hydra").mkdir()
    (run / ".hydra" / "config.yaml").touch()
    for name in ("best.ckpt", "last.ckpt"):
        torch.save({"state_dict": {"model.w": torch.zeros(1000)}}, run / "checkpoints" / name)
    return run


def cut_off(path: Path) -> str:
    """What is said of a checkpoint of which the end is missing."""
    path.write_bytes(path.read_bytes()[:-700])
    with pytest.raises(RequestError) as caught:
        read_checkpoint(path)
    assert str(caught.value).startswith(f"{path} cannot be read as a checkpoint: it is cut off")
    assert "PytorchStreamReader" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("name", "typed"),
    [
        ("best.ckpt", "type 'init_from={run}/checkpoints/last.ckpt'"),
        ("last.ckpt", "type: python run.py 'rerun={run}' 'init_from={run}/checkpoints/best.ckpt'"),
    ],
)
def test_beside_a_damaged_checkpoint_the_other_one_of_its_run_is_named(run_folder, name, typed):
    words = cut_off(run_folder / "checkpoints" / name)
    assert words.endswith(typed.format(run=run_folder))


def test_where_both_checkpoints_are_damaged_the_run_is_to_be_repeated(run_folder):
    cut_off(run_folder / "checkpoints" / "best.ckpt")
    words = cut_off(run_folder / "checkpoints" / "last.ckpt")
    assert words.endswith(f"type: python run.py 'rerun={run_folder}'")


def test_the_last_n_checkpoints_stay_and_the_newest_costs_no_second_file(tmp_path):
    trainer = make_trainer(tmp_path, max_steps=5, checkpoint_every=1, keep_last=2)
    trainer.fit(make_module(), RandomTokens())
    folder = tmp_path / "checkpoints"
    assert sorted(p.name for p in folder.glob("step_*")) == ["step_00000004.ckpt", "step_00000005.ckpt"]
    assert read_checkpoint(folder / "step_00000004.ckpt")["global_step"] == 4
    assert (folder / "step_00000005.ckpt").samefile(folder / "last.ckpt")


def test_a_checkpoint_is_written_when_its_minutes_are_over(tmp_path, monkeypatch):
    saved = []
    monkeypatch.setattr(Checkpoints, "save_last", lambda self, trainer: saved.append(trainer.global_step))
    trainer = make_trainer(tmp_path, max_steps=3, checkpoint_every=100, checkpoint_minutes=1e-9)
    trainer.fit(make_module(), RandomTokens())
    assert saved[:3] == [1, 2, 3]


def test_training_ends_early_where_nothing_is_gained(tmp_path):
    """With a gain of 100 nats asked for, the second and third validation gain nothing: as many as the patience."""
    trainer = make_trainer(tmp_path, max_steps=20, val_every=2, patience=2, min_delta=100.0)
    trainer.fit(make_module(), RandomTokens())
    assert trainer.global_step == 6
    assert read_checkpoint(tmp_path / "checkpoints/last.ckpt")["global_step"] == 6


def test_val_tokens_bounds_a_validation_in_whole_batches(tmp_path, monkeypatch):
    seen = []
    module = make_module()
    whole = module.validation_step
    monkeypatch.setattr(module, "validation_step", lambda *args: (seen.append(args[1]), whole(*args)))
    trainer = make_trainer(tmp_path, max_steps=1, val_tokens=17, val_batch_tokens=16)
    trainer.fit(module, RandomTokens())
    assert seen == [0, 1]


def test_what_ends_a_run_early_does_not_validate_the_same_weights_twice(tmp_path):
    seen = []

    class Seen(Callback):
        def on_validation_end(self, trainer, pl_module):
            seen.append(trainer.global_step)

    trainer = make_trainer(tmp_path, max_steps=20, val_every=2, callbacks=[Seen()], patience=2, min_delta=100.0)
    fit_and_validate(trainer, make_module(), RandomTokens(), None)
    assert seen == [2, 4, 6]


def test_a_gain_without_patience_is_refused(tmp_path):
    with pytest.raises(RequestError, match=r"trainer\.patience"):
        make_trainer(tmp_path, max_steps=1, min_delta=0.1)


@pytest.mark.parametrize(("mode", "sign"), [("min", -1), ("max", 1)])
def test_patience_and_gain_are_those_asked_for(mode, sign):
    stopper = early_stopping("val/x", mode, patience=3, min_delta=0.25)
    assert (stopper.patience, stopper.min_delta, stopper.mode) == (3, sign * 0.25, mode)
