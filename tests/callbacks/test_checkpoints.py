"""Whole files or none; plain data only."""

import pickle
import shutil

import pytest
import torch

from callbacks.checkpoints import AtomicCheckpointIO
from errors import RequestError, RunError
from tasks.parts import read_checkpoint


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


@pytest.mark.parametrize("content", [b"", b"hello", b"PK\x03\x04half a zip"])
def test_a_damaged_checkpoint_is_named(tmp_path, content):
    path = tmp_path / "bad.ckpt"
    path.write_bytes(content)
    with pytest.raises(RequestError, match=r"bad.ckpt cannot be read"):
        read_checkpoint(path)
