"""The list of runs: newest first, whatever else lies there, and cheap."""

import json
import os
from pathlib import Path

import pytest
import yaml

from runs.curves import curves
from runs.listing import bytes_of, list_runs, main_metric, read


def at(folder: Path, seconds: float) -> Path:
    """As if that run had been started then."""
    os.utime(folder / ".hydra/config.yaml", (seconds, seconds))
    return folder


def test_M2_newest_first_with_what_there_is_to_know(write_run, tmp_path) -> None:
    at(write_run("0-a", {"model": "gpt"}, {"val/bpb": 2.5, "val/loss": 1.7}, model="gpt", task="fit"), 100.0)
    at(write_run("1-b", {"model": "moe"}, {"val/loss": 1.5}, model="moe", task="fit", step=7), 300.0)
    at(write_run("2-c", {}, None, status=None, choices={"task": "fit", "model": "modern"}), 200.0)
    found = list_runs(tmp_path)
    assert [Path(run.path).name for run in found] == ["1-b", "2-c", "0-a"]
    assert [(run.model, run.status, run.metric, run.value) for run in found] == [
        ("moe", "finished", "val/loss", 1.5),
        ("modern", "unfinished", None, None),
        ("gpt", "finished", "val/bpb", 2.5),
    ]
    assert (found[0].step, found[0].seconds, found[0].parameters, found[0].tokens) == (7, 2.0, 100, 1000)
    json.dumps([run.as_dict() for run in found], allow_nan=False)


def test_M2_choices_of_an_unfinished_run_are_read_as_yaml_reads_them(write_run) -> None:
    chosen = {"task": "fit", "model": "gpt2", "adapter": None, "data": "text", "hydra/sweeper": "basic"}
    folder = write_run("0-a", {}, None, status=None, choices=chosen)
    run = read(folder)
    saved = yaml.safe_load((folder / ".hydra/hydra.yaml").read_text())["hydra"]["runtime"]["choices"]
    assert (run.task, run.model, run.data, run.tokenizer) == tuple(
        saved[k] for k in ("task", "model", "data", "tokenizer")
    )


def test_M2_size_is_what_lies_there_and_links_are_not_followed(write_run, tmp_path) -> None:
    folder = write_run("0-a", {}, {})
    before = bytes_of(folder)
    (folder / "checkpoints").mkdir()
    (folder / "checkpoints/last.ckpt").write_bytes(b"x" * 1000)
    assert bytes_of(folder) == before + 1000
    (tmp_path / "big").write_bytes(b"x" * 5000)
    (folder / "link").symlink_to(tmp_path / "big")
    assert bytes_of(folder) < before + 2000


@pytest.mark.parametrize("text", ["", "{", "[1]", '{"status": 3, "metrics": [], "step": "x"}', "[" * 100_000, "\0"])
def test_F26_a_damaged_neighbour_is_listed_and_spoils_nothing(write_run, tmp_path, text) -> None:
    at(write_run("0-a", {}, {"val/loss": 1.0}), 100.0)
    bad = at(write_run("1-b", {}, {}), 200.0)
    (bad / "summary.json").write_text(text)
    found = list_runs(tmp_path)
    assert [Path(run.path).name for run in found] == ["1-b", "0-a"]
    assert found[0].status in ("damaged", "unfinished")
    assert found[1].value == 1.0


def test_F25_a_pipe_as_summary_does_not_hang(write_run, tmp_path) -> None:
    folder = write_run("0-a", {}, {})
    (folder / "summary.json").unlink()
    os.mkfifo(folder / "summary.json")
    assert [run.status for run in list_runs(tmp_path)] == ["damaged"]


def test_M2_a_loop_of_links_ends(write_run, tmp_path) -> None:
    write_run("0-a", {}, {})
    (tmp_path / "sweep/again").symlink_to(tmp_path)
    assert len(list_runs(tmp_path)) == 1


def test_M2_no_folder_has_no_runs(tmp_path) -> None:
    assert list_runs(tmp_path / "nothing") == []


def test_M2_by_which_metric_a_run_is_judged() -> None:
    assert main_metric({"train/loss": 1.0, "val/loss": 2.0, "val/bpb": 3.0}) == "val/bpb"
    assert main_metric({"train/loss": 1.0, "test/arc/acc": 0.5}) == "test/arc/acc"
    assert main_metric({}) is None


def test_M2_curves_hold_what_metrics_csv_does(write_run) -> None:
    folder = write_run("0-a", {}, {})
    lines = ["step,tokens_seen,train/tokens_per_second,train/loss,val/loss", "1,100,50,3.0,", "2,200,25,2.0,2.5", "3,3"]
    (folder / "metrics.csv").write_text("\n".join(lines))
    found = curves(folder)
    assert found["train/loss"] == {"step": [1, 2], "tokens": [100, 200], "seconds": [2, 6], "value": [3.0, 2.0]}
    assert found["val/loss"] == {"step": [2], "tokens": [200], "seconds": [6], "value": [2.5]}
