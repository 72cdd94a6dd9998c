"""Grids with a number in them: settings are compared at each of its values; stages are told over seeds."""

import re
from pathlib import Path

import pytest

from reports import stages, within
from reports.collect import find_runs
from reports.comparison import compare
from reports.page import page
from reports.paper import markdown

# (share of the data, setting): losses of three seeds
LOSSES = {
    ("0.01", "single"): (2.50, 2.51, 2.52),
    ("0.01", "default"): (2.45, 2.45, 2.47),  # better by 0.05, 0.06, 0.05
    ("0.1", "single"): (2.30, 2.31, 2.32),
    ("0.1", "default"): (2.31, 2.30, 2.32),  # by -0.01, 0.01, 0
    ("1.0", "single"): (2.10, 2.11, 2.12),
    ("1.0", "default"): (2.15, 2.17, 2.17),  # worse
}


@pytest.fixture
def sweep(write_run, tmp_path: Path) -> Path:
    for number, ((share, setting), losses) in enumerate(LOSSES.items()):
        for seed, loss in enumerate(losses):
            keys = {"gbft.train_fraction": share, "seed": seed}
            table = [{"stage": 0, "eta": None, "kept": True, "val/loss": 3.0}]
            table += [{"stage": 1, "eta": 0.5, "kept": True, "val/loss": loss}]
            table += [{"stage": 2, "eta": 0.0, "kept": False, "val/loss": loss}] * (seed == 2)
            write_run(f"{3 * number + seed}-x", keys, {"val/loss": loss}, choices={"gbft": setting}, stages=table)
    return tmp_path / "sweep"


def test_N35_settings_are_compared_at_each_size_of_the_data(sweep: Path) -> None:
    comparison = compare(find_runs(str(sweep)))
    found = within.within(comparison)
    assert (found.factor, found.baseline, found.settings) == (
        "gbft.train_fraction", "gbft=single", ["gbft=single", "gbft=default"],
    )  # fmt: skip
    default = found.at("gbft=default")
    assert [cell.x for cell in default] == [0.01, 0.1, 1.0]
    assert [cell.difference.value for cell in default] == pytest.approx([-0.16 / 3, 0.0, 0.16 / 3])
    table = within.rows(comparison, found)
    assert [row.get("reading") for row in table] == [None, "better", None, "not told apart", None, "worse"]
    assert re.search("at 0.01 gbft=default is better .*; at 0.1 no setting .*; at 1 gbft=single is best",
                     within.answer(comparison))  # fmt: skip
    assert within.answer(comparison) in markdown(comparison, title="x", commands=[], figures=[]), "draft and page agree"
    html = page(comparison, title="x", commands=[])
    assert "At each gbft.train_fraction" in html
    assert html.count("<svg") >= 2


@pytest.mark.filterwarnings("error")
def test_long_settings_leave_room_for_the_axes(write_run, tmp_path: Path) -> None:
    """matplotlib gives up its layout, and warns, where labels are wider than the figure."""
    for number, (lr, name) in enumerate((lr, name) for lr in (1, 2) for name in ("a", "b")):
        keys = {"optimizer.lr": lr, "data.path": name * 120, "seed": 1}
        write_run(f"{number}-x", keys, {"val/loss": 1.0 + number})
    comparison = compare(find_runs(str(tmp_path / "sweep")))
    drawn = within.figure(comparison, within.within(comparison))
    assert "data.path=" + "a" * 37 + "…" in drawn


def test_one_factor_alone_has_no_inside(write_run, tmp_path: Path) -> None:
    for number, lr in enumerate(("1e-3", "1e-2")):
        write_run(f"{number}-x", {"optimizer.lr": lr, "seed": 1}, {"val/loss": 1.0 + number})
    comparison = compare(find_runs(str(tmp_path / "sweep")))
    assert within.within(comparison) is None
    assert stages.rows(comparison) == []
    assert "optimizer.lr" in within.answer(comparison)


def test_gains_of_stages_are_means_over_seeds_of_those_that_were_kept(sweep: Path) -> None:
    comparison = compare(find_runs(str(sweep)))
    base, first, second = [r for r in stages.rows(comparison) if r["setting"].endswith("0.01, gbft=default")]
    assert (base["stage"], base["val/loss"]) == ("base", "3.0000")
    assert (first["kept"], first["helped"], first["gain"], first["eta"]) == ("3 of 3", "3 of 3", "+0.5433", "0.5000")
    assert (second["runs"], second["kept"], second["gain"]) == ("1", "0 of 1", "")
