"""F17: what is ours is removed, empty folders with it; what is not stays."""

import folders


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
