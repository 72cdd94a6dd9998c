"""Filters and orders in words."""

import pytest
import yaml

from errors import RequestError
from runs.choosing import chosen, ordered
from runs.listing import list_runs


@pytest.fixture
def four(write_run, tmp_path):
    write_run("a", {"model": "gpt", "optimizer.lr": 1e-3}, {"val/loss": 1.0}, model="gpt", step=5)
    write_run("b", {"model": "moe", "optimizer.lr": 3e-4}, {"val/loss": 2.0}, model="moe", step=50)
    write_run("c", {"model": "gpt2"}, {"val/loss": 3.0}, model="gpt2", status="failed", step=500)
    folder = write_run("d", {}, None, status=None, choices={"model": "moe"})
    config = folder / ".hydra/config.yaml"
    config.write_text(yaml.safe_dump({"optimizer": {"lr": 0.5}, "seed": 0}))
    return list_runs(tmp_path)


def names(runs) -> str:
    return "".join(sorted(run.path[-1] for run in runs))


@pytest.mark.parametrize(
    ("where", "found"),
    [
        (None, "abcd"),
        ("model=moe", "bd"),
        ("model=moe status=finished", "b"),
        ("model=gpt*", "ac"),
        ("model=gpt,moe", "abd"),
        ("model!=moe", "ac"),
        ("val/loss<2", "a"),
        ("val/loss<=2", "ab"),
        ("val/loss>=2 status!=failed", "b"),
        ("step>10 step<100", "b"),
        ("optimizer.lr=0.001", "a"),
        ("optimizer.lr>1e-3", "d"),
        ("optimizer.lr!=null", "abd"),
        ("size>1kB", ""),
        ("size<1MB", "abcd"),
        ("time>2000-01-01", "abcd"),
        ("time<2000-01-01", ""),
        ("error=null", "abcd"),
        ("name=*/b", "b"),
    ],
)
def test_M2_where(four, where, found) -> None:
    assert names(chosen(four, where)) == found


@pytest.mark.parametrize("where", ["model", "model=", "=moe", "val/los<2", "step<many", "time>soon", "'open", "x.y=1"])
def test_M2_a_condition_that_means_nothing_is_refused(four, where) -> None:
    with pytest.raises(RequestError, match=r"runs\.where"):
        chosen(four, where)


def test_M2_sorted_with_the_unknown_last(four) -> None:
    assert [run.path[-1] for run in ordered(four, "-val/loss")] == ["c", "b", "a", "d"]
    assert [run.path[-1] for run in ordered(four, "step")] == ["a", "b", "c", "d"]
    assert [run.path[-1] for run in ordered(four, "optimizer.lr")][:3] == ["b", "a", "d"]
    with pytest.raises(RequestError, match=r"runs\.sort=val/los: no run has val/los"):
        ordered(four, "val/los")
