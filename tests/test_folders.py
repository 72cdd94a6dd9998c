"""F17: what is ours is removed, empty folders with it; what is not stays."""

import os
from pathlib import Path

import pytest

import folders
from errors import RequestError


def test_F17_empty_folders_of_ours_go_and_strangers_stay(tmp_path):
    run = tmp_path / "run"
    for name in ("checkpoints", "tensorboard", "start/checkpoints"):
        (run / name).mkdir(parents=True)
    (run / "run.log").write_text("")
    (run / "start/checkpoints/last.ckpt").write_text("")
    folders.remove(run, "run")
    assert not run.exists()
    (run / "checkpoints").mkdir(parents=True)
    (run / "notes.txt").write_text("mine")
    (run / "summary.json").write_text("{}")
    folders.remove(run, "run")
    assert [path.name for path in run.iterdir()] == ["notes.txt"]


@pytest.mark.parametrize("name", ["meta.json", "below/config.yaml"])
def test_F25_a_pipe_in_a_folder_to_read_is_refused(name: str, tmp_path: Path) -> None:
    (tmp_path / "below").mkdir()
    (tmp_path / "below/link").symlink_to("nothing")
    folders.refuse_pipes(tmp_path, key="data.path")
    os.mkfifo(tmp_path / name)
    with pytest.raises(RequestError, match=f"{name} is a pipe or a device"):
        folders.refuse_pipes(tmp_path, key="data.path")
    with pytest.raises(RequestError, match="is a pipe or a device"):
        folders.refuse_pipes(tmp_path / name, key="data.path")


def test_F25_so_is_a_link_to_a_device(tmp_path: Path) -> None:
    (tmp_path / "model.bin").symlink_to("/dev/zero")
    with pytest.raises(RequestError, match=r"model\.bin is a pipe or a device"):
        folders.refuse_pipes(tmp_path, key="init_from")
