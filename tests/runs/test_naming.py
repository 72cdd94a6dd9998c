"""`last` and `last-2`, wherever RUN is typed."""

import os

import pytest

from errors import RequestError
from runs.naming import expand, run_named


@pytest.fixture
def three(write_run, tmp_path, monkeypatch):
    """Three trainings, oldest first, and a newer evaluation, under outputs/."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "outputs").mkdir()
    found = []
    for i, task in enumerate(["fit", "fit", "fit", "evaluate"]):
        folder = write_run(f"{i}-x", {}, {"val/loss": 1.0}, choices={"task": task}, task=task)
        moved = folder.rename(tmp_path / "outputs" / folder.name)
        os.utime(moved / ".hydra/config.yaml", (100.0 + i, 100.0 + i))
        found.append(f"outputs/{folder.name}")
    return found


@pytest.mark.parametrize(
    ("word", "meant"),
    [
        ("init_from=last", "init_from={2}"),
        ("resume=last-1", "resume={1}"),
        ("init_from=last-2/checkpoints/best.ckpt", "init_from={0}/checkpoints/best.ckpt"),
        ("runs=[last,last-2]", "runs=[{2},{0}]"),
        ("init_from=last,last-1", "init_from={2},{1}"),
        ("runs.compare=last last-2", "runs.compare={2} {0}"),
        ("reward.reward_model.run=last", "reward.reward_model.run={2}"),
        ("evaluate.rerank=last", "evaluate.rerank={2}"),
        ("prompt=last", "prompt=last"),
        ("init_from=./last", "init_from=./last"),
        ("init_from=at-last", "init_from=at-last"),
        ("init_from=lasting", "init_from=lasting"),
        ("--help", "--help"),
    ],
)
def test_M2_last_is_the_run_trained_last(three, word: str, meant: str) -> None:
    assert expand([word]) == [meant.format(*three)]


def test_M2_not_so_many(three) -> None:
    with pytest.raises(RequestError, match=r"init_from=last-3: not so many .* last to last-2"):
        expand(["init_from=last-3"])
    with pytest.raises(RequestError, match="not so many"):
        expand([f"init_from=last-{'9' * 5000}"])


def test_M2_a_folder_of_that_name_is_itself(three, tmp_path) -> None:
    (tmp_path / "last").mkdir()
    assert expand(["init_from=last"]) == ["init_from=last"]


def test_M2_a_run_by_name_or_by_path(three) -> None:
    assert str(run_named("last-2")) == three[0] == str(run_named(three[0]))
    with pytest.raises(RequestError, match="is no run folder"):
        run_named("outputs")


def test_F18_nothing_is_no_name_even_where_the_working_folder_is_a_run(tmp_path, monkeypatch):
    (tmp_path / ".hydra").mkdir()
    (tmp_path / ".hydra/config.yaml").write_text("seed: 1\n")
    monkeypatch.chdir(tmp_path)
    assert str(run_named(".")) == "."
    for text in ("", " "):
        with pytest.raises(RequestError, match="named by nothing"):
            run_named(text)
