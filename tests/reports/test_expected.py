"""Curves to expect: recorded from runs, and whether another run is inside them."""

import json
from pathlib import Path

import numpy as np
import pytest
import yaml

from errors import RequestError
from reports.expected import METRICS, band, record
from runs.expected import compared, outside

ROOT = Path(__file__).parents[2]
CONFIG = {
    "seed": 0, "init_from": None, "model": {"n_layer": 4}, "tokenizer": {"vocab_size": 9}, "data": {"workers": 0},
    "objective": {"kl": 0.0, "rows": 8}, "optimizer": {"lr": 1e-3}, "schedule": {}, "adapter": {}, "reward": {},
    "trainer": {"max_steps": 2, "val_every": 1, "log_every": 1},
}  # fmt: skip


def make_run(folder: Path, values: list[float], *, before: float = 0.1, **config) -> Path:
    (folder / ".hydra").mkdir(parents=True)
    (folder / ".hydra/config.yaml").write_text(yaml.safe_dump(CONFIG | config))
    rows = [f"{step},{value},{value / 2}" for step, value in enumerate(values, start=1)]
    (folder / "metrics.csv").write_text("\n".join(["step,val/reward,objective/kl", *rows]))
    (folder / "summary.json").write_text(json.dumps({"held_out": {"before": {"reward": before}}}))
    return folder


@pytest.fixture
def curves(tmp_path):
    folder = tmp_path / "curves"
    folder.mkdir()
    runs = [make_run(tmp_path / f"run{i}", [0.4 + 0.02 * i, 0.6 - 0.02 * i], seed=i) for i in range(3)]
    record(folder / "toy.yaml", "python run.py objective=toy", "docs/toy.md", runs)
    return folder


def test_a_band_worked_by_hand():
    """Two runs: 0.4 and 0.6, then 0.5 and 0.5. s^2 = (0.02 + 0) / 2, t(0.975, 2 degrees) = 4.30265, sqrt(1 + 1/2)."""
    reach = 4.302653 * 0.1 * 1.5**0.5
    found = band({0: np.array([0.4, 0.6]), 5: np.array([0.5, 0.5])}, missed=0.05)
    for step in (0, 5):
        assert found[step] == pytest.approx([0.5 - reach, 0.5, 0.5 + reach], abs=1e-4)
        assert found[step][0] <= 0.5 - reach  # never narrower than it is, when rounded


def test_nineteen_of_twenty_further_runs_are_inside_everywhere():
    """Simulated: three recorded and one more, of three points each, two thousand times."""
    rng, inside = np.random.default_rng(0), 0
    for _ in range(2000):
        curve = {step: rng.normal(step, 0.3, 3) for step in (0, 1, 2)}
        bands = {"a": band(curve, missed=0.05 / 3)}
        inside += not [*outside({"a": {step: rng.normal(step, 0.3) for step in (0, 1, 2)}}, bands)]
    assert 0.94 <= inside / 2000 <= 0.99


def test_a_run_like_them_is_inside_and_another_is_not(curves, tmp_path):
    assert compared(make_run(tmp_path / "like", [0.43, 0.57], seed=7), folder=curves) == (
        "curves  inside the curves of docs/toy.md (3 seeds of python run.py objective=toy), at all 5 points"
    )
    words = compared(make_run(tmp_path / "flat", [0.43, 0.1]), folder=curves)
    assert "outside the curves of docs/toy.md" in words
    assert "val/reward at step 2: 0.100, expected 0." in words
    assert "val/reward at step 1" not in words


def test_what_was_measured_before_the_first_update_counts(curves, tmp_path):
    run = make_run(tmp_path / "other_start", [0.43, 0.57], before=0.9)
    assert "val/reward at step 0: 0.900" in compared(run, folder=curves)
    assert "inside" in compared(run, summary={"held_out": {"before": {"reward": 0.1}}}, folder=curves)


@pytest.mark.parametrize(
    "config", [{"model": {"n_layer": 5}}, {"init_from": "x"}, {"trainer": {"max_steps": 3, "val_every": 1}}]
)
def test_a_run_of_other_settings_is_compared_with_nothing(curves, tmp_path, config):
    assert compared(make_run(tmp_path / "other", [0.43, 0.57], **config), folder=curves) is None


def test_where_and_how_it_is_computed_is_no_other_setting(curves, tmp_path):
    run = make_run(tmp_path / "a", [0.43, 0.57], data={"workers": 2}, objective={"kl": 0.0, "rows": 99})
    assert "inside" in compared(run, folder=curves)


def test_a_damaged_run_is_compared_with_nothing(curves, tmp_path):
    run = make_run(tmp_path / "run", [0.43, 0.57])
    (run / ".hydra/config.yaml").write_text("[")
    assert compared(run, folder=curves) is None


def test_what_cannot_be_recorded_is_refused(tmp_path):
    runs = [make_run(tmp_path / "a", [0.1]), make_run(tmp_path / "b", [0.2], optimizer={"lr": 1e-4})]
    with pytest.raises(RequestError, match=r"optimizer\.lr differ"):
        record(tmp_path / "c.yaml", "x", "y", runs)
    with pytest.raises(RequestError, match="one run has no spread"):
        record(tmp_path / "c.yaml", "x", "y", runs[:1])


@pytest.mark.parametrize("file", sorted((ROOT / "docs/curves").glob("*.yaml")), ids=lambda file: file.stem)
def test_recorded_curves_are_of_the_command_as_it_stands(file):
    """Where a default moved, the curves say nothing of what it does now: record them anew."""
    from launcher.config.compose import compose
    from launcher.lab import Lab
    from runs.differences import flat

    known = yaml.safe_load(file.read_text())
    plan = compose(known["command"].removeprefix("python run.py ").split(), Lab(ROOT))
    from omegaconf import OmegaConf

    now = flat(OmegaConf.to_container(plan.cfg, resolve=False))
    assert {key: now.get(key) for key in known["settings"]} == known["settings"]
    assert set(known["curves"]) <= set(METRICS)
    assert (ROOT / known["page"]).is_file()
