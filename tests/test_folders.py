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


OURS = [
    ".hydra/config.yaml", ".hydra/.config.yaml.412", "summary.json", ".summary.json.412", "run.log", "run.rank12.log",
    "metrics.csv", "checkpoints/last.ckpt", "checkpoints/step_00000100.ckpt", "checkpoints/.last.ckpt.412.tmp",
    "start/checkpoints/best.ckpt", "reward_model/checkpoints/last.ckpt",
    "tensorboard/events.out.tfevents.17.host.4.0", "tokenizer/tokenizer.json", "tokenizer/hf/vocab.json",
    "tokenizer/.merges.tsv.412", "adapter/adapter.json", "cache/states-ab_12xyz/hidden", "wandb/run-1-a/files/a.json",
    "export/config.json", "export/model-00001-of-00002.safetensors", "export/model.gguf", "predictions.jsonl",
    "fit-profile-0.txt", "positions.html", "positions.json", "report.html", "intervals.svg", "curves.pdf",
]  # fmt: skip
THEIRS = [
    "predictions-mine.jsonl", "notes.html", "mine/report.html", "mine/summary.json", ".hydra/notes.yaml",
    "checkpoints/best-copy.ckpt", "checkpoints/notes.txt", "checkpoints/old/last.ckpt", "tensorboard/compare.md",
    "tokenizer/notes.txt", "adapter/readme.md", "cache/data.bin", "cache/states-ab_12xyz/mine", "wandb/notes.txt",
    "export/README.md", "export/mine/config.json", "base/notes.txt", "start/data.csv", "reward/scores.csv",
    "metrics.csv.bak", ".metrics.csv.mine", "run.rank-notes.log", "curves.xlsx", "intervals.ods", "past_context.md",
    "profile-of-me.txt", "mine.html",
    # a run of theirs that lies within
    "base/.hydra/config.yaml", "base/summary.json", "base/checkpoints/last.ckpt", "base/checkpoints/best.ckpt",
]  # fmt: skip


def test_F17_only_what_we_write_goes_whatever_lies_beside_it(tmp_path: Path) -> None:
    run, outside = tmp_path / "run", tmp_path / "outside"
    for name in [*OURS, *THEIRS]:
        (run / name).parent.mkdir(parents=True, exist_ok=True)
        (run / name).write_text("")
    for name in ("mine/empty", "export/drafts", "checkpoints/last.ckpt.d"):
        (run / name).mkdir(parents=True)
    outside.mkdir()
    (outside / "last.ckpt").write_text("")
    (run / "start/checkpoints/ema.ckpt").symlink_to(outside / "last.ckpt")
    (run / "profile.txt").symlink_to(outside)
    theirs = {*THEIRS, "mine/empty/", "export/drafts/", "checkpoints/last.ckpt.d/"}
    assert set(folders.strangers(run, "run")) == theirs
    folders.remove(run, "run")
    assert {name for name, _ in folders.entries(run)} == theirs
    assert (outside / "last.ckpt").is_file()


def test_F17_a_linked_folder_is_not_entered(tmp_path: Path) -> None:
    run, outside = tmp_path / "run", tmp_path / "outside"
    (outside / "checkpoints").mkdir(parents=True)
    (outside / "checkpoints/last.ckpt").write_text("")
    run.mkdir()
    (run / "checkpoints").symlink_to(outside / "checkpoints")
    folders.remove(run, "run")
    assert (outside / "checkpoints/last.ckpt").is_file()
    assert (run / "checkpoints").is_symlink()


def test_F17_of_a_pipeline_its_own_stages_go_and_no_other_run(tmp_path: Path) -> None:
    run = tmp_path / "run"
    places = ("sft", "asked/sft", "asked/vote")
    names = [f"{place}/{file}" for place in places for file in (".hydra/config.yaml", "run.log")]
    theirs = ["mine/.hydra/config.yaml", "mine/checkpoints/last.ckpt", "asked/mine/.hydra/config.yaml", "sft/notes.txt"]
    for name in [*names, *theirs, ".hydra/config.yaml"]:
        (run / name).parent.mkdir(parents=True, exist_ok=True)
        (run / name).write_text("")
    (run / ".hydra/config.yaml").write_text("pipeline: {stages: {sft: objective=sft}, ways: {vote: x}}\n")
    assert folders.strangers(run, "run", "pipeline") == sorted(theirs)
    folders.remove(run, "run", "pipeline")
    assert sorted(name for name, _ in folders.entries(run)) == sorted(theirs)


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
