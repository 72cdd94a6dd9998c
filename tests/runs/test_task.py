"""task=runs as it is typed: a list, a comparison, a removal that is shown first."""

import fcntl
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from launcher.cli import main
from runs.differences import compare

ROOT = Path(__file__).parents[2]


@pytest.fixture
def two(write_run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "outputs").mkdir()
    made = []
    for i, (model, loss) in enumerate([("gpt", 1.25), ("moe", 1.0)]):
        more = {"versions": {"torch": f"2.{i}", "numpy": "2"}, "data_fingerprint": "same", "task": "fit"}
        chosen = {"task": "fit", "model": model}
        folder = write_run(
            f"{i}-{model}", {"model.n_layer": i + 2}, {"val/loss": loss}, model=model, choices=chosen, **more
        )
        folder = folder.rename(tmp_path / "outputs" / folder.name)
        os.utime(folder / ".hydra/config.yaml", (100.0 + i,) * 2)
        made.append(folder)
    return made


def typed(*words: str) -> int:
    return main(["task=runs", *words], ROOT)


def test_M2_listed_newest_first_and_nothing_is_written(two, capsys, tmp_path) -> None:
    before = sorted(tmp_path.rglob("*"))
    assert typed() == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].startswith("last ")
    assert "moe" in lines[1]
    assert lines[1].endswith("outputs/1-moe")
    assert lines[2].startswith("last-1 ")
    assert "val/loss 1.2500" in lines[2]
    assert "2 of 2 runs" in lines[-1]
    assert sorted(tmp_path.rglob("*")) == before


def test_M2_filtered_and_sorted_by_words(two, capsys) -> None:
    assert typed("runs.where=model=moe status=finished", "runs.sort=-model.n_layer") == 0
    out = capsys.readouterr().out
    assert "1-moe" in out
    assert "0-gpt" not in out
    assert "model.n_layer" in out


def test_M2_compared_with_what_differs_and_intervals(two, write_run, capsys) -> None:
    evaluated = write_run("9-e", {}, {}, choices={"task": "evaluate"}, task="evaluate")
    evaluated = evaluated.rename(Path("outputs/9-e").resolve())
    found = {"checkpoint": "outputs/0-gpt/checkpoints/last.ckpt", "unit": "document", "n": 9}
    found["loss"] = {"value": 1.3, "low": 1.2, "high": 1.4}
    (evaluated / "evaluation.json").write_text(json.dumps(found))
    assert typed("runs.compare=last-1 last") == 0
    out = capsys.readouterr().out
    line = {words[0]: words[1:] for words in map(str.split, out.splitlines()) if words}
    assert line["model.n_layer"] == ["2", "3"]
    assert line["versions.torch"] == ["2.0", "2.1"]
    assert "numpy" not in out
    assert "data_fingerprint" not in out
    assert line["val/loss"] == ["1.2500", "1.0000"]
    assert "1.3000 (1.2000 to 1.4000)" in out


def test_M2_compare_says_nothing_of_what_is_equal(two) -> None:
    found = compare([two[0], two[0]])
    assert (found.config, found.surroundings) == ({}, {})


def test_F17_a_removal_is_shown_first_and_takes_only_what_is_ours(two, capsys) -> None:
    (two[0] / "notes.txt").write_text("mine")
    (two[0] / "checkpoints").mkdir()
    (two[0] / "checkpoints/last.ckpt").write_bytes(b"x" * 1000)
    before = sorted(path for folder in two for path in folder.rglob("*"))
    assert typed("runs.delete=last last-1") == 0
    out = capsys.readouterr().out
    assert "Nothing is removed yet; these would go: 2 runs" in out
    assert "notes.txt" in out
    assert sorted(path for folder in two for path in folder.rglob("*")) == before
    assert typed("runs.delete=last last-1", "runs.confirm=true") == 0
    assert not two[1].exists()
    assert [path.name for path in two[0].rglob("*")] == ["notes.txt"]


def test_F17_a_run_that_goes_on_is_not_removed_nor_the_others(two, capsys) -> None:
    lock = os.open(two[0], os.O_RDONLY)
    fcntl.flock(lock, fcntl.LOCK_EX)
    try:
        assert typed("runs.delete=last last-1", "runs.confirm=true") == 2
    finally:
        os.close(lock)
    assert "still going" in capsys.readouterr().err
    assert all((folder / "summary.json").is_file() for folder in two)


def test_M2_what_where_finds_is_removed_when_that_is_said(two) -> None:
    assert typed("runs.where=val/loss>1.1", "runs.delete=listed", "runs.confirm=true") == 0
    assert [folder.exists() for folder in two] == [False, True]


@pytest.mark.parametrize(
    "words",
    [
        ["runs.of=nowhere"],
        ["runs.compare=last"],
        ["runs.compare=last last-9"],
        ["runs.compare=last a'b"],
        ['runs.delete=a"b'],
        ["runs.compare=last last-1", "runs.delete=last"],
        ["runs.confirm=true"],
        ["runs.delete=listed"],
        ["runs.delete=last", "runs.where=model=gpt"],
        ["runs.compare=last last-1", "runs.where=model=gpt"],
        ["runs.compare=last last-1", "runs.sort=name"],
        ["runs.delete=listed", "runs.where=val/loss>1.1", "runs.most=1"],
        ["runs.delete=outputs"],
        ["run_dir=mine"],
    ],
)
def test_M2_wrong_requests_are_told(two, words, capsys) -> None:
    assert typed(*words) == 2
    err = capsys.readouterr().err
    assert err.strip()
    assert "Traceback" not in err
    assert all(folder.is_dir() for folder in two)
    assert not Path("mine").exists()


def test_M2_one_folder_is_taken_as_it_is(two, capsys) -> None:
    odd = two[0].rename(two[0].with_name("it's a run"))
    assert typed(f"runs.delete={odd}", "runs.confirm=true") == 0
    assert not odd.exists()
    assert two[1].is_dir()


def test_F29_a_fault_in_a_task_without_a_folder_is_shown_and_no_log_is_promised(two, monkeypatch, capsys) -> None:
    def fails(*_: object) -> None:
        raise ZeroDivisionError("as a bug would")

    monkeypatch.setattr("tasks.runs.listing", fails)
    assert typed() == 1
    err = capsys.readouterr().err
    assert "ZeroDivisionError: as a bug would" in err
    assert "run.log" not in err


def test_M2_nothing_heavy_is_imported(tmp_path) -> None:
    (tmp_path / "outputs").mkdir()
    heavy = ("torch", "lightning", "numpy", "transformers", "scipy")
    script = "import sys, pathlib; from launcher.cli import main\n"
    script += f"assert main(['task=runs'], pathlib.Path({str(ROOT)!r})) == 0\n"
    script += f"assert not set({heavy!r}) & set(sys.modules)"
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, env=environment, text=True, capture_output=True)
    assert done.returncode == 0, done.stderr
